"""The first batches of training data, over and over."""

from dataclasses import dataclass

from jaxlm.data.protocol import Batch, Data, json_sha256


@dataclass(frozen=True)
class FirstBatches:
    """Training data that repeats its first `count` batches for ever, to see whether a model can learn them at all."""

    data: Data
    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Batch:
        return self.data[index % self.count]

    def shard(self, index: int, count: int) -> "FirstBatches":
        """Return the rows `index::count` of every batch."""
        return FirstBatches(self.data.shard(index, count), self.count)

    def fingerprint(self) -> str:
        """Return a SHA-256 over the data and the number of batches."""
        return json_sha256("first", self.data.fingerprint(), self.count)
