"""The directory of a run: its config, its code, where it comes from, its metrics, its checkpoints."""

import json
import math
import os
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxlm.errors import BadInput, MachineError
from jaxlm.runs.code import KEPT, keep_code
from jaxlm.runs.files import LOCK, SAVING, lock, partial_name, write_atomic
from jaxlm.runs.serialise import class_names, digest, flatten, from_json, read_digested, to_json, write_digested
from jaxlm.runs.settings import FREE_ON_RESUME, PLACEMENT, Run

CONFIG, LINEAGE, METRICS = "config.json", "lineage.json", "metrics.jsonl"
CLASSES, TOKENIZER = "classes.json", "tokenizer.json"  # artefacts of data with classes, and with text
FORMAT = 2  # of config.json; the first had no number
PATHS = re.compile(r"(.+_)?(path|folder|arrays)")  # fields that name a file or folder of the user's


def identity(config: Any) -> str:
    """SHA-256 of a config without what may change on a resume."""
    return digest({name: value for name, value in flatten(to_json(config)).items() if name not in FREE_ON_RESUME})


def default_directory(config_file: Path, config: Any) -> Path:
    """runs/<config file's name>-<digest of the config>."""
    return Path("runs") / f"{config_file.stem}-{identity(config)[:10]}"


def parse_class_names(text: str | None) -> tuple[str, ...] | None:
    """Return the names in a classes.json, by index, or None without one and for a user's own form of it."""
    if text is None:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    names = found.get("names") if isinstance(found, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return None
    return tuple(names)


class RunDirectory:
    """A run on disk. Nothing is written before `begin`."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._lock: Any = None
        self._folder: os.stat_result | None = None  # as it was when the lock was taken
        self._bad_lines: set[int] = set()  # of metrics.jsonl, that were said

    @classmethod
    def existing(cls, path: str | Path) -> "RunDirectory":
        """Open a run that exists.

        Raises:
            BadInput: no run is there.
        """
        if not (Path(path) / CONFIG).is_file():
            raise BadInput(f"{path} is not a run directory: it has no {CONFIG}")
        return cls(path)

    @property
    def checkpoints(self) -> Path:
        """Return the folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def started(self) -> bool:
        """Whether a run began here."""
        return (self.path / CONFIG).is_file()

    @property
    def experiment(self) -> Path:
        """Return the run's copy of its experiment file, which has the modules that it imports next to it."""
        return self.path / self.lineage()["kept"]

    def config(self, as_given: bool = False) -> Any:
        """Return the config of the run.

        Args:
            as_given: leave relative paths as the command line or the config file gave them. Otherwise those relative
                to the working directory of the last session become absolute, if something is there, so that a run can
                be evaluated from any directory. They are the fields named `path`, `folder`, `arrays` and `..._path`,
                and `..._file` where there is no `folder`.

        Raises:
            BadInput: the config cannot be read or constructed, see `stored` and `from_json`.
        """
        stored = self.stored()
        if not as_given and (sessions := self.lineage()["sessions"]):
            stored = _absolute(stored, Path(sessions[-1].get("directory", "")))
        return from_json(stored, self.path)

    def stored(self) -> dict[str, Any]:
        """Return the config as JSON, without constructing it.

        Raises:
            BadInput: the config cannot be read, or another version of jaxlm has written it.
        """
        stored = self._read(CONFIG, {})
        if stored.pop("format", 1) != FORMAT:
            raise BadInput(
                f"{self.path} was written by {self._writer()} in a format that this version does not read: "
                "use that version, or train again in another directory"
            )
        return stored

    def _writer(self) -> str:
        """Return the version of jaxlm that wrote the directory, as far as its lineage has it."""
        try:
            session = self.lineage()["sessions"][-1]
            commit = f" (commit {session['git']['commit'][:12]})" if session["git"] else ""
            return f"jaxlm {session['packages']['jaxlm']}{commit}"
        except (OSError, ValueError, LookupError, TypeError):
            return "another version of jaxlm"

    def lineage(self) -> dict[str, Any]:
        """Return where the run comes from: its experiment file, and its sessions, oldest first.

        Raises:
            BadInput: lineage.json is missing or damaged.
        """
        lineage = self._read(LINEAGE, {"experiment": str, "kept": str, "sessions": list})
        if not all(isinstance(one, dict) and isinstance(one.get("directory", ""), str) for one in lineage["sessions"]):
            raise BadInput(f"{self.path / LINEAGE} is damaged (a session is not as it was): restore it from a copy")
        return lineage

    def _read(self, name: str, fields: Mapping[str, type]) -> dict[str, Any]:
        try:
            return read_digested(self.path / name, fields)
        except ValueError as error:
            raise BadInput(f"{self.path} is damaged ({error}): restore {name} from a copy, or train again") from None

    def artefact(self, name: str) -> str:
        """Return a file that the data spec of the run left in its directory, such as tokenizer.json.

        Raises:
            BadInput: there is none, so that the run was one of other data.
        """
        path = self.path / name
        if not path.is_file():
            raise BadInput(f"{self.path} has no {name}: take a run whose data write one, or copy it there")
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"{path} is damaged ({error}): restore it from a copy, or train again") from None

    def class_names(self) -> tuple[str, ...] | None:
        """Return the names of the classes of the run's data, by index, or None where no file has them."""
        return parse_class_names(self.artefact(CLASSES)) if (self.path / CLASSES).is_file() else None

    def check(self, config: Any, data: dict[str, str], artefacts: Collection[str] = ()) -> Any:
        """Whether a config may go on here; returns the config before, or None where no run began.

        Raises BadInput that names the fields that differ, or for data that is not the data of the run.
        """
        if not self.started:
            if self.path.exists() and not self._is_free(artefacts):
                raise BadInput(f"{self.path} is not empty and not a run directory: give another --run.directory")
            return None
        before, now = flatten(self.stored()), flatten(to_json(config))
        names = [name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)]
        accounted = {"run.steps"} if getattr(config, "privacy", None) is not None else set()  # for this length alone
        differing = [name for name in names if name not in (FREE_ON_RESUME | PLACEMENT) - accounted]
        if differing:
            told = "; ".join(f"{name} {before.get(name)} there, {now.get(name)} here" for name in differing)
            raise BadInput(f"{self.path} holds a run of another config ({told}): give another --run.directory")
        sessions = self.lineage()["sessions"]
        if sessions and sessions[-1].get("data") != data:
            raise BadInput(f"the data of {self.path} has changed since the run began: give another --run.directory")
        return self.config(as_given=True)

    def _is_free(self, artefacts: Collection[str]) -> bool:
        """Whether the folder is empty, or holds nothing but what a `begin` that was killed has written."""
        if not self.path.is_dir():
            return False
        there = {path.name for path in self.path.iterdir()}
        if there == {self.checkpoints.name}:  # what a save leaves that began when the run's folder was moved away
            return all(SAVING in path.name for path in self.checkpoints.iterdir())
        names = {KEPT, LINEAGE, *artefacts}
        return not there or (LOCK in there and there <= {LOCK} | names | set(map(partial_name, names | {CONFIG})))

    def begin(self, config: Any, session: dict[str, Any], experiment: Path, artefacts: Mapping[str, str]) -> None:
        """Take the lock, and write the code, the artefacts, the lineage and the config, which makes it a run."""
        self._lock = lock(self.path)
        self._folder = self.path.stat()
        before = self.lineage() if (self.path / LINEAGE).is_file() else {"sessions": []}
        stored = to_json(config)
        kept = before["kept"] if self.started else keep_code(self.path, class_names(stored), experiment)[0]
        for name, text in artefacts.items():
            write_atomic(self.path / name, text)
        lineage = {"experiment": str(experiment), "kept": kept, "sessions": [*before["sessions"], session]}
        write_digested(self.path / LINEAGE, lineage)
        write_digested(self.path / CONFIG, {"format": FORMAT} | stored)

    def require_in_place(self) -> None:
        """Check that the directory is still the one that this process began to work in.

        Raises:
            MachineError: it was moved or removed.
        """
        if self._folder is not None and not (self.path.is_dir() and os.path.samestat(self._folder, self.path.stat())):
            raise MachineError(
                f"{self.path} was moved or removed while the run trained: if it was moved, go on from its last "
                "checkpoint with its new place as --run.directory"
            )

    def close(self) -> None:
        """Let go of the lock."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def truncate_metrics(self, step: int) -> None:
        """Drop the records past an update, and a last line that a kill cut short."""
        kept = [record for record in self.metrics() if record["step"] <= step]
        write_atomic(self.path / METRICS, "".join(_line(record) for record in kept))

    def append_metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add a record to metrics.jsonl; values that are not finite become null."""
        with (self.path / METRICS).open("a") as file:
            file.write(_line({"step": step} | dict(metrics)))

    def metrics(self) -> Iterator[dict[str, Any]]:
        """Yield the records of metrics.jsonl, in order; a damaged line is left out, and said on standard error."""
        path = self.path / METRICS
        lines = path.read_bytes().split(b"\n") if path.is_file() else []
        for number, line in enumerate(lines, 1):
            record = _parse(line)
            if record is not None:
                yield record
            elif line and number < len(lines) and number not in self._bad_lines:  # the last one may not be complete
                self._bad_lines.add(number)
                print(f"{path} line {number} is damaged: it is left out", file=sys.stderr, flush=True)

    def evaluation_at(self, step: int, names: Collection[str]) -> dict[str, float]:
        """Return what the evaluations of these names recorded at an update, or nothing; null as NaN."""
        found = {name: value for record in self.metrics() if record["step"] == step for name, value in record.items()}
        chosen = {name: value for name, value in found.items() if name.partition("/")[0] in names}
        return {name: math.nan if value is None else value for name, value in chosen.items()}

    def write_preview(self, name: str, content: str | bytes) -> Path:
        """Write a file to `previews/` and return its path."""
        path = self.path / "previews" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path


