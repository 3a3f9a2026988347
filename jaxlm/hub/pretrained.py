"""Pretrained models: loading from and saving to a folder in Hugging Face's layout."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.traverse_util import unflatten_dict

from jaxlm.errors import BadInput
from jaxlm.hub.bert import BERT_FAMILY
from jaxlm.hub.family import Family
from jaxlm.hub.gpt2 import GPT2_FAMILY
from jaxlm.hub.llama import LLAMA_FAMILY
from jaxlm.hub.mapping import Leaves, check_names, to_leaves, to_tensors
from jaxlm.hub.options import CONFIG, Options, default_names, label_options
from jaxlm.hub.resnet import RESNET_FAMILY
from jaxlm.hub.t5 import T5_FAMILY
from jaxlm.hub.tensors import Tensors, save_tensors
from jaxlm.hub.vit import VIT_FAMILY
from jaxlm.hub.whisper import WHISPER_FAMILY

ADAPTERS = "adapter_config.json"  # of PEFT

# model_type of a config.json -> its translation
FAMILIES: dict[str, Family] = {
    "bert": BERT_FAMILY,
    "gpt2": GPT2_FAMILY,
    "llama": LLAMA_FAMILY,
    "mistral": LLAMA_FAMILY,
    "mt5": T5_FAMILY,
    "qwen2": LLAMA_FAMILY,
    "resnet": RESNET_FAMILY,
    "t5": T5_FAMILY,
    "vit": VIT_FAMILY,
    "whisper": WHISPER_FAMILY,
}

# Fields that do not change what a model computes.
TRAINING_ONLY = ("axis_name", "dropout", "remat", "scan", "zero_residual")


class PretrainedModel(NamedTuple):
    """A module and its leaves by path, "params/..." and "batch_stats/..."."""

    model: Any
    leaves: Leaves

    @property
    def variables(self) -> dict[str, Any]:
        """The leaves as the tree that `apply` takes."""
        return tree_from_leaves(self.leaves)


def is_pretrained(folder: str | Path) -> bool:
    """Return whether a folder is in Hugging Face's layout.

    The folder of a run has a config.json too, but without `model_type`.
    """
    path = Path(folder).expanduser() / CONFIG
    return path.is_file() and Options.read(path.parent).peek("model_type") is not None


def load_pretrained(folder: str | Path) -> PretrainedModel:
    """Load the model of a folder with config.json and safetensors.

    Raises:
        BadInput: an architecture or option that is not supported, or tensors that do not fit it.
    """
    folder = Path(folder).expanduser()
    model = read_model(folder)
    family = family_of_model(model)
    return PretrainedModel(model, to_leaves(family.table(model), Tensors(folder), shapes(family, model)))


def read_model(folder: Path) -> Any:
    """Build the model of a folder, from its config.json and the names of its tensors.

    Raises:
        BadInput: see `load_pretrained`.
    """
    if (folder / ADAPTERS).is_file():
        raise BadInput(
            f"{folder} has adapters beside its weights ({ADAPTERS}), which transformers would add to them: merge them "
            "with PEFT, or move them to another folder"
        )
    options = Options.read(folder)
    model = model_from_options(options)
    check_names(family_of_model(model).table(model), Tensors(folder))
    return model


def head_names(folder: str | Path) -> tuple[str, ...] | None:
    """Return the names of the classes of a folder's head in the order of its logits, or None where it names none.

    Raises:
        BadInput: an `id2label` that names no classes.
    """
    options = Options.read(Path(folder).expanduser())
    if options.peek("id2label") is None:
        return None
    names = options.class_names()
    return None if names == default_names(len(names)) else names


def model_from_options(options: Options) -> Any:
    """Build the model that a config.json describes."""
    try:
        model = family_of_config(options).from_config(options)
        model.validate()
    except BadInput:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        raise BadInput(f"{options.where} holds an option of a wrong type or value ({reason})") from None
    return model


def save_pretrained(
    folder: str | Path,
    model: Any,
    leaves: Mapping[str, Any],
    special: Mapping[str, int | None] | None = None,
    class_names: Sequence[str] | None = None,
) -> None:
    """Save a model as config.json and safetensors into an existing folder.

    Args:
        folder: the folder.
        model: a module of a known family.
        leaves: its leaves by path.
        special: ids of special tokens by role ("bos", "eos", "pad").
        class_names: of the head's classes, in the order of its logits; None names them as transformers does.

    Raises:
        BadInput: a model that no architecture of transformers computes.
    """
    family = family_of_model(model)
    config = to_config(model, class_names)
    if special is not None:
        config |= {f"{role}_token_id": special.get(role) for role in ("bos", "eos", "pad")}
    _check_same(model, family.from_config(Options(config)), config["model_type"])
    for path, wanted in shapes(family, model).items():
        if np.shape(leaves[path]) != wanted.shape:
            raise BadInput(
                f"{path} is {list(np.shape(leaves[path]))}, and {config['model_type']} of transformers has "
                f"{list(wanted.shape)} for these fields of the model: it cannot be written so"
            )
    save_tensors(folder, to_tensors(family.table(model), leaves))
    (Path(folder) / CONFIG).write_text(json.dumps(config, indent=2) + "\n")


def to_config(model: Any, class_names: Sequence[str] | None = None) -> dict[str, Any]:
    """Return the content of config.json; see `save_pretrained`."""
    classes = getattr(model, "classes", 0)
    named = label_options(class_names or default_names(classes)) if classes else {}
    return family_of_model(model).to_config(model) | named


def family_of_config(options: Options) -> Family:
    """Return the family of a config.json."""
    kind = options.take("model_type", None)
    if kind not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise BadInput(f"{options.where} has model_type {json.dumps(kind)}, which is not known here: known are {known}")
    return FAMILIES[kind]


def family_of_model(model: Any) -> Family:
    """Return the family that a module belongs to."""
    for family in FAMILIES.values():
        if family.supports(model):
            return family
    raise BadInput(
        f"{type(model).__name__} cannot be written in Hugging Face's layout: its architecture is not known here"
    )


def _check_same(model: Any, again: Any, kind: str) -> None:
    """Refuse a model that would be read differently once written; a field that is None follows another field."""
    for field in module_fields(type(model)):
        mine, theirs = getattr(model, field), getattr(again, field)
        if field == "encoder":
            _check_same(mine, theirs, kind)
        elif mine is not None and mine != theirs and field not in TRAINING_ONLY:
            raise BadInput(f"model.{field} is {mine}, and {kind} of transformers has {theirs}: it cannot be written so")


def module_fields(cls: Any) -> list[str]:
    """Return the names of a module's fields, without those that Linen adds."""
    return [field.name for field in dataclasses.fields(cls) if field.init and field.name not in ("parent", "name")]


def shapes(family: Family, model: Any) -> dict[str, jax.ShapeDtypeStruct]:
    """Return the shape of each leaf of a model, by path."""
    return leaves_by_path(jax.eval_shape(model.init, jax.random.key(0), *family.example(model)))


def leaves_by_path(tree: Any) -> Leaves:
    """Flatten a tree of variables into its leaves by "/"-joined path."""
    found = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in found}


def tree_from_leaves(leaves: Leaves) -> dict[str, Any]:
    """Build the tree of variables from leaves by path: the inverse of `leaves_by_path`."""
    return unflatten_dict(leaves, sep="/")
