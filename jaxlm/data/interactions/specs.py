"""The spec of interactions for models that rank items; its batches are described in `jaxlm.data.interactions.rows`."""

import dataclasses
import json
from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from jaxlm.data.interactions.files import CiteULike, InteractionFile, TfdsInteractions
from jaxlm.data.interactions.log import Histories, InteractionLog
from jaxlm.data.interactions.rows import InteractionRows, RankingRows, SampledRows, UserRows
from jaxlm.data.interactions.splits import Fraction, LeaveOneOut, Split, hold_out, in_time
from jaxlm.data.model_checks import read_size
from jaxlm.data.order import InOrder, RowSource, Shuffled
from jaxlm.data.protocol import summary_line
from jaxlm.errors import BadInput

INTERACTIONS = "interactions.json"  # the artefact: names of users and items, and what each user has met


@dataclass(frozen=True, eq=False)
class LoadedInteractions:
    """The interactions of training and of evaluation.

    Attributes:
        user_names: U of them, by number.
        item_names: I of them, by number.
        met: of each user what training has, in the order of time.
        held_out: of each user what the evaluation asks for.
        counts: what there is and what was left out, for lines at the start of a run.
    """

    user_names: tuple[str, ...]
    item_names: tuple[str, ...]
    met: Histories
    held_out: Histories
    counts: dict[str, dict[str, int]]

    def to_json(self) -> str:
        """Return the artefact that answers are made with."""
        met = [self.met.items[a:b].tolist() for a, b in zip(self.met.starts[:-1], self.met.starts[1:], strict=True)]
        return json.dumps({"users": self.user_names, "items": self.item_names, "met": met})


@dataclass(frozen=True, kw_only=True)
class Interactions:
    """Spec: interactions of users and items, some of each user held out for the evaluation.

    A user with too few interactions for the split is trained on and not evaluated; how many there are is printed.

    Attributes:
        source: where they are read from.
        split: what is held out of each user.
        part: "test": the evaluation is on what the split holds out. "validation": that is set aside unread, and the
            split is applied once more to the rest, so that settings can be chosen without the test.
        rows: what a training row is: an interaction ("pairs"), or a user with all of its items ("users").
        negatives: items drawn for each interaction that its user has not met, in rows of pairs.
        cutoffs: the k of hr@k, recall@k and ndcg@k.
        sampled: items that a held-out item is ranked among in the evaluation "sampled<N>"; 0: there is none.
        batch: rows in a training batch.
        eval_batch: users in an evaluation batch; None: as in training.
    """

    source: CiteULike | InteractionFile | TfdsInteractions = dataclasses.field(default_factory=InteractionFile)
    split: LeaveOneOut | Fraction = dataclasses.field(default_factory=LeaveOneOut)
    part: Literal["test", "validation"] = "test"
    rows: Literal["pairs", "users"] = "pairs"
    negatives: int = 4
    cutoffs: tuple[int, ...] = (10, 20)
    sampled: int = 99
    batch: int = 256
    eval_batch: int | None = None

    def loaded(self) -> LoadedInteractions:
        """Return the interactions, read once a process.

        Raises:
            BadInput: they cannot be read, or the split leaves nothing to train or to evaluate on.
        """
        return _load(self.source, self.split, self.part, self.source.signature())

    def train(self, seed: int = 0, noise: int | None = None) -> Shuffled:
        """Return the training batches."""
        found = self.loaded()
        rows: RowSource = InteractionRows(found.met, len(found.item_names), self.negatives, found.user_names)
        if self.rows == "users":
            rows = UserRows(found.met)
        return Shuffled(rows, self.batch, seed, noise)

    def eval(self) -> InOrder:
        """Return the evaluation batches: every user with held-out items exactly once."""
        found = self.loaded()
        return InOrder(RankingRows(found.met, found.held_out), self.eval_batch or self.batch)

    def eval_sampled(self) -> InOrder:
        """Return the batches of held-out items, each among `sampled` others.

        Raises:
            BadInput: a user has met too many items.
        """
        found = self.loaded()
        rows = SampledRows(found.met, found.held_out, len(found.item_names), self.sampled, found.user_names)
        return InOrder(rows, self.eval_batch or self.batch)

    def example(self) -> tuple[np.ndarray, np.ndarray]:
        """Return what a model is initialised with: a user int32 [1] and an item int32 [1, 1]."""
        return np.zeros(1, np.int32), np.zeros((1, 1), np.int32)

    def artefacts(self) -> dict[str, str]:
        """Return interactions.json."""
        return {INTERACTIONS: self.loaded().to_json()}

    def log_lines(self) -> list[str]:
        """Return a line about the training and one about the evaluation."""
        return [summary_line(name, counts) for name, counts in self.loaded().counts.items()]

    def throughput(self) -> tuple[int, str]:
        """Return what one training batch counts as; the negatives of an interaction are examples too."""
        return (self.batch, "users") if self.rows == "users" else (self.batch * (1 + self.negatives), "examples")

    def check(self, model: Any, repeat: int = 1) -> None:
        """Raise BadInput where the data cannot be read or do not fit a model.

        Args:
            model: has a vector for each of `items`, and where it has `users` for each of these.
            repeat: not read: all batches have one shape.
        """
        del repeat
        found = self.loaded()
        counts = {"users": len(found.user_names), "items": len(found.item_names)}
        for name, count in counts.items():
            size = read_size(model, name) if name == "items" else getattr(model, name, count)
            if count != size:
                raise BadInput(f"the data has {count} {name} and the model {size}: set --model.{name} {count}")
        for name in ("negatives", "sampled"):
            if getattr(self, name) < 0:
                raise BadInput(f"data.{name} is {getattr(self, name)}: give 0 or more")
        if not self.cutoffs or min(self.cutoffs) < 1:
            raise BadInput(f"data.cutoffs is {list(self.cutoffs)}: give one or more numbers of at least 1")


@lru_cache(maxsize=4)
def _load(source: Any, split: Split, part: str, signature: Hashable) -> LoadedInteractions:
    """Read and split the interactions, once a process."""
    del signature
    log = in_time(source.read(), split.seed)
    rest, held_out = hold_out(log, split)
    train, evaluated = (rest, held_out) if part == "test" else hold_out(rest, split)
    for name, found in (("to train on", train), ("to evaluate on", evaluated)):
        if not len(found.users):
            raise BadInput(f"the split leaves nothing {name}: give users with more items, or hold out less")
    return LoadedInteractions(
        log.user_names, log.item_names, _histories(train), _histories(evaluated), _count(log, train, evaluated)
    )


def _histories(log: InteractionLog) -> Histories:
    return Histories.from_pairs(log.users, log.items, len(log.user_names))


def _count(log: InteractionLog, train: InteractionLog, evaluated: InteractionLog) -> dict[str, dict[str, int]]:
    """Return what both parts have, and what was left out."""
    users = len(log.user_names)
    counts = {
        "train": {
            "interactions": len(train.users),
            "users": len(np.unique(train.users)),
            "items": len(np.unique(train.items)),
        },
        "eval": {
            "interactions": len(evaluated.users),
            "users": len(np.unique(evaluated.users)),
            "users left out for too few items": users - len(np.unique(evaluated.users)),
            "interactions with an item that training lacks": int((~np.isin(evaluated.items, train.items)).sum()),
        },
    }
    return counts | ({"read": {"repeated interactions left out": log.repeated}} if log.repeated else {})
