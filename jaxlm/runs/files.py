"""Files that are written whole or not at all, and directories that one process works in."""

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from jaxlm.errors import BadInput, MachineError, one_line

LOCK = ".lock"
SAVING = ".saving"  # the end of the name of a checkpoint that is not sealed yet


def partial_name(name: str) -> str:
    """Return the name of the file that `write_atomic` writes before it becomes `name`."""
    return f".{name}.partial"


def write_atomic(path: Path, text: str) -> None:
    """Write a text file whole or not at all, on disk when this returns.

    Raises:
        OSError: it cannot be written. The file that was there is as it was.
    """
    partial = path.with_name(partial_name(path.name))
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
    sync_folder(path.parent)


@contextlib.contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """Yield an empty folder beside `out` that takes its place when all is written; nothing stays after an error.

    Raises:
        BadInput: `out` is there and holds something.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadInput(f"{out} is there and not an empty folder: give another one")
    partial = out.with_name(partial_name(out.name))
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        if out.exists():
            out.rmdir()
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def sync_folder(path: Path) -> None:
    """Force the names in a folder to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def lock(directory: Path) -> TextIO:
    """Lock a directory for this process, and make it if need be; closing the file that is returned unlocks it.

    On a file system without locks it says so and goes on.

    Raises:
        MachineError: another process has the lock.
        OSError: the directory cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    file = (directory / LOCK).open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise MachineError(
            f"another process is working in {directory}: wait for it or stop it, and run the same command again"
        ) from None
    except OSError as error:
        print(f"{directory} is on a file system without locks ({one_line(error)}): start no second process in it")
    return file


def require_room(directory: Path, size: int) -> None:
    """Raise OSError where a disk has no room for a number of bytes."""
    if shutil.disk_usage(directory).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(directory))


def disk_error(error: OSError, directory: Path) -> MachineError:
    """Turn an OSError into a one-line error that says how to fix it."""
    return MachineError(f"{reason(error)} ({error.filename or directory}): fix that and run the same command again")


def reason(error: BaseException) -> str:
    """Say in a few words why writing failed."""
    return "the disk is full" if _is_full(error) else one_line(error)


def _is_full(error: BaseException | None) -> bool:
    while error is not None:
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
        if full or any(text in str(error) for text in (os.strerror(errno.ENOSPC), "ENOSPC")):
            return True
        error = error.__cause__ or error.__context__
    return False
