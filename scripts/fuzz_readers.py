"""Read mutated real files with every reader: none may end in a traceback, hang, or take memory past a bound.

    JAXLM_TEST_DATA=FOLDER python scripts/fuzz_readers.py [--count 10000] [--seed 0] [--only NAME ...] [--json FILE]

Each case is a function of (seed, reader, number), so that a fault is seen again with `--only NAME --case NUMBER`. It is
good where the file is read, or refused with a `BadInput` of one line. Cases run in a process of their own, whose memory
has a limit of the system; one that takes too long, or all memory, or dies is a fault, and the next case goes on.
"""

import argparse
import json
import multiprocessing
import os
import random
import resource
import shutil
import statistics
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from fuzz_targets import Target, targets
from mutations import mutate

MEMORY = 1 << 30  # bytes beyond what the process has after its imports
SECONDS = 10.0  # that one case may take
LONGEST = 30_000  # characters of a message


class Outcome(NamedTuple):
    """What became of a case: "read", "refused" or a fault.

    Attributes:
        number: of the case.
        kind: "read", "refused" or what the fault is.
        seconds: of CPU time that it took; of a case without an answer, of time.
        peak: the largest memory of the process so far, in bytes.
    """

    number: int
    kind: str
    seconds: float
    peak: int


@dataclass
class Tally:
    """The outcomes of a reader."""

    name: str
    kinds: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    faults: dict[int, str] = field(default_factory=dict)
    grown: int = 0

    def add(self, outcome: Outcome) -> None:
        """Count an outcome."""
        good = outcome.kind in ("read", "refused")
        self.kinds[outcome.kind if good else "fault"] += 1
        self.seconds.append(outcome.seconds)
        if not good:
            self.faults[outcome.number] = outcome.kind

    def row(self) -> dict[str, Any]:
        """Return the figures of the table in docs/robustness.md."""
        ordered = sorted(self.seconds)
        return {
            "reader": self.name,
            "cases": len(ordered),
            "read": self.kinds["read"],
            "refused": self.kinds["refused"],
            "faults": self.kinds["fault"],
            "median ms": round(1e3 * statistics.median(ordered), 2),
            "99 % ms": round(1e3 * ordered[int(0.99 * (len(ordered) - 1))], 1),
            "slowest ms": round(1e3 * ordered[-1]),
            "memory MiB": round(self.grown / 2**20),
        }


def one_case(target: Target, name: str, seed: int, number: int, folder: Path) -> str:
    """Read one mutated file; return "read", "refused" or the fault."""
    from jaxlm.errors import BadInput

    draw = random.Random(f"{seed} {name} {number}")
    folder = Path(tempfile.mkdtemp(dir=folder))  # of its own, since readers remember what they read
    for file, content in mutate(draw.choice(target.samples), draw, target.whole).items():
        (folder / file).write_bytes(content)
    try:
        target.read(folder)
    except BadInput as error:
        good = "\n" not in str(error) and 0 < len(str(error)) < LONGEST
        return "refused" if good else f"a message of {len(str(error))} characters: {str(error)[:200]!r}"
    except BaseException as error:  # panics of Rust are no Exception
        if isinstance(error, KeyboardInterrupt):
            raise
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {str(error)[:200]} ({place.filename}:{place.lineno})"
    finally:
        shutil.rmtree(folder)
    return "read"


def warm_up(target: Target, folder: Path) -> None:
    """Read the files as they are, so that imports and buffers are there before memory is measured."""
    for number, sample in enumerate(target.samples):
        (folder / str(number)).mkdir()
        for file, content in sample.items():
            (folder / str(number) / file).write_bytes(content)
        target.read(folder / str(number))


