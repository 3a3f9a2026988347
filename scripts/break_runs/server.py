"""Start commands of jaxlm in processes that are forked from one that has imported everything, and let files fail."""

import builtins
import contextlib
import importlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

LONGEST = 120.0  # seconds that a command may take before it counts as hanging


class Command:
    """A command that runs in a process of its own.

    Attributes:
        pid: of the process.
    """

    def __init__(self, server: subprocess.Popen, output: Path):
        self._server, self._output = server, output
        self.pid = int(self._answer())

    def wait(self) -> tuple[int, str]:
        """Return the exit code, negative for a signal, and what the command printed."""
        return int(self._answer()), self._output.read_text(errors="replace")

    def wait_for(self, lines: int, seconds: float) -> None:
        """Wait until a number of lines is printed, or the process has ended, and for some seconds more."""
        while self._output.read_bytes().count(b"\n") < lines and Path(f"/proc/{self.pid}").exists():
            time.sleep(0.005)
        time.sleep(seconds)

    def _answer(self) -> str:
        line = self._server.stdout.readline() if self._server.stdout else ""
        if not line:
            raise RuntimeError(f"the server ended: {self._output}")
        return line


class Server:
    """Forks a process for each command."""

    def __init__(self, scratch: Path):
        self._scratch = scratch
        compiled = {"JAX_COMPILATION_CACHE_DIR": str(scratch / "compiled")}
        environment = os.environ | compiled | {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=scratch,
        )

    def start(self, words: Sequence[Any], fault: dict[str, Any] | None = None) -> Command:
        """Start `jaxlm WORDS`, in which files may fail as `fault` says, see `fail`."""
        output = self._scratch / "output"
        output.write_bytes(b"")
        job = {"words": list(map(str, words)), "output": str(output), "fault": fault}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return Command(self._process, output)

    def close(self) -> None:
        """End the server."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def fail(call: str, errno: int, at: int, lasting: bool, folder: str) -> None:
    """Let calls that touch files under a folder raise an OSError in this process.

    Args:
        call: "write", "read", or the name of a function such as "os.rename".
        errno: of the error.
        at: the number of the first call that fails.
        lasting: whether all calls after it fail too.
        folder: in the path of the file.
    """
    count = -1

    def failing(original: Callable[..., Any], chosen: Callable[..., bool]) -> Callable[..., Any]:
        def function(*arguments: Any, **named: Any) -> Any:
            nonlocal count
            if chosen(*arguments, **named):
                count += 1
                if count == at or (lasting and count > at):
                    raise OSError(errno, os.strerror(errno), str(arguments[0]))
            return original(*arguments, **named)

        return function

    if call in ("write", "read"):

        def opens(path: Any, mode: str = "r", *arguments: Any, **named: Any) -> bool:
            return folder in str(path) and (call == "write") == any(letter in mode for letter in "wax+")

        io.open = builtins.open = failing(io.open, opens)
        return
    module, name = (os, call[3:]) if call.startswith("os.") else (shutil, call[7:])
    setattr(
        module, name, failing(getattr(module, name), lambda path, *_, **__: call == "os.fsync" or folder in str(path))
    )


def _serve() -> None:
    """Fork a process for each job of standard input; print its process id, and its exit code."""
    for name in ("orbax.checkpoint", "tensorboardX", "tyro", "jaxlm.train.main", "jaxlm.verbs.begin.train"):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)  # what every training imports
    from jaxlm import cli
    from jaxlm.interrupt import run_process

    for line in sys.stdin:
        job = json.loads(line)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1})
        pid = os.fork()
        if pid == 0:
            output = os.open(job["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(output, 1)
            os.dup2(output, 2)
            sys.argv = ["jaxlm", *job["words"]]
            if job["fault"]:
                fail(**job["fault"])

            def work() -> None:
                signal.pthread_sigmask(signal.SIG_SETMASK, set())
                cli.main()

            run_process(work)
        print(pid, flush=True)
        began = time.monotonic()
        while (ended := os.waitpid(pid, os.WNOHANG))[0] == 0:
            if time.monotonic() - began > LONGEST:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.002)
        print(os.waitstatus_to_exitcode(ended[1]), flush=True)


if __name__ == "__main__":
    _serve()
