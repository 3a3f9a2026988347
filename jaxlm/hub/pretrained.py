"""A model with its weights, from and to a folder in Hugging Face's layout."""

import dataclasses
import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from jaxlm.errors import BadInput
from jaxlm.hub import tensors
from jaxlm.hub.mapping import Leaves, Table, to_leaves, to_tensors
from jaxlm.hub.options import CONFIG, Options

# model_type of their config.json -> the module that translates it
FAMILIES = {
    "bert": "jaxlm.hub.bert",
    "gpt2": "jaxlm.hub.gpt2",
    "llama": "jaxlm.hub.llama",
    "mistral": "jaxlm.hub.llama",
    "qwen2": "jaxlm.hub.llama",
    "resnet": "jaxlm.hub.resnet",
    "t5": "jaxlm.hub.t5",
    "vit": "jaxlm.hub.vit",
}

TRAINING_ONLY = (
    "axis_name",
    "dropout",
    "remat",
    "scan",
    "zero_residual",
)  # fields that do not change what a model computes


class Family(Protocol):
    """What a module of one architecture offers."""

    ENCODER_LACKS: str  # regular expression, from the start of our parameters' paths: what `encode` alone does not take

    def writes(self, model: Any) -> bool:
        """Whether a module of ours is of this family."""

    def from_config(self, options: Options) -> Any:
        """Our module, from their config.json; BadInput on what is not computed here."""

    def to_config(self, model: Any) -> dict[str, Any]:
        """Their config.json, from our module; what theirs cannot say is left out, and found by reading it again."""

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


def is_pretrained(folder: str | Path) -> bool:
    """Whether a folder is in Hugging Face's layout: a run has a config.json as well, and no model_type in it."""
    path = Path(folder).expanduser() / CONFIG
    return path.is_file() and Options.read(path.parent).peek("model_type") is not None


def read(folder: str | Path) -> Pretrained:
    """The model of a folder that holds config.json and safetensors.

    Raises:
        BadInput: an architecture or option that is not computed here, or tensors that do not fit it.
    """
    folder = Path(folder).expanduser()
    model = read_model(folder)
    family = family_for(model)
    return Pretrained(model, to_leaves(family.table(model), tensors.Tensors(folder), shapes(family, model)))


def read_model(folder: Path) -> Any:
    """The model of a folder, from its config.json alone."""
    return model_of(Options.read(folder))


def model_of(options: Options) -> Any:
    """The model that a config.json describes."""
    try:
        model = family_of(options).from_config(options)
        model.validate()
    except BadInput:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        told = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        raise BadInput(f"{options.where} holds an option that is not of the kind that it should be ({told})") from None
    return model


def write(
    folder: str | Path, model: Any, leaves: Mapping[str, Any], special: Mapping[str, int | None] | None = None
) -> None:
    """Write config.json and safetensors into a folder that is there; `special` are ids of special tokens by role.

    Raises:
        BadInput: a model that no architecture of theirs computes.
    """
    family = family_for(model)
    config = family.to_config(model)
    if special is not None:
        config |= {f"{role}_token_id": special.get(role) for role in ("bos", "eos", "pad")}
    _check_same(model, family.from_config(Options(config)), config["model_type"])
    for path, wanted in shapes(family, model).items():
        if np.shape(leaves[path]) != wanted.shape:
            raise BadInput(
                f"{path} is {list(np.shape(leaves[path]))}, and {config['model_type']} of transformers has "
                f"{list(wanted.shape)} for these fields of the model: it cannot be written so"
            )
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


def family_for(model: Any) -> Family:
    """The module that writes a model of ours."""
    for name in dict.fromkeys(FAMILIES.values()):
        family: Any = import_module(name)
        if family.writes(model):
            return family
    raise BadInput(f"{type(model).__name__} is no model that Hugging Face's layout is known for here")


def _check_same(model: Any, again: Any, kind: str) -> None:
    """Refuse a model that reads otherwise once it is written; a field that is None follows another one."""
    for field in own_fields(type(model)):
        mine, theirs = getattr(model, field), getattr(again, field)
        if field == "encoder":
            _check_same(mine, theirs, kind)
        elif mine is not None and mine != theirs and field not in TRAINING_ONLY:
            raise BadInput(f"model.{field} is {mine}, and {kind} of transformers has {theirs}: it cannot be written so")


def own_fields(cls: Any) -> list[str]:
    """The fields of a module, without those that Linen adds."""
    return [field.name for field in dataclasses.fields(cls) if field.init and field.name not in ("parent", "name")]


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
