"""Pairs of texts, and their rows of tokens.

B batch, S and T tokens in a row of a source and of a target.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from jaxlm.data.protocol import Batch, json_sha256
from jaxlm.data.ragged import Ragged, ragged
from jaxlm.data.readers.text import is_blank
from jaxlm.data.tokenizers.protocol import encode_rows
from jaxlm.data.tokenizers.specs import AnyTokenizer
from jaxlm.errors import BadInput

Widths = tuple[tuple[int, int], ...]


class TextPairs(NamedTuple):
    """The pairs of a split.

    Attributes:
        sources: one text for each pair.
        targets: what is to be written from it.
        where: pair -> its place for a message, such as a file and a line.
    """

    sources: Sequence[str]
    targets: Sequence[str]
    where: Callable[[int], str]


@dataclass(frozen=True, eq=False)
class TwoSided:
    """Rows of sources and targets for `Bucketed`, which knows the widths of the sources alone.

    Attributes:
        sources: rows, with the values of the pairs.
        targets: rows.
        widths: of sources and targets; every pair fits the last ones.
    """

    sources: Ragged
    targets: Ragged
    widths: Widths

    def __len__(self) -> int:
        return len(self.sources)

    @cached_property
    def sizes(self) -> np.ndarray:
        """Return the length that each pair needs a width for: its source's, or more where its target is longer."""
        of_source, of_target = np.array(self.widths).T
        needed = np.searchsorted(of_target, self.targets.sizes)
        return np.maximum(self.sources.sizes, np.concatenate([[0], of_source[:-1] + 1])[needed])

    def take(self, rows: np.ndarray, width: int) -> Batch:
        """Return pairs padded to the widths of which that of the sources is `width`; -1 is a row of padding."""
        source = self.sources.take(rows, width)
        target = self.targets.take(rows, dict(self.widths)[width])
        batch = {"tokens": source.pop("tokens"), "targets": target["tokens"]}
        segments = {"source_segments": source.pop("segments"), "target_segments": target["segments"]}
        return {**batch, **segments, **source}

    def with_widths(self, widths: Widths) -> "TwoSided":
        """Return the same pairs for batches of other widths."""
        return dataclasses.replace(self, widths=widths)

    def fingerprint(self) -> str:
        """Return a SHA-256 over both sides and the widths of the targets."""
        widths = [target for _, target in self.widths]
        return json_sha256("two sides", self.sources.fingerprint(), self.targets.fingerprint(), widths)


class PairRows(NamedTuple):
    """A split as rows of tokens.

    Attributes:
        rows: the rows.
        sources: the texts of the sources, by number of the pair.
        targets: those of the targets.
        counts: what is in it and what was cut or left out, for a line at the start of a run.
    """

    rows: TwoSided
    sources: Sequence[str]
    targets: Sequence[str]
    counts: dict[str, int]


def check_pairs(pairs: TextPairs) -> None:
    """Raise BadInput where one of the two texts of a pair is empty."""
    for number, (source, target) in enumerate(zip(pairs.sources, pairs.targets, strict=True)):
        if is_blank(source) or is_blank(target):
            side = "source" if is_blank(source) else "target"
            raise BadInput(f"{pairs.where(number)}: the {side} is empty: write it, or take the pair out")


def encode_pairs(
    tokenizer: AnyTokenizer, pairs: TextPairs, widths: tuple[int, int], cut: tuple[bool, bool]
) -> PairRows:
    """Encode pairs as rows of at most `widths` tokens, the end tokens included.

    Args:
        tokenizer: of both sides.
        pairs: the texts.
        widths: the largest rows of sources and of targets.
        cut: whether longer sources, and longer targets, are cut; else their pairs are left out.
    """
    end = np.int32(tokenizer.separator or 0)
    sides = [
        [np.append(ids, end).astype(np.int32) for ids in encode_rows(tokenizer, texts, pairs.where)]
        for texts in (pairs.sources, pairs.targets)
    ]
    long = np.array([[len(row) > width for row in side] for side, width in zip(sides, widths, strict=True)])
    kept = np.flatnonzero(~(long & ~np.array(cut)[:, None]).any(0))
    if not len(kept):
        raise BadInput(f"all pairs are longer than {widths} tokens: raise the last of data.widths")
    rows = [
        [row if len(row) <= width else np.append(row[: width - 1], end) for row in (side[number] for number in kept)]
        for side, width in zip(sides, widths, strict=True)
    ]
    values = {"row": kept.astype(np.int32), "mask": np.ones(len(kept), np.float32)}
    sources, targets = (ragged({"tokens": side}, own) for side, own in zip(rows, (values, {}), strict=True))
    counts = {"pairs": len(kept), "source tokens": len(sources.cells["tokens"])}
    counts |= {"target tokens": len(targets.cells["tokens"])}
    for name, side, width, whether in zip(("sources", "targets"), long, widths, cut, strict=True):
        what = f"{name} cut to" if whether else f"left out for {name} of more than"
        counts[f"{what} {width} tokens"] = int(side[kept].sum() if whether else side.sum())
    return PairRows(TwoSided(sources, targets, (widths,)), pairs.sources, pairs.targets, counts)
