"""Settings that every run has: how long it is, how often it reports and saves, its seeds."""

import re
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

from jaxlm.errors import BadInput

LARGER_IS_BETTER = re.compile(
    r"(^|[/_])(accuracy|acc|f1|precision|recall|specificity|mcc|kappa|auc|auroc|ap|map|hr|ndcg|mrr|exact_match|iou|dice|"
    r"(sacre)?bleu|chrf|rouge|meteor|psnr|ssim|return|reward|r2|at)(?=$|[_@\dlL+])"
)  # names of metrics, after "eval/"


class Seeds(NamedTuple):
    """The seed of each source of variation.

    Attributes:
        init: of the parameters.
        data: of the order of the data.
        noise: of dropout and augmentation.
    """

    init: int
    data: int
    noise: int


@dataclass(frozen=True)
class Run:
    """Length, reports, checkpoints and seeds of a run, and the options that its step is composed of.

    Attributes:
        steps: optimizer updates in all.
        seed: root of initialisation, dropout and data order.
        init_seed: of the initialisation alone, see `Seeds`; None is `seed`.
        data_seed: of the order of the data alone; None is `seed`.
        noise_seed: of dropout and augmentation alone; None is `seed`.
        accumulate: micro-batches of a batch.
        repeat: updates in one compiled program.
        ema: decay of the average of the parameters, 0 for none; it warms up, see `transforms.ema`.
        skip_limit: non-finite updates in a row that end the run.
        dtype: of the forward and backward pass; parameters stay float32.
        log_every: updates between two records of training; 0 is only at the end, here and below.
        eval_every: updates between two evaluations.
        save_every: updates between two checkpoints.
        preview_every: updates between two previews.
        keep_last: newest checkpoints kept.
        keep_best: further checkpoints kept, the best by `metric`.
        metric: the metric that chooses checkpoints, such as "eval/accuracy".
        maximize: more of `metric` is better, although its name does not say so as "accuracy" and "f1" do.
        patience: evaluations without a better `metric` that stop the run, or None; every evaluation is then at a save.
            One that is not finite is not better.
        workers: processes that read and decode batches; with 0, threads of this one.
        overfit: train on this number of first batches only, over and over; 0 is on all.
        directory: where the run lives; None is runs/<config file>-<digest of the config>.
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
    preview_every: int = 0
    keep_last: int = 2
    keep_best: int = 1
    metric: str = "eval/loss"
    maximize: bool = False
    patience: int | None = None
    workers: int = 0
    overfit: int = 0
    directory: str | None = None

    hyperparameters: ClassVar[tuple[str, ...]] = ("ema",)

    @property
    def seeds(self) -> Seeds:
        """Return the seed of each source of variation, its own or the run's."""
        own = (self.init_seed, self.data_seed, self.noise_seed)
        return Seeds(*(self.seed if seed is None else seed for seed in own))

    @property
    def higher_is_better(self) -> bool:
        """Whether more of `metric` is better: by its name, or because `maximize` says so."""
        return self.maximize or LARGER_IS_BETTER.search(self.metric) is not None

    def validate(self) -> None:
        """Check the numbers of a run.

        Raises:
            BadInput: one that cannot be, with the field and what it must be.
        """
        for name in ("steps", "accumulate", "repeat", "skip_limit", "keep_last"):
            if getattr(self, name) < 1:
                raise BadInput(f"run.{name} is {getattr(self, name)}: it must be at least 1")
        numbers = ("log_every", "eval_every", "save_every", "preview_every", "keep_best", "workers", "overfit")
        for name in numbers:
            if getattr(self, name) < 0:
                raise BadInput(f"run.{name} is {getattr(self, name)}: it must be 0 or more")
        for name in ("seed", "init_seed", "data_seed", "noise_seed"):
            check_seed(getattr(self, name) or 0, f"run.{name}")
        for name in ("steps", "log_every", "eval_every", "save_every", "preview_every"):
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
        if self.patience is not None and self.patience < 1:
            raise BadInput(f"run.patience is {self.patience}: it must be at least 1")
        if self.patience is not None and not self.keep_best:
            raise BadInput("run.patience keeps the best checkpoint, and run.keep_best is 0: make it at least 1")
        if not 0 <= self.ema < 1:
            raise BadInput(f"run.ema is {self.ema}: a decay lies in [0, 1)")


def check_seed(seed: int, name: str) -> None:
    """Raise BadInput for a seed of which a PRNG key would keep the last 32 bits alone, so that 2^32 would equal 0."""
    if not 0 <= seed < 2**32:
        raise BadInput(f"{name} is {seed}: a seed is from 0 to {2**32 - 1}")


COMPOSED = ("accumulate", "ema", "skip_limit", "dtype")  # options that an experiment composes, see `train.compose`

FREE_ON_RESUME = frozenset(
    f"run.{name}"
    for name in (
        "steps",
        "log_every",
        "eval_every",
        "save_every",
        "preview_every",
        "keep_last",
        "keep_best",
        "metric",
        "maximize",
        "patience",
        "workers",
        "directory",
    )
) | {"data.max_pixels", "data.max_bytes"}  # limits, which change no number
PLACEMENT = frozenset({"place.kind", "place.data", "place.fsdp"})  # may change on a resume, equal to rounding
