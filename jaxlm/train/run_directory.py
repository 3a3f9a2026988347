"""The directory of a run: its config, where it comes from, its metrics, its checkpoints. The one writer of files."""

import fcntl
import json
import math
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxlm.errors import BadInput
from jaxlm.train.config import FREE_ON_RESUME, Run
from jaxlm.train.serialise import digest, flatten, from_json, to_json

CONFIG, LINEAGE, METRICS, EXPERIMENT = "config.json", "lineage.json", "metrics.jsonl", "experiment.py"
LOCK = ".lock"


def identity(config: Any) -> str:
    """SHA-256 of a config without what may change on a resume."""
    return digest({name: value for name, value in flatten(to_json(config)).items() if name not in FREE_ON_RESUME})


def default_directory(config_file: Path, config: Any) -> Path:
    """runs/<config file's name>-<digest of the config>."""
    return Path("runs") / f"{config_file.stem}-{identity(config)[:10]}"


class RunDirectory:
    """A run on disk. Nothing is written before `begin`."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._lock: Any = None

    @classmethod
    def existing(cls, path: str | Path) -> "RunDirectory":
        """A run that is there; BadInput where there is none."""
        if not (Path(path) / CONFIG).is_file():
            raise BadInput(f"{path} is not a run directory: it has no {CONFIG}")
        return cls(path)

    @property
    def checkpoints(self) -> Path:
        """Where the checkpoints lie."""
        return self.path / "checkpoints"

    @property
    def started(self) -> bool:
        """Whether a run began here."""
        return (self.path / CONFIG).is_file()

    def config(self) -> Any:
        """The config of the run, as values."""
        return from_json(json.loads((self.path / CONFIG).read_text()))

    def lineage(self) -> dict[str, Any]:
        """Where the run comes from: its sessions, oldest first."""
        return json.loads((self.path / LINEAGE).read_text())

    def check(self, config: Any, data: dict[str, str], artefacts: Collection[str] = ()) -> Any:
        """Whether a config may go on here; returns the config before, or None where no run began.

        Raises BadInput that names the fields that differ, or for data that is not the data of the run.
        """
        if not self.started:
            if self.path.exists() and not self._is_free(artefacts):
                raise BadInput(f"{self.path} is not empty and not a run directory: give another --run.directory")
            return None
        before, now = flatten(json.loads((self.path / CONFIG).read_text())), flatten(to_json(config))
        names = [name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)]
        differing = [name for name in names if name not in FREE_ON_RESUME]
        if differing:
            told = "; ".join(f"{name} {before.get(name)} there, {now.get(name)} here" for name in differing)
            raise BadInput(f"{self.path} holds a run of another config ({told}): give another --run.directory")
        sessions = self.lineage()["sessions"]
        if sessions and sessions[-1]["data"] != data:
            raise BadInput(f"the data of {self.path} has changed since the run began: give another --run.directory")
        return self.config()

    def _is_free(self, artefacts: Collection[str]) -> bool:
        """Whether the folder is empty, or holds nothing but what a `begin` that was killed has written."""
        if not self.path.is_dir():
            return False
        there = {path.name for path in self.path.iterdir()}
        names = {EXPERIMENT, LINEAGE, *artefacts}
        return not there or (LOCK in there and there <= {LOCK} | names | set(map(_partial, names | {CONFIG})))

    def begin(self, config: Any, session: dict[str, Any], experiment: Path, artefacts: Mapping[str, str]) -> None:
        """Take the lock, and write config, lineage, the experiment's source and the artefacts, each atomically."""
        self.path.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        sessions = self.lineage()["sessions"] if (self.path / LINEAGE).is_file() else []
        if not self.started:
            self._write(EXPERIMENT, experiment.read_text())
        for name, text in artefacts.items():
            self._write(name, text)
        lineage = {"experiment": str(experiment), "sessions": [*sessions, session]}
        self._write(LINEAGE, json.dumps(lineage, indent=1))
        self._write(CONFIG, json.dumps(to_json(config), indent=1))

    def _take_lock(self) -> None:
        self._lock = (self.path / LOCK).open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.close()
            raise BadInput(
                f"another process is training in {self.path}: wait for it or stop it, and run the same command again"
            ) from None

    def close(self) -> None:
        """Let go of the lock."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _write(self, name: str, text: str) -> None:
        partial = self.path / _partial(name)
        with partial.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(self.path / name)

    def truncate_metrics(self, step: int) -> None:
        """Drop the records past an update, and a last line that a kill cut short."""
        kept = [record for record in self.metrics() if record["step"] <= step]
        self._write(METRICS, "".join(_line(record) for record in kept))

    def append_metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add a record to metrics.jsonl; values that are not finite become null."""
        with (self.path / METRICS).open("a") as file:
            file.write(_line({"step": step} | dict(metrics)))

    def metrics(self) -> Iterator[dict[str, Any]]:
        """The records of metrics.jsonl, in order."""
        path = self.path / METRICS
        for line in path.read_text().splitlines() if path.is_file() else ():
            try:
                yield json.loads(line)
            except ValueError:
                return

    def evaluation_at(self, step: int) -> dict[str, float]:
        """What was evaluated at an update, or nothing."""
        found = {name: value for record in self.metrics() if record["step"] == step for name, value in record.items()}
        return {name: value for name, value in found.items() if name.startswith("eval/")}


def since_best(records: Iterable[Mapping[str, Any]], run: Run) -> int:
    """How many evaluations followed the best one by `run.metric`; -1 before the first."""
    values = [record[run.metric] for record in records if record.get(run.metric) is not None]
    return len(values) - 1 - values.index((max if run.maximize else min)(values)) if values else -1


def _partial(name: str) -> str:
    return f".{name}.partial"


def _line(record: Mapping[str, Any]) -> str:
    clean = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}
    return json.dumps(clean) + "\n"
