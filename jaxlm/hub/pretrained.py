"""A model with its weights, from and to a folder in Hugging Face's layout."""

import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax

from jaxlm.errors import BadInput
from jaxlm.hub import tensors
from jaxlm.hub.mapping import Leaves, Table, to_leaves, to_tensors
from jaxlm.hub.options import CONFIG, Options

# model_type of their config.json -> the module that translates it
FAMILIES = {
    "gpt2": "jaxlm.hub.gpt2",
}


class Family(Protocol):
    """What a module of one architecture offers."""

    MODELS: tuple[type, ...]  # our modules that it can write
    ENCODER_LACKS: str  # regular expression, from the start of our parameters' paths: what `encode` alone does not take

    def from_config(self, options: Options) -> Any:
        """Our module, from their config.json; BadInput on what is not computed here."""

    def to_config(self, model: Any) -> dict[str, Any]:
        """Their config.json, from our module; BadInput on what theirs do not compute."""

    def table(self, model: Any) -> Table:
        """Where the tensors lie."""

    def example(self, model: Any) -> tuple[Any, ...]:
        """What `init` takes after the key."""


class Pretrained(NamedTuple):
    """A module and its leaves by path, "params/..." and "batch_stats/..."."""

    model: Any
    leaves: Leaves

    @property
    def variables(self) -> dict[str, Any]:
        """The leaves as the tree that `apply` takes."""
        return nested(self.leaves)


def read(folder: str | Path) -> Pretrained:
    """The model of a folder that holds config.json and safetensors.

    Raises:
        BadInput: an architecture or option that is not computed here, or tensors that do not fit it.
    """
    folder = Path(folder).expanduser()
    options = Options.read(folder)
    family = family_of(options)
    model = family.from_config(options)
    model.validate()
    return Pretrained(model, to_leaves(family.table(model), tensors.Tensors(folder), shapes(family, model)))


def write(folder: str | Path, model: Any, leaves: Mapping[str, Any], family: Family) -> None:
    """Write config.json and safetensors into a folder that is there."""
    config = family.to_config(model)
    tensors.write(folder, to_tensors(family.table(model), leaves))
    (Path(folder) / CONFIG).write_text(json.dumps(config, indent=2) + "\n")


def family_of(options: Options) -> Family:
    """The module for an architecture of theirs."""
    kind = options.take("model_type", None)
    if kind not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise BadInput(f"{options.where} has model_type {json.dumps(kind)}, which is not known here: known are {known}")
    family: Any = import_module(FAMILIES[kind])
    return family


def shapes(family: Family, model: Any) -> dict[str, jax.ShapeDtypeStruct]:
    """The shape of each leaf of a model, by path."""
    return by_path(jax.eval_shape(model.init, jax.random.key(0), *family.example(model)))


def by_path(tree: Any) -> Leaves:
    """The leaves of a tree of variables, by path."""
    found = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in found}


def nested(leaves: Leaves) -> dict[str, Any]:
    """The tree of leaves by path."""
    tree: dict[str, Any] = {}
    for path, leaf in leaves.items():
        *parents, name = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = leaf
    return tree
