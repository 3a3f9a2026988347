"""What Orbax lacks: a seal of digests that says that a checkpoint is whole, and one report of a save that fails."""

import hashlib
import logging
import math
import os
import sys
import warnings
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jax

from jaxlm.errors import one_line
from jaxlm.runs.files import partial_name, sync_folder
from jaxlm.runs.serialise import read_digested, write_digested

SEAL = "seal.json"
FIELDS = {"step": int, "metrics": dict, "leaves": dict, "files": dict}
FileStats = dict[str, tuple[int, int, int]]


def leaf_table(tree: Any) -> dict[str, str]:
    """Return every leaf of a tree as {"params/block_0/kernel": "float32[128,384]"}."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {_name(path): f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]" for path, leaf in leaves}


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _finite(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """Return metrics with None for what is not finite, as metrics.jsonl has them."""
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}


def write_seal(folder: Path, content: Mapping[str, Any]) -> None:
    """Force every file of a checkpoint to disk, digest it, and write the seal last and atomically.

    Args:
        folder: of the checkpoint.
        content: "step", "metrics" and "leaves".
    """
    files = {str(path.relative_to(folder)): digest_file(path, sync=True) for path in _files(folder)}
    for path in [*(p for p in folder.rglob("*") if p.is_dir()), folder, folder.parent]:
        sync_folder(path)
    write_digested(folder / SEAL, {**content, "metrics": _finite(content["metrics"]), "files": files})


def add_metrics(folder: Path, metrics: Mapping[str, float]) -> None:
    """Add metrics to the seal of a checkpoint."""
    seal = read_seal(folder)
    write_digested(folder / SEAL, {**seal, "metrics": {**seal["metrics"], **_finite(metrics)}})


def read_seal(folder: Path) -> dict[str, Any]:
    """Return the content of a seal.

    Raises:
        ValueError: what is wrong with it: it is missing, has changed, or belongs to another checkpoint.
    """
    seal = read_digested(folder / SEAL, FIELDS)
    if str(seal["step"]) != folder.name.partition(".")[0]:
        raise ValueError(f"{SEAL} is of update {seal['step']}")
    return seal


def find_damage(folder: Path) -> str | None:
    """Check a sealed checkpoint: every file must be there with the bytes that were sealed.

    Returns:
        What is wrong, or None.
    """
    try:
        for name, digest in read_seal(folder)["files"].items():
            path = folder / name
            if not path.is_file():
                return f"{name} is missing"
            if digest_file(path) != digest:
                return f"{name} has other bytes than were sealed"
    except ValueError as error:
        return str(error)
    except OSError as error:
        return f"it cannot be read: {one_line(error)}"
    return None


def file_stats(folder: Path) -> FileStats:
    """Return inode, size and time of change of every file under the seal: where these are as before, so are bytes."""
    found = {str(path.relative_to(folder)): path.stat() for path in _files(folder)}
    return {name: (stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in found.items()}


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in (SEAL, partial_name(SEAL)))


def digest_file(path: Path, sync: bool = False) -> str:
    """Return the SHA-256 of a file; with `sync`, after it was forced to disk."""
    with path.open("rb") as file:
        if sync:
            os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()


def make_checkpointer() -> Any:
    """Return Orbax's checkpointer.

    A save that fails raises its error, which becomes one line. Orbax also logs tracebacks of it, and leaves tasks of an
    event loop that it has closed, which Python would report one by one; these reports are left out.
    """
    import orbax.checkpoint as ocp

    _leave_out_reports()
    return ocp.StandardCheckpointer()


@cache
def _leave_out_reports() -> None:
    for name in ("absl", "asyncio", "concurrent.futures"):
        logging.getLogger(name).addFilter(lambda record: not _is_left_behind(record))
    warnings.filterwarnings("ignore", r"coroutine '\w+(\.\w+)*' was never awaited", RuntimeWarning)
    before = sys.unraisablehook

    def report(found: Any) -> None:
        if "Event loop is closed" not in str(found.exc_value):
            before(found)

    sys.unraisablehook = report


def _is_left_behind(record: logging.LogRecord) -> bool:
    words = (record.pathname, record.getMessage(), str(record.exc_info))
    return any("orbax" in text or "Event loop is closed" in text for text in words)


def template_of(metadata: Any) -> Any:
    """Return the `jax.ShapeDtypeStruct`s of a checkpoint on one device, of Orbax's metadata."""
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        getattr(metadata, "item_metadata", metadata),
    )
