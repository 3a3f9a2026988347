"""Pretrained leaves in the place that a model at hand has for them: under a head, or with stacked layers."""

import re
from collections.abc import Collection
from typing import Any

import numpy as np

from jaxlm.errors import BadInput
from jaxlm.hub.mapping import Leaves
from jaxlm.hub.pretrained import Pretrained, family_for, own_fields

# What may differ between the config.json of pretrained weights and that of the model that takes them: it is of training
# alone, bounds what is given to the model, or belongs to a head of its own.
FREE = frozenset(
    """architectures attention_dropout attention_probs_dropout_prob attn_pdrop classifier_dropout dropout_rate
    embd_pdrop hidden_dropout_prob id2label label2id max_position_embeddings num_labels resid_pdrop""".split()
)


def placed(source: Pretrained, model: Any, wanted: Collection[str], path: str) -> Leaves:
    """The leaves of `source` by the paths of `model`, which are those of `wanted`; `path` is for messages.

    Of the two either may be a bare encoder and the other an encoder under a head, or both have heads of their own: then
    what only the head of `source` has is left out.

    Raises:
        BadInput: weights that were made for another function than the model's.
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
    of_a_head = re.compile(f"params/(encoder/)?({family_for(inner).ENCODER_LACKS})")
    return {name: leaf for name, leaf in leaves.items() if name in wanted or not of_a_head.match(name)}


def _inner(model: Any) -> Any:
    """The encoder under a head, or the model itself."""
    return model.encoder if "encoder" in own_fields(type(model)) else model


def stacked(leaves: Leaves, depth: int) -> Leaves:
    """Layers block_0, block_1, ... as one of them, "blocks", with a leading axis."""
    found: Leaves = {}
    for name, leaf in leaves.items():
        if "/block_0/" in name:
            layers = [leaves[name.replace("/block_0/", f"/block_{layer}/")] for layer in range(depth)]
            found[name.replace("/block_0/", "/blocks/")] = np.stack(layers)
        elif "/block_" not in name:
            found[name] = leaf
    return found


def unrolled(leaves: Leaves) -> Leaves:
    """`stacked` backwards."""
    found: Leaves = {}
    for name, leaf in leaves.items():
        if "/blocks/" in name:
            found |= {name.replace("/blocks/", f"/block_{layer}/"): part for layer, part in enumerate(np.asarray(leaf))}
        else:
            found[name] = leaf
    return found


def _check_same_function(theirs: Any, ours: Any, path: str) -> None:
    there, here = family_for(theirs).to_config(theirs), family_for(ours).to_config(ours)
    for name in ("model_type", *sorted(there.keys() | here.keys())):
        if there.get(name) != here.get(name) and name not in FREE:
            raise BadInput(
                f"{path} has {name} {there.get(name)}, and the model here {here.get(name)}: take the model as "
                "`jaxlm import` writes it, and change only what fine-tuning may"
            )
