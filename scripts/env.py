#!/usr/bin/env python3
"""Run a command of this project in its own virtual environment, which is made on first use.

    python3 scripts/env.py jaxlm train cnn_digits
    python3 scripts/env.py --extras dev pytest

Needs only Python 3.11 or newer with pip. The environment is `.venv` in the project's folder; it is brought up to date
when pyproject.toml has changed or when an extra is missing. pip's own variables apply (PIP_CONSTRAINT, ...).
"""

import argparse
import hashlib
import json
import os
import shlex
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv"
STAMP = ENVIRONMENT / "jaxlm.json"
# Huge pages, and memory that is kept instead of given back: fresh pages are what memory-bound operations on a CPU wait
# for (scripts/bench_train.py measures it). One arena, because those of other threads ask the system for each block of
# more than 64 MiB and give it back, in every step. glibc reads this before a process starts.
KEPT = 2**36  # bytes
ALLOCATOR = ":".join(
    f"glibc.malloc.{setting}"
    for setting in ("hugetlb=1", "arena_max=1", f"mmap_threshold={KEPT}", f"trim_threshold={KEPT}", f"top_pad={2**28}")
)


def main() -> None:
    """Parse the command line, prepare the environment, and become the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--extras", default="", help="extras of pyproject.toml, comma-separated: dev,tensorboard")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="what to run; nothing: only prepare the environment")
    words = parser.parse_args()
    prepare({extra for extra in words.extras.split(",") if extra})
    if not words.command:
        return
    if words.command[0] != "pytest":  # which compiles thousands of programs in a process, and gives their memory back
        os.environ.setdefault("GLIBC_TUNABLES", ALLOCATOR)
    # On some processors XLA logs pages of features, as errors, whenever it loads a compiled program that was kept.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    programs = ENVIRONMENT / ("Scripts" if os.name == "nt" else "bin")
    os.environ["PATH"] = f"{programs}{os.pathsep}{os.environ['PATH']}"
    os.environ["VIRTUAL_ENV"] = str(ENVIRONMENT)
    # What was typed, for messages that say how to go on; the number keeps it from processes that the command starts.
    os.environ["JAXLM_COMMAND"] = f"{os.getpid()} {shlex.join(sys.orig_argv)}"
    try:
        os.execvp(words.command[0], words.command)
    except FileNotFoundError:
        sys.exit(f"error: {programs} has no command {words.command[0]}: add the extra that it comes from (--extras)")


def prepare(extras: set[str]) -> None:
    """Make the environment, or bring it up to date if it is not."""
    if sys.version_info < (3, 11):
        sys.exit(f"error: this is Python {sys.version.split()[0]}: jaxlm needs 3.11 or newer")
    project = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
    stamp = json.loads(STAMP.read_text()) if STAMP.is_file() else {"project": "", "extras": []}
    if stamp["project"] == project and extras <= set(stamp["extras"]):
        return
    extras |= set(stamp["extras"])
    print(f"preparing {ENVIRONMENT} (once; a few minutes)", file=sys.stderr, flush=True)
    if not (ENVIRONMENT / "pyvenv.cfg").is_file():
        venv.create(ENVIRONMENT, with_pip=True)
    python = ENVIRONMENT / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    target = str(ROOT) + (f"[{','.join(sorted(extras))}]" if extras else "")
    install = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--editable", target]
    if subprocess.run(install, stdout=sys.stderr).returncode:
        sys.exit("error: pip could not install jaxlm: read its message above, fix that and run this again")
    STAMP.write_text(json.dumps({"project": project, "extras": sorted(extras)}))


if __name__ == "__main__":
    main()
