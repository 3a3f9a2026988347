"""Describe where a number comes from: command, code, packages, machine, data, seed."""

import hashlib
import importlib.metadata
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

VECTORS = ("amx_bf16", "avx512f", "avx2", "asimd")  # what XLA compiles for on a CPU, the widest first
VENDORED = {"_vendor", "thirdparty_files"}  # folders that setuptools and Ray put on the path once they are imported
OPTIONS = (
    "jax_default_prng_impl",
    "jax_enable_custom_prng",
    "jax_threefry_partitionable",
    "jax_random_seed_offset",
    "jax_enable_x64",
    "jax_numpy_dtype_promotion",
    "jax_default_matmul_precision",
    "jax_softmax_custom_jvp",
    "jax_disable_jit",
    "jax_disable_most_optimizations",
    "jax_optimization_level",
)
LIBRARIES = ("NVIDIA_TF32_OVERRIDE", "CUBLAS_WORKSPACE_CONFIG", "LIBTPU_INIT_ARGS")  # variables with options of theirs
NAMED = re.compile(r"^Name: *(\S+)$.*?^Version: *(\S+)$", re.M | re.S)  # importlib's way to it reads the whole file

UNREAD = "(could not be read)"
LONGEST = 1_000_000  # characters of an uncommitted difference that are kept


def fingerprint(place: Any) -> dict[str, Any]:
    """Return what the bits of a run depend on apart from config and data.

    Chip, versions, flags, devices, cores, placement.
    """
    device = jax.devices()[0]
    return {
        "platform": device.platform,
        "chip": _processor() if device.platform == "cpu" else device.device_kind,
        "devices": jax.device_count(),
        "processes": jax.process_count(),
        "cores": cores(),
        "jax": jax.__version__,
        "jaxlib": importlib.metadata.version("jaxlib"),
        "python": platform.python_version(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "placement": repr(place),
    }


def jax_settings() -> dict[str, Any]:
    """Return the options of jax, and of the libraries under it, that change the numbers of a run."""
    options = {name: getattr(jax.config, name, None) for name in OPTIONS}
    plain = {name: x if isinstance(x, bool | int | float | None) else str(x) for name, x in options.items()}
    return plain | {name: os.environ[name] for name in LIBRARIES if name in os.environ}


def cores() -> int | None:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def describe(place: Any, data: dict[str, str], seed: int) -> dict[str, Any]:
    """Describe one start of a run, as lineage.json keeps it.

    Args:
        place: where the run's states live.
        data: digest of each data set, by name.
        seed: `run.seed`.
    """
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": command(),
        "directory": os.getcwd(),
        "seed": seed,
        "git": git(),
        "fingerprint": fingerprint(place),
        "data": data,
        "packages": packages(),
    }


def describe_fork(origin: Mapping[str, Any]) -> str:
    """Return the "forked" entry of a session as one line: the run, the update, and what changed."""
    if steps := origin.get("averaged"):
        return f"the mean of {origin['run']} at the updates {', '.join(map(str, steps))}"
    changed = "; ".join(f"{name} {old} is now {new}" for name, (old, new) in origin["changed"].items())
    return f"forked from {origin['run']} at update {origin['step']}: {changed or 'nothing changed'}"


def forked_from(lineage: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what a run was forked from, {"run", "step", "changed", "lineage"}, or None for a run of its own.

    An average of checkpoints is a fork at the newest of them, and has their updates as "averaged".
    """
    return next((session["forked"] for session in lineage["sessions"] if "forked" in session), None)


def command() -> str:
    """Return the command line of this process, ready to be pasted."""
    process, _, typed = os.environ.get("JAXLM_COMMAND", "").partition(" ")  # scripts/env.py sets it
    if process == str(os.getpid()):
        return typed
    installed = sys.argv[0] == shutil.which("jaxlm")  # a script that the system starts Python with
    return shlex.join(["jaxlm", *sys.argv[1:]] if installed else sys.orig_argv)


def packages() -> dict[str, str]:
    """Return every installed distribution and its version, without the copies that some vendor."""
    found = [d for d in importlib.metadata.distributions() if Path(str(d.locate_file(""))).name not in VENDORED]
    return dict(sorted((named[1], named[2]) for d in found if (named := NAMED.search(_metadata(d)))))


def _metadata(distribution: importlib.metadata.Distribution) -> str:
    try:
        return distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
    except (OSError, ValueError):  # a damaged one is no reason not to train
        return ""


def git() -> dict[str, str] | None:
    """Return the commit of the working directory and what is uncommitted, or None outside a checkout.

    What git or the file system does not give is named in the place of the text, and never an error. Bytes that are not
    UTF-8 are written as backslash escapes.
    """
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return None
    diff = _git("diff", "--no-ext-diff", "--no-color", "HEAD")
    text = UNREAD if diff is None else _text(diff)
    cut = text if len(text) <= LONGEST else f"{text[:LONGEST]}\n({len(text) - LONGEST} more characters are left out)\n"
    return {"commit": _text(commit).strip(), "diff": cut, "untracked": _untracked()}


def _untracked() -> str:
    """Return the name and SHA-256 of every Python file that git does not know and does not ignore, one a line."""
    names = _git("ls-files", "-z", "--others", "--exclude-standard", "*.py")
    if names is None:
        return UNREAD
    return "\n".join(f"{_text(name)} {_digest(Path(os.fsdecode(name)))}" for name in names.split(b"\0") if name)


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else UNREAD
    except OSError:
        return UNREAD


def _text(found: bytes) -> str:
    return found.decode("utf-8", "backslashreplace")


def _git(*words: str) -> bytes | None:
    try:
        done = subprocess.run(["git", *words], capture_output=True, stdin=subprocess.DEVNULL, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _processor() -> str:
    try:
        return name_processor(Path("/proc/cpuinfo").read_text(errors="replace"))
    except OSError:
        return platform.processor()


def name_processor(cpuinfo: str) -> str:
    """Return the name of a CPU, its family and model, and its widest vector instructions.

    Virtual machines give generations of a processor one name, and their programs have other bits: XLA compiles for the
    generation, and products are cut into blocks by the sizes of its caches.

    Args:
        cpuinfo: the text of /proc/cpuinfo.
    """
    rows = [line.partition(":") for line in cpuinfo.splitlines()]
    said = {key.strip().lower(): value.strip() for key, _, value in rows}
    flags = said.get("flags", said.get("features", "")).split()
    kinds = {"family": "cpu family", "model": "model", "part": "cpu part"}  # the last is ARM's
    words = [said.get("model name", platform.processor())]
    words += [f"{word} {said[key]}" for word, key in kinds.items() if key in said]
    words.append(next((name for name in VECTORS if name in flags), ""))
    return " ".join(word for word in words if word)
