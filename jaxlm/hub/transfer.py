"""Pretrained leaves for a given model: moved under a head, or with stacked layers."""

import re
from collections.abc import Collection
from typing import Any

import numpy as np

from jaxlm.errors import BadInput
from jaxlm.hub.mapping import Leaves
from jaxlm.hub.pretrained import PretrainedModel, family_of_model, module_fields

# Options that may differ between the pretrained config.json and the model's: they matter in training only, limit the
# inputs, or belong to a head.
_MAY_DIFFER = frozenset(
    """architectures attention_dropout attention_probs_dropout_prob attn_pdrop classifier_dropout dropout_rate
    embd_pdrop hidden_dropout_prob max_position_embeddings resid_pdrop""".split()
)


def fit_to(source: PretrainedModel, model: Any, wanted: Collection[str], path: str) -> Leaves:
    """Rename the leaves of a pretrained model to the paths of another model of the same function.

    Either may be a bare encoder and the other an encoder under a head, or both may have a head; then the leaves that
    only the pretrained head has are left out.

    Args:
        source: the pretrained model.
        model: the model that takes the leaves.
        wanted: the paths of its leaves.
        path: where the weights come from, for messages.

    Raises:
        BadInput: the weights were made for another function than the model's.
    """
    inner, their_inner = _inner(model), _inner(source.model)
    _check_same_function(their_inner, inner, path)
    leaves = source.leaves
    if their_inner is source.model and inner is not model:
        leaves = {re.sub("^([^/]+)/", r"\1/encoder/", name): leaf for name, leaf in leaves.items()}
    if their_inner is not source.model and inner is model:
        leaves = {re.sub("/encoder/", "/", name, count=1): x for name, x in leaves.items() if "/encoder/" in name}
    if getattr(inner, "scan", False):
        leaves = stacked(leaves, inner.depth)
    of_a_head = re.compile(f"params/(encoder/)?({family_of_model(inner).not_in_encoder})")
    return {name: leaf for name, leaf in leaves.items() if name in wanted or not of_a_head.match(name)}


def _inner(model: Any) -> Any:
    """Return the encoder under a head, or the model itself."""
    return model.encoder if "encoder" in module_fields(type(model)) else model


def stacked(leaves: Leaves, depth: int) -> Leaves:
    """Stack the layers block_0, block_1, ... into one, "blocks", with a leading axis."""
    found: Leaves = {}
    for name, leaf in leaves.items():
        if "/block_0/" in name:
            layers = [leaves[name.replace("/block_0/", f"/block_{layer}/")] for layer in range(depth)]
            found[name.replace("/block_0/", "/blocks/")] = np.stack(layers)
        elif "/block_" not in name:
            found[name] = leaf
    return found


def unrolled(leaves: Leaves) -> Leaves:
    """Split stacked layers: the inverse of `stacked`."""
    found: Leaves = {}
    for name, leaf in leaves.items():
        if "/blocks/" in name:
            found |= {name.replace("/blocks/", f"/block_{layer}/"): part for layer, part in enumerate(np.asarray(leaf))}
        else:
            found[name] = leaf
    return found


def _check_same_function(theirs: Any, ours: Any, path: str) -> None:
    there, here = family_of_model(theirs).to_config(theirs), family_of_model(ours).to_config(ours)
    for name in ("model_type", *sorted(there.keys() | here.keys())):
        if there.get(name) != here.get(name) and name not in _MAY_DIFFER:
            raise BadInput(
                f"{path} has {name} {there.get(name)}, and the model here {here.get(name)}: take the model as "
                "`jaxlm import` writes it, and change only what fine-tuning may"
            )
