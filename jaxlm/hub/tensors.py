"""Named arrays in safetensors: one file, or several with `model.safetensors.index.json`."""

import json
import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from jaxlm.errors import BadInput
from jaxlm.hub.json_file import decode_json, load_json

FILE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLES = (".bin", ".ckpt", ".pkl", ".pt", ".pth")
SHARD_BYTES = 5_000_000_000
FLOATS = ("F64", "F32", "F16", "BF16")
INTEGERS = ("BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64")


class Tensors(Mapping[str, np.ndarray]):
    """The tensors of a file or folder by name, each read from disk when it is accessed, and not cached.

    Floating-point tensors are returned as float32, whatever their stored format: parameters are float32 here, and
    bfloat16 and float16 convert to it without loss. Integers keep their format.

    A folder may have a whole file and an index of shards: the whole file is read, as transformers does.

    Attributes:
        path: of the file or folder.
        log_lines: what was passed over, for a reader.
    """

    def __init__(self, path: str | Path):
        """Check the header of every file.

        Raises:
            BadInput: nothing to read, a pickle, a damaged file, a shard that is missing or does not match the index, a
                tensor stored twice, or one in a number format that is not supported; a whole file and shards with
                other weights.
        """
        self.path = Path(path).expanduser()
        self.log_lines: tuple[str, ...] = ()
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._files: dict[str, Path] = {}
        for file, promised in _shards(self.path):
            shapes = _shapes(file)
            if promised is not None and promised != shapes.keys():
                odd = min(promised ^ shapes.keys())
                raise BadInput(
                    f"{file} {'lacks' if odd in promised else 'holds'} {odd}, against what {INDEX} says: "
                    "download both again"
                )
            for name in shapes:
                if name in self._files:
                    raise BadInput(f"{name} is both in {self._files[name]} and {file}: keep one of them")
            self._shapes |= shapes
            self._files |= dict.fromkeys(shapes, file)
        if (self.path / FILE).is_file() and (self.path / INDEX).is_file():
            self._check_shards()
            self.log_lines = (f"{self.path / FILE} is read, as transformers does, and not the shards of {INDEX}",)

    def _check_shards(self) -> None:
        """Refuse shards beside a whole file that hold other weights: one of the two is stale."""
        for shard in sorted(set(_index(self.path / INDEX).values())):
            if not os.path.isfile(self.path / shard):
                continue
            other = Tensors(self.path / shard)
            for name in other:
                if name not in self or not np.array_equal(self[name], other[name], equal_nan=True):
                    raise BadInput(
                        f"{name} of {self.path / shard} is not that of {FILE}, and transformers reads {FILE}: delete "
                        f"the one that is stale, and {INDEX} with its shards if it is they"
                    )

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor, from the header alone."""
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


def save_tensors(folder: str | Path, tensors: Mapping[str, np.ndarray], shard_bytes: int = SHARD_BYTES) -> None:
    """Save tensors into an existing folder: one file, or files of at most `shard_bytes` (or one tensor) each."""
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
    for file, names in zip(files, shards, strict=True):
        save_file(Path(folder) / file, {name: tensors[name] for name in names})
    if len(shards) > 1:
        places = {name: file for file, names in zip(files, shards, strict=True) for name in names}
        index = {"metadata": {"total_size": sum(x.nbytes for x in tensors.values())}, "weight_map": places}
        (Path(folder) / INDEX).write_text(json.dumps(index, indent=2) + "\n")


def save_file(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Save tensors as one file that transformers reads, with the permissions of any new file.

    The library writes a temporary file, which only its owner may read, and memory as it is: it needs C order.
    """
    from safetensors import numpy as library

    path.touch()
    mode = path.stat().st_mode
    library.save_file({name: np.asarray(x, order="C") for name, x in tensors.items()}, path, {"format": "pt"})
    path.chmod(mode)


def refuse_pickle(path: Path) -> None:
    """Raise BadInput for a file whose name is that of a pickle."""
    if path.suffix in PICKLES:
        raise BadInput(
            f"{path} is a pickle, and reading a pickle can run any code: convert it where you trust it, with "
            "safetensors.torch.save_file(torch.load(FILE, weights_only=True), 'FILE.safetensors')"
        )


def _shards(path: Path) -> Iterator[tuple[Path, set[str] | None]]:
    """Yield the files to read, each with the names that an index lists for it, or None without an index."""
    if not path.is_dir():
        refuse_pickle(path)
        yield path, None
    elif (path / FILE).is_file():
        yield path / FILE, None
    elif (path / INDEX).is_file():
        places = _index(path / INDEX)
        for shard in sorted(set(places.values())):
            if not os.path.isfile(path / shard):
                raise BadInput(f"{path / shard} is missing, which {INDEX} names: fetch it as well")
            yield path / shard, {name for name, place in places.items() if place == shard}
    else:
        for file in sorted(path.iterdir()):
            refuse_pickle(file)
        raise BadInput(f"{path} has no {FILE} and no {INDEX}: give a folder in Hugging Face's layout")


def _index(path: Path) -> dict[str, str]:
    """Read an index: tensor name -> file name in the same folder."""
    try:
        places = load_json(path)["weight_map"]
        plain = all(Path(file).name == file and file.endswith(".safetensors") for file in places.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{path} is not an index of safetensors ({error}): download it again") from None
    if not places or not plain:
        raise BadInput(f"{path} names files that are not .safetensors files in its folder: download it again")
    return places


def _shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor of one file, after the library has checked its header."""
    from safetensors import SafetensorError, safe_open

    try:
        if file.exists() and not file.is_file():
            raise ValueError("not a regular file")
        with safe_open(file, framework="numpy"), file.open("rb") as raw:
            (length,) = struct.unpack("<Q", raw.read(8))
            header = decode_json(raw.read(length))
    except (OSError, SafetensorError, ValueError) as error:
        raise BadInput(f"{file} cannot be read as safetensors ({error}): download or write it again") from None
    header.pop("__metadata__", None)
    for name, entry in header.items():
        if entry["dtype"] not in FLOATS + INTEGERS:
            raise BadInput(f"{name} of {file} is {entry['dtype']}, which is not read: convert it to F32, F16 or BF16")
    return {name: tuple(entry["shape"]) for name, entry in header.items()}