def peak_memory() -> int:
    """Return the largest resident memory that this process had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def work(target: Target, name: str, seed: int, numbers: range, memory: int, sink: Connection) -> None:
    """Run cases in this process, and send each number before its case and the outcome after it."""
    os.dup2(
        os.open(os.environ.get("FUZZ_LOG", os.devnull), os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2
    )  # panics of Rust and warnings of Pillow
    with tempfile.TemporaryDirectory() as folder:
        warm_up(target, Path(folder))
        used = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_DATA, (used + memory, resource.RLIM_INFINITY))
        for number in numbers:
            sink.send(number)
            began = time.process_time()
            kind = one_case(target, name, seed, number, Path(folder))
            sink.send(Outcome(number, kind, time.process_time() - began, peak_memory()))
    sink.close()


def campaign(target: Target, name: str, seed: int, numbers: range, memory: int, seconds: float) -> Iterator[Outcome]:
    """Yield the outcome of each case, with a new process after each that dies or hangs."""
    context = multiprocessing.get_context("fork")
    while len(numbers):
        source, sink = context.Pipe(duplex=False)
        process = context.Process(target=work, args=(target, name, seed, numbers, memory, sink))
        process.start()
        sink.close()
        current, limit, began = numbers[0], 60 + seconds, time.perf_counter()  # the first case waits for imports
        fault = ""
        while not fault:
            try:
                found = source.recv() if source.poll(limit) else None
            except EOFError:
                break
            if found is None:
                process.kill()
                fault = f"no answer after {seconds:g} s"
            elif isinstance(found, Outcome):
                yield found
                numbers = numbers[1:]
            else:
                current, limit, began = found, seconds, time.perf_counter()
        process.join()
        if fault or (process.exitcode and len(numbers)):
            kind = fault or f"the process died with code {process.exitcode}"
            yield Outcome(current, kind, time.perf_counter() - began, 0)
            numbers = numbers[numbers.index(current) + 1 :]
        elif len(numbers):
            raise RuntimeError(f"{name}: the process ended early")


def tally(target: Target, name: str, seed: int, count: int, memory: int = MEMORY, seconds: float = SECONDS) -> Tally:
    """Run the cases of a reader."""
    found, least = Tally(name), 0
    for outcome in campaign(target, name, seed, range(count), memory, seconds):
        least = least or outcome.peak
        found.grown = max(found.grown, outcome.peak - least)
        found.add(outcome)
    return found


def markdown(rows: list[dict[str, Any]]) -> str:
    """Return a table of figures."""
    names = list(rows[0])
    lines = [
        names,
        ["---"] * len(names),
        *(
            [format(row[name], ",") if isinstance(row[name], int | float) else row[name] for name in names]
            for row in rows
        ),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> int:
    """Run the readers that were asked for; the exit status is 1 where there was a fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000, help="cases for each reader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", help="names of readers")
    parser.add_argument("--case", type=int, help="one case, in this process, with its traceback")
    parser.add_argument("--json", type=Path, help="where to write the figures and the faults")
    words = parser.parse_args()
    if "JAXLM_TEST_DATA" not in os.environ:
        print("error: JAXLM_TEST_DATA is not set: set it to the folder of real data", file=sys.stderr)
        return 2
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    with tempfile.TemporaryDirectory() as made:
        os.environ["JAXLM_CACHE"] = made
        known = targets(Path(os.environ["JAXLM_TEST_DATA"]), Path(made))
        rows, faults = [], {}
        for name in words.only or known:
            if words.case is not None:
                (Path(made) / "case").mkdir(exist_ok=True)
                print(name, one_case(known[name], name, words.seed, words.case, Path(made) / "case"))
                continue
            found = tally(known[name], name, words.seed, words.count)
            rows.append(found.row())
            faults[name] = found.faults
            print(
                found.row(),
                *(f"  case {n}: {what}" for n, what in list(found.faults.items())[:20]),
                sep="\n",
                flush=True,
            )
    if rows:
        print(markdown(rows))
        if words.json:
            words.json.write_text(json.dumps({"seed": words.seed, "rows": rows, "faults": faults}, indent=1) + "\n")
    return int(any(faults.values()))


if __name__ == "__main__":
    sys.exit(main())
