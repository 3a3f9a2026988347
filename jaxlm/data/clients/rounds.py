"""Clients as rows, and rounds of some of them as batches: what `jaxlm.steps.federated` trains on.

C clients of a round, N examples of the largest client, L local batches of B examples.
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from jaxlm.data.epoch import Epoch, permutation
from jaxlm.data.keys import training_keys
from jaxlm.data.order import RowSource, Shuffled
from jaxlm.data.protocol import Batch, json_sha256

ORDER, CHOICE_OF_CLIENT, DROPPED = 15, 16, 17  # separate the draws of a round from each other


@dataclass(frozen=True, eq=False)
class ClientRows:
    """A source of clients: each row is all the examples of one, and the order in which a round goes through them.

    A round is the "epoch" of this source. Rows have the arrays of the examples, (C, N, ...) with copies of another
    example as padding; "order" int32 (C, L, B), numbers of examples; "has" float32 (C, L, B), 0 on padding; "updates"
    int32 (C,), the local batches that there are. Each local epoch is a new random order of the client's examples, cut
    into batches, of which the last may be smaller.

    Attributes:
        examples: the source of all examples.
        deal: the rows of each client.
        epochs: local epochs of a round.
        local_batch: B.
        drop: the chance, below 1, that a client drops out of a round, which then has no updates.
    """

    examples: RowSource
    deal: Sequence[np.ndarray]
    epochs: int
    local_batch: int
    drop: float = 0.0

    def __len__(self) -> int:
        return len(self.deal)

    @cached_property
    def sizes(self) -> np.ndarray:
        """Return how many examples each client has; int64 [clients]."""
        return np.array([len(rows) for rows in self.deal])

    @property
    def updates(self) -> int:
        """Return L, the local batches of the largest client in a round."""
        return self.epochs * -(-int(self.sizes.max()) // self.local_batch)

    def take(self, rows: np.ndarray, epoch: Epoch | None) -> Batch:
        """Return the clients with these numbers, as they train in a round; None is the first round of seed 0."""
        epoch = epoch or Epoch(0, 0)
        most = int(self.sizes.max())
        chosen = np.zeros((len(rows), most), np.int64)
        order = np.zeros((len(rows), self.updates * self.local_batch), np.int32)
        has, updates = np.zeros(order.shape, np.float32), np.zeros(len(rows), np.int32)
        words = epoch.words(self.epochs * self._starts[-1], purpose=ORDER).reshape(self.epochs, -1)
        stays = epoch.words(len(self), purpose=DROPPED)[rows] >= np.uint64(self.drop * 2.0**64)
        for place, client in enumerate(rows):
            size = self.sizes[client]
            chosen[place, :size] = self.deal[client]
            if not stays[place]:
                continue
            width = -(-size // self.local_batch) * self.local_batch  # of an epoch, its last batch filled up
            shuffled = np.argsort(words[:, self._starts[client] : self._starts[client + 1]], axis=1, kind="stable")
            filled = order[place, : self.epochs * width].reshape(self.epochs, width)
            filled[:, :size] = shuffled
            has[place, : self.epochs * width].reshape(self.epochs, width)[:, :size] = 1
            updates[place] = self.epochs * width // self.local_batch
        found = self.examples.take(chosen.reshape(-1), epoch)
        shape = (len(rows), self.updates, self.local_batch)
        return {name: x.reshape(*chosen.shape, *x.shape[1:]) for name, x in found.items()} | {
            "order": order.reshape(shape),
            "has": has.reshape(shape),
            "updates": updates,
        }

    @cached_property
    def _starts(self) -> np.ndarray:
        return np.concatenate([[0], np.cumsum(self.sizes)])

    def fingerprint(self) -> str:
        """Return a SHA-256 over the examples, the deal and the order of a round."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        dealt = hashlib.sha256(np.concatenate(self.deal).astype("<i8").tobytes()).hexdigest()
        shape = (self.sizes.tolist(), self.epochs, self.local_batch, self.drop)
        return json_sha256("clients", self.examples.fingerprint(), dealt, *shape)


@dataclass(frozen=True)
class Rounds(Shuffled):
    """Rounds of some clients: batch i is drawn from all of them, without replacement, as a function of (seed, i).

    Attributes:
        grouped: draw client j from group j of `batch` groups of neighbours, and add "member" int32 (C,), its number in
            the group, so that a device can hold the state of its groups (`jaxlm.steps.federated.scaffold`).
    """

    grouped: bool = dataclasses.field(default=False, kw_only=True)

    def _numbers(self, index: int) -> np.ndarray:
        """Return positions of an endless sequence in which every round is an epoch, of which it reads the first."""
        if index < 0:
            raise IndexError(f"round {index}: rounds are numbered from 0")
        return index * len(self.source) + np.arange(self.index, self.batch, self.count)

    def _rows(self, number: int, places: np.ndarray) -> Batch:
        epoch = Epoch(self.seed, int(number), self.noise)
        if not self.grouped:
            batch, rows = {}, permutation(epoch, len(self.source))[places]
        else:
            size = len(self.source) // self.batch
            member = (epoch.words(self.batch, purpose=CHOICE_OF_CLIENT)[places] % np.uint64(size)).astype(np.int32)
            batch, rows = {"member": member}, places * size + member
        batch |= self.source.take(rows, epoch)
        return batch | {"keys": training_keys(epoch, len(self.source))[rows]}

    def with_keys(self) -> "Rounds":
        """Return the same rounds, which have "keys" in any case: a PRNG key of (noise, round, client)."""
        return self

    def shard(self, index: int, count: int) -> "Rounds":
        """Return the clients `index::count` of every round."""
        part = self._part(index, count)
        return dataclasses.replace(self, index=part["index"], count=part["count"])

    def fingerprint(self) -> str:
        """Return a SHA-256 over the clients, how many a round has, how they are drawn, and the seeds."""
        apart = () if self.noise in (None, self.seed) else (self.noise,)
        return json_sha256("rounds", self.source.fingerprint(), self.batch, self.grouped, self.seed, *apart)
