"""The seal of a checkpoint: what it holds, and the digest of every file, on disk before it counts."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import jax

SEAL = "seal.json"


def leaf_table(tree: Any) -> dict[str, str]:
    """Every leaf of a tree as {"params/block_0/kernel": "float32[128,384]"}."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {_name(path): f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]" for path, leaf in leaves}


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def write_seal(folder: Path, content: dict[str, Any]) -> None:
    """Force every file of a checkpoint to disk, digest it, and write the seal last and atomically."""
    files = {str(path.relative_to(folder)): _digest(path, sync=True) for path in _files(folder)}
    for path in [*(p for p in folder.rglob("*") if p.is_dir()), folder, folder.parent]:
        _sync_folder(path)
    partial = folder / (SEAL + ".partial")
    with partial.open("w") as file:
        json.dump(content | {"files": files}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(folder / SEAL)
    _sync_folder(folder)


def read_seal(folder: Path) -> dict[str, Any]:
    """The content of a seal."""
    return json.loads((folder / SEAL).read_text())


def verify(folder: Path) -> str | None:
    """What is wrong with a sealed checkpoint, or None: every file must be there with the bytes that were sealed."""
    try:
        sealed = read_seal(folder)["files"]
    except (OSError, ValueError, KeyError) as error:
        return f"{SEAL} cannot be read: {type(error).__name__}"
    for name, digest in sealed.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if _digest(path) != digest:
            return f"{name} has other bytes than were sealed"
    return None


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(SEAL))


def _digest(path: Path, sync: bool = False) -> str:
    with path.open("rb") as file:
        if sync:
            os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
