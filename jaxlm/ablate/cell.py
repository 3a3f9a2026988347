"""A cell of an ablation: one arm at one seed, and its identity, which changes with all that its numbers depend on."""

import dataclasses
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from jaxlm.ablate.sources import Sources
from jaxlm.runs.lineage import fingerprint, jax_settings
from jaxlm.runs.serialise import digest, flatten, to_json
from jaxlm.runs.settings import Seeds
from jaxlm.train import Experiment

Packing = Literal["shared", "devices", "vmapped"]  # how cells of one program are trained
EXACT, VMAPPED = "exact", "vmapped"  # what an identity says of it: runs have the bits that they have alone, or not

# What no recorded number depends on. More may change on a resume, but a metric over time depends on when it is taken.
FREE = frozenset(f"run.{name}" for name in ("keep_last", "keep_best", "workers", "directory"))
FREE_WITHOUT_PATIENCE = frozenset({"run.metric", "run.maximize"})  # with it, they say when a run stops


@dataclass(frozen=True)
class Cell:
    """An arm at a seed.

    Attributes:
        arm: the name of the arm.
        seed: the seed of its run.
        config: of the run, with the seed in it.
        parts: what its numbers depend on, see `identity_parts`.
        packing: how it is trained with others of its program.
        program: equal for cells that can share a compiled program, see `program_digest`; None where it can share none.
    """

    arm: str
    seed: int
    config: Any
    parts: dict[str, Any]
    packing: Packing = "shared"
    program: str | None = None

    @cached_property
    def identity(self) -> str:
        """The SHA-256 of the parts."""
        return digest(self.parts)

    @property
    def name(self) -> str:
        """The name of its run directory."""
        return cell_name(self.arm, self.seed, self.identity)


def cell_name(arm: str, seed: int, identity: str) -> str:
    """Return the name of a cell's run directory: letters, digits and .=_- only."""
    return f"{re.sub(r'[^A-Za-z0-9.=_-]+', '-', arm)[:60]}-seed{seed}-{identity[:10]}"


def with_seed(config: Any, seed: int, kept: Mapping[str, int] | None = None) -> Any:
    """Return a config at a seed, without the directory of its run.

    Args:
        config: of a run.
        seed: followed by every source of variation (see `Seeds`) that is not kept.
        kept: sources that keep a seed of their own, such as {"data": 5}; one that is kept at the seed itself follows.
    """
    own = {name: (kept or {}).get(name, seed) for name in Seeds._fields}
    apart = {f"{name}_seed": None if value == seed else value for name, value in own.items()}
    return dataclasses.replace(config, run=dataclasses.replace(config.run, seed=seed, directory=None, **apart))


def settings(config: Any) -> dict[str, Any]:
    """Return the fields of a config that a recorded number depends on, by dotted path."""
    free = FREE if config.run.patience is not None else FREE | FREE_WITHOUT_PATIENCE
    return {name: value for name, value in flatten(to_json(config)).items() if name not in free}


def identity_parts(
    config: Any, experiment: Experiment, place: Any, sources: Sources, packing: Packing = "shared"
) -> dict[str, Any]:
    """Return all that the numbers of a cell depend on, as JSON, so that two cells can be compared part by part.

    Returns:
        code: SHA-256 of each source file, and packages: version of each distribution, see `Sources.parts`.
        config: the fields of the config.
        data: the fingerprints of the training data and of each evaluation's.
        artefacts: SHA-256 of each, such as the tokenizer.
        init: SHA-256 of the arrays that a run starts from, or None.
        settings: the options of jax that change numbers.
        platform: chip, jax, flags, devices, cores and placement.
        packing: "exact" where the run has the bits that it has alone, whatever program it shares, or "vmapped".
    """
    return {
        **sources.parts(config),
        "config": settings(config),
        "data": experiment.fingerprints(),
        "artefacts": {name: hashlib.sha256(text.encode()).hexdigest() for name, text in experiment.artefacts.items()},
        "init": sources.init_digest(experiment.init_from),
        "settings": jax_settings(),
        "platform": fingerprint(place),
        "packing": VMAPPED if packing == "vmapped" else EXACT,
    }
