"""The live table on a terminal: what is done, running, failed and left of every arm, and the time left."""

import contextlib
import io
from types import SimpleNamespace

import pytest

from jaxlm.ablate.execute import progress
from jaxlm.ablate.execute.progress import CellProgress

CELLS = [SimpleNamespace(arm=arm, seed=seed) for arm in ("base", "wide") for seed in range(3)]


class Terminal(io.StringIO):
    """What a person sees."""

    def isatty(self):
        return True

    def last(self):
        """The lines of the newest drawing, by their first word; what stands there of time left."""
        drawn = self.getvalue()[self.getvalue().rindex("arm") :].splitlines()
        rows = {words[0]: words[1:] for words in map(str.split, drawn) if words}
        return {name: [int(word) for word in rows[name]] for name in ("base", "wide")}, rows.get("about", [])


@pytest.fixture
def terminal(monkeypatch):
    """One that is standard output from the entry to a context on."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    return Terminal()


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def record(value=1.5, failed=None):
    return {"failed": failed, "pruned": None, "final": {"eval/loss": value}, "curves": {"eval/loss": [[1, value]]}}


def test_cells_are_counted_and_the_time_left_follows_their_pace(terminal, clock):
    with contextlib.redirect_stdout(terminal), CellProgress(CELLS, {("base", 0): record()}, "eval/loss") as live:
        assert "1 of 6 cells are done already" in terminal.getvalue()
        live.began(CELLS[1:2])
        live.began(CELLS[3:6])
        clock.now += 7
        live.ended(CELLS[1], record())
        live.ended(CELLS[3], record(None, "not finite"))
    # Two cells ended within seven seconds, and three are open.
    counts, left = terminal.last()
    assert counts == {"base": [2, 0, 0, 1], "wide": [0, 2, 1, 0]}
    assert left[0] == "0:00:10"
    assert "wide, seed 0, failed: not finite" in terminal.getvalue()


def test_a_lost_cell_waits_again_and_nothing_is_left_at_the_end(terminal, clock):
    with contextlib.redirect_stdout(terminal), CellProgress(CELLS, {}, "eval/loss") as live:
        live.began(CELLS)
        live.lost(CELLS[5:], "its worker died")
    assert terminal.last() == ({"base": [0, 3, 0, 0], "wide": [0, 2, 0, 1]}, [])
    assert "wide, seed 2: its worker died" in terminal.getvalue()
    with contextlib.redirect_stdout(terminal), CellProgress(CELLS, {}, "eval/loss") as live:
        for cell in CELLS:
            live.ended(cell, record())
    assert terminal.last() == ({"base": [3, 0, 0, 0], "wide": [3, 0, 0, 0]}, [])


def test_away_from_a_terminal_there_are_lines(capsys):
    with CellProgress(CELLS, {}, "eval/loss") as live:
        live.began(CELLS[:1])
        live.ended(CELLS[0], record())
        live.began(CELLS[1:])
    first, second = capsys.readouterr().out.splitlines()
    assert first == "cell 1 of 6: base, seed 0 (0 done, 0 failed, 6 left)"
    assert second == "5 cells together (1 done, 0 failed, 5 left)"
