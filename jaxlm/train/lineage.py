"""Where a number comes from: command, code, packages, machine, data, seed."""

import hashlib
import importlib.metadata
import os
import platform
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax

VECTORS = ("amx_bf16", "avx512f", "avx2", "asimd")  # what XLA compiles for on a CPU, the widest first
VENDORED = {"_vendor", "thirdparty_files"}  # folders that setuptools and Ray put on the path once they are imported
NAMED = re.compile(r"^Name: *(\S+)$.*?^Version: *(\S+)$", re.M | re.S)  # importlib's way to it reads the whole file


def fingerprint(place: Any) -> dict[str, Any]:
    """What the bits of a run depend on beside its config and data: chip, versions, flags, devices, cores, placement."""
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


def cores() -> int | None:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def describe(place: Any, data: dict[str, str], seed: int) -> dict[str, Any]:
    """One start of a run, as lineage.json keeps it."""
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


def command() -> str:
    """The command line of this process, ready to be pasted."""
    return shlex.join(sys.orig_argv)


def packages() -> dict[str, str]:
    """Every installed distribution and its version, without the copies that some keep of others for themselves."""
    found = [d for d in importlib.metadata.distributions() if Path(str(d.locate_file(""))).name not in VENDORED]
    texts = [d.read_text("METADATA") or d.read_text("PKG-INFO") or "" for d in found]
    return dict(sorted((named[1], named[2]) for text in texts if (named := NAMED.search(text))))


def git() -> dict[str, str] | None:
    """The commit of the working directory and its uncommitted difference, or None outside a checkout."""
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return None
    return {"commit": commit.strip(), "diff": _git("diff", "HEAD") or "", "untracked": _untracked()}


def _untracked() -> str:
    names = (_git("ls-files", "--others", "--exclude-standard", "*.py") or "").split()
    return "\n".join(f"{name} {hashlib.sha256(Path(name).read_bytes()).hexdigest()}" for name in names)


def _git(*words: str) -> str | None:
    try:
        done = subprocess.run(["git", *words], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _processor() -> str:
    """The model of the CPU and its widest vector instructions: virtual machines hide which model it is."""
    try:
        rows = [line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines()]
    except OSError:
        return platform.processor()
    said = {key.strip().lower(): value.strip() for key, _, value in rows}
    flags = said.get("flags", said.get("features", "")).split()
    words = [said.get("model name", platform.processor()), next((name for name in VECTORS if name in flags), "")]
    return " ".join(word for word in words if word)
