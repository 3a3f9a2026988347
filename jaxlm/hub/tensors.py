"""Named arrays in safetensors: one file, or several with `model.safetensors.index.json`."""

import json
import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxlm.errors import BadInput

FILE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLES = (".bin", ".ckpt", ".pkl", ".pt", ".pth")
SHARD_BYTES = 5_000_000_000
FLOATS = ("F64", "F32", "F16", "BF16")
INTEGERS = ("BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64")


class Tensors(Mapping[str, np.ndarray]):
    """The tensors of a file or folder by name, each read from the disk when it is asked for and not kept.

    Floating point comes as float32, whatever it was stored in: parameters are float32 here, and bfloat16 and float16
    fit into it without loss. Integers come as they are.
    """

    def __init__(self, path: str | Path):
        """Check every file's header.

        Raises:
            BadInput: nothing there, a pickle, a file that is damaged, a shard that is missing or not what the index
              says, a tensor named twice, or one in a number format that is not read.
        """
        self.path = Path(path).expanduser()
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._files: dict[str, Path] = {}
        for file, promised in _shards(self.path):
            shapes = _shapes(file)
            if promised is not None and promised != shapes.keys():
                odd = min(promised ^ shapes.keys())
                raise BadInput(
                    f"{file} {'lacks' if odd in promised else 'holds'} {odd}, against what {INDEX} says: "
                    "fetch both anew"
                )
            for name in shapes:
                if name in self._files:
                    raise BadInput(f"{name} is both in {self._files[name]} and {file}: keep one of them")
            self._shapes |= shapes
            self._files |= dict.fromkeys(shapes, file)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor, from the header alone."""
        return self._shapes[name]

    def __getitem__(self, name: str) -> np.ndarray:
        """Read one tensor."""
        from safetensors import safe_open

        with safe_open(self._files[name], framework="numpy") as file:
            tensor = file.get_tensor(name)
        integer = tensor.dtype.kind in "biu"
        return tensor if integer else tensor.astype(np.float32, copy=False)

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


def write(folder: str | Path, tensors: Mapping[str, np.ndarray], shard_bytes: int = SHARD_BYTES) -> None:
    """Write tensors into a folder that is there: one file, or files of at most `shard_bytes` (or one tensor) each."""
    from safetensors.numpy import save_file

    shards: list[list[str]] = [[]]
    size = 0
    for name, tensor in tensors.items():
        if shards[-1] and size + tensor.nbytes > shard_bytes:
            shards.append([])
            size = 0
        shards[-1].append(name)
        size += tensor.nbytes
    files = (
        [FILE]
        if len(shards) == 1
        else [f"model-{i + 1:05}-of-{len(shards):05}.safetensors" for i in range(len(shards))]
    )
    for file, names in zip(
        files, shards, strict=True
    ):  # the library writes memory as it lies, so it must lie in C order
        save_file({name: np.asarray(tensors[name], order="C") for name in names}, Path(folder) / file, {"format": "pt"})
    if len(shards) > 1:
        places = {name: file for file, names in zip(files, shards, strict=True) for name in names}
        index = {"metadata": {"total_size": sum(x.nbytes for x in tensors.values())}, "weight_map": places}
        (Path(folder) / INDEX).write_text(json.dumps(index, indent=2) + "\n")


def refuse_pickle(path: Path) -> None:
    """Raise BadInput for a file that is a pickle by its name."""
    if path.suffix in PICKLES:
        raise BadInput(
            f"{path} is a pickle, and reading one can run any code: convert it where you trust it, with "
            "safetensors.torch.save_file(torch.load(FILE, weights_only=True), 'FILE.safetensors')"
        )


def _shards(path: Path) -> Iterator[tuple[Path, set[str] | None]]:
    """The files to read, each with the names that an index promises in it, or None without an index."""
    if not path.is_dir():
        refuse_pickle(path)
        yield path, None
    elif (path / INDEX).is_file():
        places = _index(path / INDEX)
        for shard in sorted(set(places.values())):
            if not (path / shard).is_file():
                raise BadInput(f"{path / shard} is missing, which {INDEX} names: fetch it as well")
            yield path / shard, {name for name, place in places.items() if place == shard}
    elif (path / FILE).is_file():
        yield path / FILE, None
    else:
        for file in sorted(path.iterdir()):
            refuse_pickle(file)
        raise BadInput(f"{path} has no {FILE} and no {INDEX}: give a folder in Hugging Face's layout")


def _index(path: Path) -> dict[str, str]:
    """Tensor name -> name of a file beside the index."""
    try:
        places = json.loads(path.read_text(), object_pairs_hook=_once)["weight_map"]
        plain = all(Path(file).name == file and file.endswith(".safetensors") for file in places.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{path} is no index of safetensors ({error}): fetch it anew") from None
    if not places or not plain:
        raise BadInput(f"{path} names no .safetensors files beside it: fetch it anew")
    return places


def _shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor of one file, once the library has found its header sound."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy"), file.open("rb") as raw:
            (length,) = struct.unpack("<Q", raw.read(8))
            header = json.loads(raw.read(length), object_pairs_hook=_once)
    except (OSError, SafetensorError, ValueError) as error:
        raise BadInput(f"{file} cannot be read as safetensors ({error}): fetch or write it anew") from None
    header.pop("__metadata__", None)
    for name, entry in header.items():
        if entry["dtype"] not in FLOATS + INTEGERS:
            raise BadInput(f"{name} of {file} is {entry['dtype']}, which is not read: convert it to F32, F16 or BF16")
    return {name: tuple(entry["shape"]) for name, entry in header.items()}


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, unless it holds a name twice, which the library lets pass."""
    name, count = Counter(name for name, _ in pairs).most_common(1)[0] if pairs else ("", 1)
    if count > 1:
        raise ValueError(f"{name} is named twice")
    return dict(pairs)
