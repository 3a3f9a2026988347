"""Signals stop a process at once or after the update that is running, with one line and a code that tells which."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from jaxlm.interrupt import Interrupt, Stopped, leave_if_stopped
from whole_path import ROOT

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_raises_until_the_first_check_and_waits_for_the_next_one_after_it(number):
    before = signal.getsignal(number)
    with Interrupt() as interrupt:
        with pytest.raises(Stopped, match=number.name):
            os.kill(os.getpid(), number)
        assert interrupt.check() is None
        os.kill(os.getpid(), number)
        assert interrupt.check() == number.name
    assert signal.getsignal(number) is before


def test_a_signal_that_was_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with Interrupt() as interrupt:
            os.kill(os.getpid(), signal.SIGHUP)
            assert interrupt.check() is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_work_is_left_for_a_signal_to_its_own_context_alone():
    with Interrupt() as outer:
        outer.check()
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Stopped):
            leave_if_stopped()
        with Interrupt() as inner:  # as a run in a process whose pool was abandoned
            leave_if_stopped()
            inner.check()
            os.kill(os.getpid(), signal.SIGHUP)
            with inner.leaving():
                leave_if_stopped()
                pytest.fail("a signal waits")
    leave_if_stopped()


def test_outside_the_main_thread_signals_are_left_as_they_are():
    found = []

    def work():
        with Interrupt() as interrupt:
            found.append(interrupt.check())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [None]


def start(code):
    """A process that runs `work` of some code as its command, has a group of its own, and says when it works."""
    code = f"from jaxlm.interrupt import *\nready = lambda: print('ready', flush=True)\n{code}\nrun_process(work)\n"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    child = subprocess.Popen([sys.executable, "-c", code], text=True, start_new_session=True, env=env, **pipes)
    assert child.stdout.readline() == "ready\n"
    return child


def end(child, number, within=2.0):
    """Send a signal as a terminal does, to all processes of the group: (exit code, standard error)."""
    began = time.perf_counter()
    os.killpg(child.pid, number)
    _, error = child.communicate(timeout=60)
    assert time.perf_counter() - began < within + 0.5  # on a machine that does other things
    return child.returncode, error


WORK = {
    "in Python": "def work():\n    ready()\n    while True: sum(range(1000))",
    "in a library that does not return": "import hashlib\n"
    "def work():\n    ready()\n    hashlib.pbkdf2_hmac('sha256', b'', b'', 10 ** 9)",
    "where the exception is swallowed": "class Odd:\n    def __del__(self):\n        ready()\n"
    "        while True: sum(range(1000))\n"
    "def work():\n    Odd()\n    time.sleep(60)",
    "in the making of what then cannot be closed": "class Half:\n    def __init__(self):\n        ready()\n"
    "        time.sleep(60)\n    def __del__(self):\n        self.never.close()\n"
    "def work():\n    Half()",
    "in cleaning up": "import hashlib\ndef work():\n    try:\n        ready()\n        time.sleep(60)\n"
    "    finally:\n        hashlib.pbkdf2_hmac('sha256', b'', b'', 10 ** 9)",
    "before the first update": "def work():\n    with Interrupt():\n        ready()\n        time.sleep(60)",
}


@pytest.mark.parametrize("name", WORK)
def test_ctrl_c_ends_a_process_within_two_seconds_with_one_line(name):
    assert end(start(WORK[name]), signal.SIGINT) == (130, "SIGINT: stopped\n")


def test_ctrl_c_in_an_import_is_no_error_of_the_import(tmp_path):
    (tmp_path / "slow.py").write_text(
        "import __main__\ntry:\n    __main__.ready()\n    while True: sum(range(1000))\n"
        "except BaseException: raise ImportError('cannot be imported') from None\n"
    )
    child = start(f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\ndef work():\n    import slow")
    assert end(child, signal.SIGINT) == (130, "SIGINT: stopped\n")


UPDATES = """
def work():
    with Interrupt() as interrupt:
        interrupt.check()
        ready()
        while interrupt.check() is None: time.sleep(0.1)
        print("saving", flush=True)
        time.sleep(SAVES)
    raise SystemExit(128 + signal.Signals[interrupt.signal])
