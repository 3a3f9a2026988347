"""The parts that every experiment's config has, and how a command line changes them."""

import dataclasses
import importlib.util
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from jaxlm.errors import BadInput
from jaxlm.parallel import Place
from jaxlm.train.start import Start


class Seeds(NamedTuple):
    """The seed of each source of variation.

    init: the parameters.    data: the order of the data.    noise: dropout and augmentation.
    """

    init: int
    data: int
    noise: int


@dataclass(frozen=True)
class Run:
    """How long a run is, how often it reports, and what the composition of its step depends on.

    steps: optimizer updates in all.    seed: root of initialisation, dropout and data order.
    init_seed, data_seed, noise_seed: of one source alone, see `Seeds`; None is `seed`.
    accumulate: micro-batches of a batch.    repeat: updates in one compiled program.
    ema: decay of the average of the parameters, 0 for none.
    skip_limit: non-finite updates in a row that end the run.
    dtype: what the forward and backward pass compute in; parameters stay float32.
    log_every, eval_every, save_every: in updates; 0 is only at the end.
    keep_last, keep_best: checkpoints kept, newest and best by `metric`.
    maximize: whether more of `metric` is better.
    patience: evaluations without a better `metric` that stop the run, or None; every evaluation is then at a save.
    workers: processes that read and decode batches; with 0, threads of this one.
    directory: where the run lives; the default is runs/<config file>-<digest of the config>.
    """

    steps: int = 1000
    seed: int = 0
    init_seed: int | None = None
    data_seed: int | None = None
    noise_seed: int | None = None
    accumulate: int = 1
    repeat: int = 1
    ema: float = 0.0
    skip_limit: int = 10
    dtype: Literal["float32", "bfloat16"] = "float32"
    log_every: int = 50
    eval_every: int = 0
    save_every: int = 0
    keep_last: int = 2
    keep_best: int = 1
    metric: str = "eval/loss"
    maximize: bool = False
    patience: int | None = None
    workers: int = 0
    directory: str | None = None

    @property
    def seeds(self) -> Seeds:
        """The seed of each source, its own or the run's."""
        own = (self.init_seed, self.data_seed, self.noise_seed)
        return Seeds(*(self.seed if seed is None else seed for seed in own))

    def validate(self) -> None:
        """Raise BadInput for numbers that make no run."""
        for name in ("steps", "accumulate", "repeat", "skip_limit", "keep_last"):
            if getattr(self, name) < 1:
                raise BadInput(f"run.{name} is {getattr(self, name)}: it must be at least 1")
        numbers = ("log_every", "eval_every", "save_every", "keep_best", "workers")
        for name in (*numbers, "seed", "init_seed", "data_seed", "noise_seed"):
            if (getattr(self, name) or 0) < 0:
                raise BadInput(f"run.{name} is {getattr(self, name)}: it must be 0 or more")
        for name in ("steps", "log_every", "eval_every", "save_every"):
            if getattr(self, name) % self.repeat:
                raise BadInput(
                    f"run.{name} {getattr(self, name)} is not a multiple of run.repeat {self.repeat}: "
                    "change one of them"
                )
        unsaved = not self.eval_every or not self.save_every or self.eval_every % self.save_every
        if self.patience is not None and unsaved:
            raise BadInput(
                f"run.patience keeps the best checkpoint, so run.eval_every {self.eval_every} must be a multiple of "
                f"run.save_every {self.save_every} and not 0: change one of them"
            )
        if not 0 <= self.ema < 1:
            raise BadInput(f"run.ema is {self.ema}: a decay lies in [0, 1)")


FREE_ON_RESUME = frozenset(
    f"run.{name}"
    for name in (
        "steps",
        "log_every",
        "eval_every",
        "save_every",
        "keep_last",
        "keep_best",
        "metric",
        "maximize",
        "patience",
        "workers",
        "directory",
    )
)


@dataclass(frozen=True)
class Config:
    """What an experiment is built from. The parts are values of any type: a Linen module, a data spec, an optimizer.

    loss: a spec where an experiment has a choice of losses.
    start: another run, or pretrained weights, to start from: `--start.path RUN`.
    """

    model: Any
    data: Any
    optim: Any
    loss: Any = None
    start: Start = field(default_factory=Start)
    run: Run = field(default_factory=Run)
    place: Place = field(default_factory=Place)


def load(path: str | Path) -> Any:
    """The value named `config` of a Python file."""
    if not Path(path).is_file():
        raise BadInput(f"there is no config file {path}: give the path of a Python file that defines `config`")
    module = load_module(path)
    if not dataclasses.is_dataclass(getattr(module, "config", None)):
        raise BadInput(f"{path} defines no `config`: write `config = Config(...)` in it")
    return module.config


def load_module(path: str | Path) -> Any:
    """Execute a Python file as a module of its own."""
    spec = importlib.util.spec_from_file_location(f"jaxlm_file_{Path(path).stem}", path)
    if spec is None or spec.loader is None:
        raise BadInput(f"{path} is not a Python file: its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def override(config: Any, words: list[str], program: str = "") -> Any:
    """Change fields of a config by words, as `--model.depth 6`; a wrong word exits with 2 and a message."""
    import tyro

    return tyro.cli(
        type(config), default=config, args=words, prog=program or None, config=(tyro.conf.AvoidSubcommands,)
    )


def parse(argv: list[str], program: str) -> tuple[Path, Any]:
    """The config file that a command line names and its config with the overrides applied."""
    if not argv or argv[0].startswith("-"):
        print(f"usage: {program} CONFIG.py [--FIELD VALUE ...]\n\n`{program} CONFIG.py --help` lists the fields.")
        sys.exit(0 if argv and argv[0] in ("-h", "--help") else 2)
    return Path(argv[0]), override(load(argv[0]), argv[1:], f"{program} {argv[0]}")
