"""LoRA adapters in the layout of PEFT: adapter_config.json and adapter_model.safetensors.

The names come from the model's table (`jaxlm.hub.mapping`): the adapter of a tensor X.weight is
base_model.model.X.lora_A.weight [R, I] and X.lora_B.weight [O, R], and with DoRA X.lora_magnitude_vector [O].
I inputs, O outputs, R rank.
"""

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxlm.errors import BadInput
from jaxlm.hub.json_file import load_json
from jaxlm.hub.mapping import LINEAR, TensorRow
from jaxlm.hub.pretrained import ADAPTERS, family_of_model, leaves_by_path, tree_from_leaves
from jaxlm.hub.tensors import Tensors, save_file
from jaxlm.nn.lora import MAGNITUDE, A, B, LoRA

_WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."

# Settings that would change the function of the same tensors, with the values that do not.
_NEUTRAL: dict[str, Any] = {
    "peft_type": "LORA",
    "bias": "none",
    "lora_bias": False,
    "use_rslora": False,
    "use_qalora": False,
    "alpha_pattern": {},
    "rank_pattern": {},
    "modules_to_save": None,
    "layer_replication": None,
    "target_parameters": None,
    "trainable_token_indices": None,
    "alora_invocation_tokens": None,
}


class Adapters(NamedTuple):
    """A LoRA spec and its adapters, as `LoRA.merge` takes them.

    The rank of the adapters may exceed the spec's, see `load_adapters`.
    """

    lora: LoRA
    adapters: dict[str, Any]


def save_adapters(folder: str | Path, model: Any, lora: LoRA, adapters: Any) -> None:
    """Save the adapters of a model into an existing folder.

    Raises:
        BadInput: adapters that PEFT's layout cannot express: of embedding tables, of stacked layers, or parameters
            trained in full.
    """
    leaves = leaves_by_path(adapters)
    rows = dict(_rows(model))
    if odd := sorted(path for path in leaves if path.rpartition("/")[0] not in rows):
        raise BadInput(
            f"{odd[0]} is not an adapter of a matrix that PEFT's layout can name: adapt the kernels of unrolled "
            "layers alone, or export the merged weights with --to hf"
        )
    tensors: dict[str, np.ndarray] = {}
    for path, row in rows.items():
        if f"{path}/{A}" in leaves:
            tensors |= _to_tensors(row, path, leaves)
    config = _NEUTRAL | {
        "task_type": "CAUSAL_LM",
        "r": lora.rank,
        "lora_alpha": int(lora.alpha) if lora.alpha == int(lora.alpha) else lora.alpha,
        "lora_dropout": 0.0,
        "use_dora": lora.dora,
        "fan_in_fan_out": any(row.axes is None for path, row in rows.items() if f"{path}/{A}" in leaves),
        "target_modules": sorted({name.removeprefix(_PREFIX).rpartition(".lora_")[0] for name in tensors}),
        "inference_mode": True,
    }
    save_file(Path(folder) / _WEIGHTS, tensors)
    (Path(folder) / ADAPTERS).write_text(json.dumps(config, indent=2) + "\n")


def load_adapters(folder: str | Path, model: Any) -> Adapters:
    """Load the adapters of a folder for a model.

    Where several tensors are one kernel here (queries, keys and values), one A serves all if their A are equal, as in
    files of `save_adapters`. Otherwise their A are concatenated and the ranks add up.

    Raises:
        BadInput: no adapters, settings that are not supported, or tensors that do not fit the model.
    """
    config = _read_config(Path(folder) / ADAPTERS)
    tensors = Tensors(Path(folder) / _WEIGHTS)
    leaves: dict[str, np.ndarray] = {}
    used: set[str] = set()
    for path, row in _rows(model):
        found = {name: _part(tensors, name) for name in row.names}
        present = {name: part for name, part in found.items() if part}
        used |= {key for part in present.values() for key in part.values()}
        if present:
            leaves |= _to_leaves(row, path, present, tensors, bool(config["use_dora"]))
    if odd := sorted(set(tensors) - used):
        raise BadInput(f"{folder} has {odd[0]}, which adapts a matrix that the model does not have")
    paths = sorted({path.rpartition("/")[0] for path in leaves})
    pattern = f"^({'|'.join(map(re.escape, paths))})$"
    lora = LoRA(rank=config["r"], alpha=float(config["lora_alpha"]), pattern=pattern, dora=bool(config["use_dora"]))
    return Adapters(lora, tree_from_leaves(leaves))


