"""A file is written whole or not at all, and one process works in a directory."""

import errno
import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from jaxlm.errors import BadInput, MachineError, one_line
from jaxlm.runs.files import disk_error, lock, write_atomic


def test_a_file_is_the_old_one_or_the_new_one(tmp_path, monkeypatch):
    path = tmp_path / "table.txt"
    write_atomic(path, "old ü\u2028")
    assert path.read_bytes() == "old ü\u2028".encode()

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space left"):
            write_atomic(path, "new")
    assert path.read_text() == "old ü\u2028"
    write_atomic(path, "new")
    assert [file.name for file in tmp_path.iterdir()] == ["table.txt"]
    assert path.read_text() == "new"


HOLDS = (
    "import sys; from pathlib import Path; from jaxlm.runs.files import lock; held = lock(Path(sys.argv[1])); input()"
)


def test_one_process_works_in_a_directory(tmp_path):
    folder = tmp_path / "a" / "run"
    with lock(folder), pytest.raises(MachineError, match=f"another process is working in {folder}: wait for it"):
        lock(folder)
    lock(folder).close()
    with subprocess.Popen(
        [sys.executable, "-c", "print(1, flush=True); " + HOLDS, folder], stdin=-1, stdout=-1
    ) as child:
        child.stdout.readline()
        while True:
            try:
                lock(folder).close()
            except MachineError:
                break
        child.kill()
    lock(folder).close()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EIO])
def test_a_file_system_without_locks_is_said_and_worked_in(tmp_path, monkeypatch, capsys, number):
    def unsupported(file, how):
        raise OSError(number, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    lock(tmp_path).close()
    told = capsys.readouterr().out
    assert told.startswith(
        f"{tmp_path} is on a file system without locks (OSError: [Errno {number}] No locks available"
    )
    assert told.endswith("): start no second process in it\n")


def test_what_is_wrong_with_the_machine_is_a_class_of_its_own():
    error = disk_error(OSError(errno.ENOSPC, "No space left on device", "file"), Path("run"))
    assert isinstance(error, MachineError)
    assert isinstance(error, BadInput)
    assert str(error) == "the disk is full (file): fix that and run the same command again"


def test_an_error_is_one_line_whatever_it_says():
    assert one_line(ValueError("one\ntwo")) == "ValueError: one"
    assert one_line(ValueError()) == "ValueError"
    assert len(one_line(ValueError("x" * 999))) < 250