"""


@pytest.mark.parametrize("number", SIGNALS)
def test_an_update_may_take_its_time_to_save(number):
    child = start(UPDATES.replace("SAVES", "3"))  # longer than a process has that saves nothing
    assert end(child, number, within=4.0) == (128 + number, "")


def test_a_second_signal_does_not_wait():
    child = start(UPDATES.replace("SAVES", "60"))
    os.killpg(child.pid, signal.SIGINT)
    assert child.stdout.readline() == "saving\n"
    assert end(child, signal.SIGINT) == (130, "SIGINT: stopped\n")


def test_the_processes_that_it_started_are_quiet_and_end_with_it():
    code = """
import multiprocessing
def work():
    child = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
    with shielded_children():
        child.start()
    print(child.pid, flush=True)
    ready()
    time.sleep(60)
"""
    code = f"from jaxlm.interrupt import *\nready = lambda: print('ready', flush=True)\n{code}"
    code += "if __name__ == '__main__': run_process(work)\n"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    child = subprocess.Popen([sys.executable, "-c", code], text=True, start_new_session=True, env=env, **pipes)
    inner = int(child.stdout.readline())
    assert child.stdout.readline() == "ready\n"
    assert end(child, signal.SIGINT) == (130, "SIGINT: stopped\n")
    for _ in range(100):
        stat = Path(f"/proc/{inner}/stat")
        if not stat.exists() or " Z " in stat.read_text():
            break
        time.sleep(0.05)
    else:
        raise AssertionError("the child is alive")


def test_a_reader_that_has_seen_enough_is_no_error():
    code = "def work():\n    ready()\n    while True: print('x' * 1000)"
    child = start(code)
    child.stdout.close()
    child.stdout = None
    _, error = child.communicate(timeout=10)
    assert (child.returncode, error) == (0, "")


@pytest.mark.parametrize(
    ("encoding", "written"),
    [
        ("ascii", rb"\xe9 \u6f22 \udce9"),
        ("latin-1", b"\xe9 " + rb"\u6f22 \udce9"),
        ("utf-8:strict", "é 漢 ".encode() + rb"\udce9"),
        ("utf-8:surrogateescape", "é 漢 ".encode() + b"\xe9"),
    ],
)
def test_a_terminal_that_lacks_a_character_gets_an_escape(encoding, written):
    code = r"from jaxlm.interrupt import *; run_process(lambda: print('\xe9 \u6f22 \udce9'))"
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, written, b"")


CHILD = """
import multiprocessing
def nap():
    end_with_parent()
    time.sleep(60)
def work():
    child = multiprocessing.get_context("spawn").Process(target=nap, daemon=True)
    with shielded_children():
        child.start()
    print(child.pid, flush=True)
    time.sleep(2)  # until it has started
    with Interrupt() as interrupt:
        interrupt.check()
        ready()
        while interrupt.check() is None: time.sleep(0.1)
        time.sleep(0.5)
        print(f"saved, child alive: {child.is_alive()}", flush=True)
        child.kill()
        child.join()
    raise SystemExit(128 + signal.Signals[interrupt.signal])
if __name__ == '__main__': run_process(work)
"""


def start_with_child(tmp_path):
    """A process with one that reads for it: (the process, the number of the other)."""
    (tmp_path / "script.py").write_text(
        f"from jaxlm.interrupt import *\nready = lambda: print('ready', flush=True)\n{CHILD}"
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, str(tmp_path / "script.py")]
    child = subprocess.Popen(words, text=True, start_new_session=True, env=env, **pipes)
    inner = int(child.stdout.readline())
    assert child.stdout.readline() == "ready\n"
    return child, inner


@pytest.mark.slow
@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_to_all_processes_ends_no_reader_before_the_run_is_saved(tmp_path, number):
    child, _ = start_with_child(tmp_path)
    os.killpg(child.pid, number)
    out, error = child.communicate(timeout=60)
    assert (child.returncode, out, error) == (128 + number, "saved, child alive: True\n", "")


@pytest.mark.slow
def test_a_reader_ends_with_a_run_that_is_killed(tmp_path):
    child, inner = start_with_child(tmp_path)
    child.kill()
    child.communicate(timeout=30)  # the reader has the same pipes
    stat = Path(f"/proc/{inner}/stat")
    assert not stat.exists() or " Z " in stat.read_text()