def best_record(records: Iterable[Mapping[str, Any]], run: Run) -> Mapping[str, Any] | None:
    """Return the first record with the best finite value of `run.metric`, or None where no value is finite."""
    finite = [record for record in records if math.isfinite(_value(record, run.metric))]
    best = max if run.higher_is_better else min
    return best(finite, key=lambda record: record[run.metric], default=None)


def _value(record: Mapping[str, Any], metric: str) -> float:
    value = record.get(metric)
    return math.nan if value is None else value


def since_best(records: Iterable[Mapping[str, Any]], run: Run) -> int:
    """Count the evaluations after the best one by `run.metric`: all of them where no value is finite."""
    measured = [record for record in records if run.metric in record]
    best = best_record(measured, run)
    return len(measured) if best is None else len(measured) - 1 - measured.index(best)


def _absolute(value: Any, directory: Path, field: str = "") -> Any:
    """Return the JSON of a config with the paths in it that are relative to a directory made absolute."""
    if isinstance(value, dict):  # a file beside a `folder` is relative to that
        own = {name: "path" if name.endswith("_file") and "folder" not in value else name for name in value}
        return {name: _absolute(item, directory, own[name]) for name, item in value.items()}
    if isinstance(value, list):
        return [_absolute(item, directory, field) for item in value]
    if isinstance(value, str) and PATHS.fullmatch(field) and (directory / value).exists():
        return str(directory / value)
    return value


def _parse(line: bytes) -> dict[str, Any] | None:
    """Return the record of a line of metrics.jsonl, or None where it is damaged."""
    try:
        record = json.loads(line, parse_constant=lambda name: None)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or type(record.get("step")) is not int:
        return None
    return record if all(value is None or type(value) in (int, float) for value in record.values()) else None


def _line(record: Mapping[str, Any]) -> str:
    clean = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}
    return json.dumps(clean) + "\n"
