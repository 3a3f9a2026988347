"""What a person sees while cells run: a live table of the arms on a terminal, plain lines elsewhere."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import TracebackType

from jaxlm.ablate.cell import Cell
from jaxlm.ablate.record import Record, value_of
from jaxlm.train.progress import table

STATES = ("done", "running", "failed", "left")


class CellProgress:
    """Count and show the cells of every arm. It is a context; on a terminal it draws its counts in place.

    Args:
        cells: all of them.
        records: of the cells that are done already.
        metric: a cell without a value of it counts as failed.
    """

    def __init__(self, cells: Sequence[Cell], records: Mapping[tuple[str, int], Record], metric: str):
        self._metric = metric
        self._numbers = {(cell.arm, cell.seed): number for number, cell in enumerate(cells, 1)}
        self._states = dict.fromkeys(self._numbers, "left")
        self._states |= {key: self._state(record) for key, record in records.items()}
        self._finished, self._began = 0, time.monotonic()

    def __enter__(self) -> "CellProgress":
        self._table = table()
        if done := sum(state != "left" for state in self._states.values()):
            self.say(f"{done} of {len(self._states)} cells are done already")
        self._draw()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._table is not None:
            self._table.close()

    def began(self, group: Sequence[Cell]) -> None:
        """Show that cells have been started, at the same time where they are several."""
        if self._table is None:
            count = Counter(self._states.values())
            counts = f"{count['done']} done, {count['failed']} failed, {count['left'] + count['running']} left"
            number = self._numbers[group[0].arm, group[0].seed]
            named = f"cell {number} of {len(self._numbers)}: {group[0].arm}, seed {group[0].seed}"
            self.say(f"{named if len(group) == 1 else f'{len(group)} cells together'} ({counts})")
        self._states |= {(cell.arm, cell.seed): "running" for cell in group}
        self._draw()

    def lost(self, group: Sequence[Cell], why: str) -> None:
        """Show that cells have lost their worker. They wait for another one or stay open."""
        for cell in group:
            self._states[cell.arm, cell.seed] = "left"
            self.say(f"  {cell.arm}, seed {cell.seed}: {why}")
        self._draw()

    def ended(self, cell: Cell, record: Record) -> None:
        """Show that a cell has its record."""
        self._states[cell.arm, cell.seed] = self._state(record)
        self._finished += 1
        if why := value_of(record, self._metric)[1]:
            self.say(f"  {cell.arm}, seed {cell.seed}, failed: {why}")
        self._draw()

    def say(self, text: str) -> None:
        """Show a line."""
        if self._table is None:
            print(text, flush=True)
        else:
            self._table.say(text)

    def _state(self, record: Record) -> str:
        return "done" if value_of(record, self._metric)[0] is not None else "failed"

    def _draw(self) -> None:
        if self._table is not None:
            self._table.show(["arm", *STATES], [*self._rows(), [self._time_left()]])

    def _rows(self) -> list[list[str]]:
        counts: dict[str, Counter[str]] = {}
        for (arm, _), state in self._states.items():
            counts.setdefault(arm, Counter())[state] += 1
        return [[arm, *(str(count[state]) for state in STATES)] for arm, count in counts.items()]

    def _time_left(self) -> str:
        """Return the time left, by the pace of the cells that ended in this session."""
        count = Counter(self._states.values())
        if not self._finished or not (left := count["left"] + count["running"]):
            return ""
        seconds = left * (time.monotonic() - self._began) / self._finished
        return f"about {timedelta(seconds=round(seconds))} left"
