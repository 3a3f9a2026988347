"""The spec of federated data: the examples of another spec, dealt to clients."""

import dataclasses
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from jaxlm.data.clients.deal import deal_dirichlet, deal_evenly, deal_shards
from jaxlm.data.clients.rounds import ClientRows, Rounds
from jaxlm.data.images.sources import Digits
from jaxlm.data.order import InOrder, RowSource, Shuffled
from jaxlm.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class Clients:
    """Spec: the examples of another spec, dealt to clients; a batch is a round of some of the clients.

    Evaluation data, classes and preparation are those of the other spec.

    Attributes:
        examples: the other spec, whose rows all have one shape and do not depend on each other, such as images; its
            own `batch` is not read.
        clients: how many there are, K.
        batch: clients in a round, C.
        epochs: local epochs of a client in a round, E.
        local_batch: examples in a local batch, B; 0: all of a client.
        deal: "even" deals at random and as evenly as possible; "shards" deals `shards` pieces of the list that is
            sorted by label to each client; "dirichlet" draws the share of each client in each class (see
            `jaxlm.data.clients.deal`).
        shards: of each client.
        alpha: concentration of the shares; small ones are unequal.
        deal_seed: of the deal, which is a part of the data and the same for every seed of a run.
        drop: the chance that a client drops out of a round.
        grouped: draw each client of a round from a group of its own, as control variates need it.
    """

    examples: Any = field(default_factory=Digits)
    clients: int = 100
    batch: int = 10
    epochs: int = 5
    local_batch: int = 10
    deal: Literal["even", "shards", "dirichlet"] = "even"
    shards: int = 2
    alpha: float = 0.5
    deal_seed: int = 0
    drop: float = 0.0
    grouped: bool = False

    @property
    def eval_batch(self) -> int:
        """Return the examples in an evaluation batch."""
        return self.examples.eval_batch or self.examples.batch

    def rows(self) -> ClientRows:
        """Return all clients, dealt once a process.

        Raises:
            BadInput: numbers that cannot be, or examples that depend on each other.
        """
        return _dealt(self)

    def train(self, seed: int = 0, noise: int | None = None) -> Rounds:
        """Return the rounds.

        Args:
            seed: of the clients of a round, of those that drop out, and of the order of their examples.
            noise: of the keys of the clients, from which augmentation and dropout draw; None: `seed`.
        """
        return Rounds(self.rows(), self.batch, seed, noise, keys=True, grouped=self.grouped)

    def eval(self) -> InOrder:
        """Return the evaluation batches of the other spec."""
        return self.examples.eval()

    def check(self, model: Any, repeat: int = 1) -> None:
        """Raise BadInput where the data cannot be read or dealt, or do not fit a model."""
        self.examples.check(model, repeat)
        self.train()

    def names(self) -> tuple[str, ...]:
        """Return the names of the classes."""
        return self.examples.names()

    def shape(self) -> tuple[int, ...]:
        """Return (height, width, channels) of an image."""
        return self.examples.shape()

    def example(self) -> np.ndarray | tuple[np.ndarray, ...]:
        """Return what a model is initialised with."""
        return self.examples.example()

    def prepare(self, batch: Any) -> Any:
        """Prepare a batch of examples in training and evaluation, where the other spec does; for use inside a step."""
        return self.examples.prepare(batch) if hasattr(self.examples, "prepare") else batch

    def augmented(self, batch: Any) -> Any:
        """Augment a local batch, where the other spec does; for use inside a step."""
        return self.examples.augmented(batch) if hasattr(self.examples, "augmented") else batch

    def artefacts(self) -> dict[str, str]:
        """Return the files of the other spec."""
        return self.examples.artefacts()

    def log_lines(self) -> list[str]:
        """Return the lines of the other spec, and one about the clients."""
        rows = self.rows()
        empty = int((rows.sizes == 0).sum())
        none = f", {empty:,} of them without any" if empty else ""
        sizes = f"{rows.sizes.min():,} to {rows.sizes.max():,} examples each{none}"
        local = f"{self.batch:,} a round, up to {rows.updates:,} local updates"
        return [*self.examples.log_lines(), f"clients: {len(rows):,} with {sizes}; {local}"]

    def throughput(self) -> tuple[int, str]:
        """Return what one round counts as: the examples that its clients see, on average."""
        return max(round(self.batch * self.epochs * float(self.rows().sizes.mean())), 1), "examples"


@lru_cache(maxsize=4)
def _dealt(spec: Clients) -> ClientRows:
    _check(spec)
    source = _source_of(spec.examples)
    if spec.deal == "even":
        deal = deal_evenly(len(source), spec.clients, spec.deal_seed)
    elif spec.deal == "shards":
        deal = deal_shards(_labels(source), spec.clients, spec.shards, spec.deal_seed)
    else:
        deal = deal_dirichlet(_labels(source), spec.clients, spec.alpha, spec.deal_seed)
    return ClientRows(source, deal, spec.epochs, spec.local_batch or max(map(len, deal)), spec.drop)


def _check(spec: Clients) -> None:
    """Raise BadInput for numbers that make no round."""
    for name, least in {"clients": 1, "batch": 1, "epochs": 1, "local_batch": 0, "deal_seed": 0}.items():
        if getattr(spec, name) < least:
            raise BadInput(f"data.{name} is {getattr(spec, name)}: give at least {least}")
    if spec.batch > spec.clients:
        raise BadInput(f"a round of {spec.batch} clients (data.batch) of {spec.clients} in all: lower it")
    if spec.grouped and spec.clients % spec.batch:
        raise BadInput(
            f"{spec.clients} clients do not divide into {spec.batch} groups, one for each client of a round: "
            "change data.clients or data.batch"
        )
    if not 0 <= spec.drop < 1:
        raise BadInput(f"data.drop is {spec.drop}: a chance is at least 0, and below 1 so that some clients stay")


def _source_of(examples: Any) -> RowSource:
    whole = dataclasses.replace(examples, batch=1) if hasattr(examples, "batch") else examples
    train = whole.train()
    if not isinstance(train, Shuffled):
        raise BadInput(
            f"the examples of {type(examples).__name__} are not rows of one shape, and cannot be dealt to clients: "
            "take examples of fixed sizes"
        )
    return train.source


def _labels(source: RowSource) -> np.ndarray:
    """Return the label of every example.

    Raises:
        BadInput: they have none.
    """
    pieces = []
    for begin in range(0, len(source), 4096):
        found = source.take(np.arange(begin, min(begin + 4096, len(source))), None)
        if "label" not in found:
            raise BadInput("these examples have no label to deal them by: take --data.deal even")
        pieces.append(found["label"])
    return np.concatenate(pieces)