def _rows(model: Any) -> Iterator[tuple[str, TensorRow]]:
    """Yield (leaf's path, row) of every kernel."""
    for row in family_of_model(model).table(model).rows:
        if row.leaf.endswith("/kernel") and row.shape is None:
            yield row.leaf, row


def _key(name: str, suffix: str) -> str:
    return f"{_PREFIX}{name.removesuffix('.weight')}.{suffix}"


def _to_tensors(row: TensorRow, path: str, leaves: Mapping[str, Any]) -> dict[str, np.ndarray]:
    turned = dataclasses.replace(row, axes=LINEAR)
    a, parts = np.asarray(leaves[f"{path}/{A}"]).T, turned.to_tensors(np.asarray(leaves[f"{path}/{B}"]))
    found = {_key(name, "lora_A.weight"): a for name in parts}
    found |= {_key(name, "lora_B.weight"): b for name, b in parts.items()}
    if f"{path}/{MAGNITUDE}" in leaves:
        lengths = dataclasses.replace(row, axes=None).to_tensors(np.asarray(leaves[f"{path}/{MAGNITUDE}"]))
        found |= {_key(name, "lora_magnitude_vector"): length for name, length in lengths.items()}
    return {name: np.array(tensor, np.float32, order="C") for name, tensor in found.items()}


def _part(tensors: Tensors, name: str) -> dict[str, str]:
    """Return the names of the stored tensors of one matrix's adapter, by their names in `LoRA`."""
    suffixes = {A: "lora_A.weight", B: "lora_B.weight", MAGNITUDE: "lora_magnitude_vector"}
    keys = {ours: _key(name, suffix) for ours, suffix in suffixes.items()}
    return {ours: key for ours, key in keys.items() if key in tensors}


def _to_leaves(
    row: TensorRow, path: str, present: Mapping[str, Mapping[str, str]], tensors: Tensors, dora: bool
) -> dict[str, np.ndarray]:
    names = (A, B, MAGNITUDE) if dora else (A, B)
    for name, keys in present.items():
        if lacking := [ours for ours in names if ours not in keys]:
            raise BadInput(f"the adapter of {name} in {tensors.path} has no {lacking[0]}: download or write it again")
    if dora and len(present) < len(row.names):
        absent = min(set(row.names) - set(present))
        raise BadInput(
            f"{tensors.path} adapts {min(present)} and not {absent}, which are one kernel here: with DoRA adapt both"
        )
    parts = [{ours: tensors[key] for ours, key in present.get(name, {}).items()} for name in row.names]
    first, size = next((part, size) for part, size in zip(parts, row.parts, strict=True) if part)
    unit = len(first[B]) // size
    for part, size in zip(parts, row.parts, strict=True):
        if not part:  # of rank 0
            part.update({A: first[A][:0], B: np.zeros((unit * size, 0), np.float32)})
    shared = all(np.array_equal(part[A], parts[0][A]) for part in parts)
    a = parts[0][A] if shared else np.concatenate([part[A] for part in parts])
    b = np.concatenate([part[B].T for part in parts], axis=-1) if shared else _diagonal([part[B].T for part in parts])
    leaves = {f"{path}/{A}": np.ascontiguousarray(a.T), f"{path}/{B}": b}
    return leaves | ({f"{path}/{MAGNITUDE}": np.concatenate([part[MAGNITUDE] for part in parts])} if dora else {})


def _diagonal(blocks: list[np.ndarray]) -> np.ndarray:
    """Return a block-diagonal matrix."""
    whole = np.zeros(tuple(np.sum([block.shape for block in blocks], axis=0)), np.float32)
    row = column = 0
    for block in blocks:
        whole[row : row + block.shape[0], column : column + block.shape[1]] = block
        row, column = row + block.shape[0], column + block.shape[1]
    return whole


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = load_json(path)
        _ = config["r"], config["lora_alpha"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path} is not an adapter_config.json ({error}): give a folder that PEFT has written") from None
    for name, neutral in _NEUTRAL.items():
        if config.get(name, neutral) != neutral:
            raise BadInput(f"{path} has {name} {json.dumps(config[name])}, which is not supported")
    return config | {"use_dora": config.get("use_dora", False)}
