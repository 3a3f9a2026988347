"""A cell of an ablation: one arm at one seed, and its identity, which changes with all that its numbers depend on."""

import dataclasses
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

import jaxlm
from jaxlm.ablate.packing import Asked, quality
from jaxlm.train import Experiment
from jaxlm.train.config import Seeds
from jaxlm.train.lineage import fingerprint, packages
from jaxlm.train.serialise import digest, flatten, to_json
from jaxlm.train.start import Start, read_leaves

PACKAGE = Path(jaxlm.__file__).parent

# What no recorded number depends on. More may change on a resume, but a metric over time depends on when it is taken.
FREE = frozenset(f"run.{name}" for name in ("keep_last", "keep_best", "workers", "directory"))
FREE_WITHOUT_PATIENCE = frozenset({"run.metric", "run.maximize"})  # with it, they say when a run stops


@dataclass(frozen=True)
class Cell:
    """An arm at a seed.

    config: resolved, with the seed in it.    parts: what its numbers depend on, see `identity_parts`.
    packing: how it may share a program with others, as asked for.
    program: what cells have in common that can share one, see `program_digest`; None where it can share none.
    """

    arm: str
    seed: int
    config: Any
    parts: dict[str, Any]
    packing: Asked = "alone"
    program: str | None = None

    @property
    def identity(self) -> str:
        """SHA-256 over the parts."""
        return digest(self.parts)

    @property
    def name(self) -> str:
        """What its run directory is called."""
        return cell_name(self.arm, self.seed, self.identity)


def cell_name(arm: str, seed: int, identity: str) -> str:
    """What the run directory of a cell is called: letters, digits and .=_- only."""
    return f"{re.sub(r'[^A-Za-z0-9.=_-]+', '-', arm)[:60]}-seed{seed}-{identity[:10]}"


def with_seed(config: Any, seed: int, kept: Mapping[str, int] | None = None) -> Any:
    """A config at a seed, followed by every source but those `kept` at their own, {"data": 5}; see `Seeds`.

    Where its run lives is not part of it. A source that is kept at the seed itself follows it.
    """
    own = {name: (kept or {}).get(name, seed) for name in Seeds._fields}
    apart = {f"{name}_seed": None if value == seed else value for name, value in own.items()}
    return dataclasses.replace(config, run=dataclasses.replace(config.run, seed=seed, directory=None, **apart))


def settings(config: Any) -> dict[str, Any]:
    """The fields of a config that a recorded number depends on, by dotted path."""
    free = FREE if config.run.patience is not None else FREE | FREE_WITHOUT_PATIENCE
    return {name: value for name, value in flatten(to_json(config)).items() if name not in free}


def code_parts(experiment_file: str | Path) -> dict[str, Any]:
    """The parts of an identity that all cells of a session share: the digest of every source file, and every package.

    To be taken once and at the beginning: what is edited later is not what this process has imported.
    """
    files = {f"jaxlm/{path.relative_to(PACKAGE).as_posix()}": path for path in sorted(PACKAGE.rglob("*.py"))}
    files["experiment.py"] = Path(experiment_file)
    sources = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
    return {"code": sources, "packages": packages()}


def identity_parts(
    config: Any, experiment: Experiment, place: Any, code: dict[str, Any], packing: Asked = "alone"
) -> dict[str, Any]:
    """All that the numbers of a cell depend on, as JSON, so that one can tell in what two cells differ.

    config: fields of the config.    code: digest of each source file.    packages: version of each distribution.
    data: fingerprints of training and evaluation data.    artefacts: digest of each, such as the tokenizer.
    start: digest of the arrays that a run starts from.    platform: chip, jax, flags, devices, cores and placement.
    packing: "exact" where a run has the bits that it has alone, whatever program it shares, or "vmapped".
    """
    return {
        **code,
        "config": settings(config),
        "data": {"train": experiment.train_data.fingerprint(), "eval": experiment.eval_data.fingerprint()},
        "artefacts": {name: hashlib.sha256(text.encode()).hexdigest() for name, text in experiment.artefacts.items()},
        "start": start_digest(experiment.start),
        "platform": fingerprint(place),
        "packing": quality(packing),
    }


def start_digest(start: Start) -> str | None:
    """SHA-256 of the arrays that a new run takes over, or None where it draws all of them."""
    if start.path is None:
        return None
    total = hashlib.sha256()
    for name, leaf in sorted(read_leaves(start.path, start.step).items()):
        values = np.asarray(jax.device_get(leaf))
        total.update(f"{name} {values.shape} {values.dtype}\n".encode() + values.tobytes())
    return total.hexdigest()
