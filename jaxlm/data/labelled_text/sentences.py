"""Text classification data, single texts and pairs: what all specs share. The specs themselves are in `sources`.

B batch, T tokens in a row. Batches have "tokens" and "segments" int32 [B, T] (segments are 1, or 0 on padding), for
pairs "types" int32 [B, T], and "label" int32 [B] and "mask" float32 [B].
"""

import dataclasses
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from typing import Literal

import numpy as np

from jaxlm.data.labelled_text.rows import Loaded, Part, TokenRows
from jaxlm.data.ragged import check_widths, ragged
from jaxlm.data.text.clean import Clean
from jaxlm.data.tokenizers.protocol import Frame, encode_rows
from jaxlm.data.tokenizers.specs import AnyTokenizer
from jaxlm.errors import BadInput


@dataclass(frozen=True, eq=False)
class LabelledTexts:
    """Texts and their labels.

    Attributes:
        texts: one text for each example.
        seconds: the second text of each example; empty where there is none.
        labels: int32 [N].
        where: row -> its place for a message, such as a file and a line.
    """

    texts: Sequence[str]
    seconds: Sequence[str]
    labels: np.ndarray
    where: Callable[[int], str]


@dataclass(frozen=True, kw_only=True)
class Sentences(TokenRows):
    """Spec: texts, or pairs of texts, with one label each. Of a pair that is too long, the longer text is cut.

    Attributes:
        clean: operations on the texts before they are tokenised.
        stride: None: a text that is too long is cut. Else it becomes several windows, each of which repeats so many
            tokens of the one before. Each window is an example with the label of the text and a weight of 1 / windows,
            in evaluation too: a text has a weight of 1 in the loss, while accuracy, F1 and the like count each window.
        empty: whether a text without tokens is an error ("refuse") or is left out ("drop").
    """

    clean: Clean = field(default_factory=Clean)
    stride: int | None = None
    empty: Literal["refuse", "drop"] = "refuse"

    def load(self) -> tuple[LabelledTexts, LabelledTexts, tuple[str, ...]]:
        """Return the texts for training and for evaluation, and the names of the classes."""
        raise NotImplementedError

    def throughput(self) -> tuple[int, str]:
        """Return what one training batch counts as."""
        return self.batch, "texts"

    def loaded(self) -> Loaded:
        """Return both splits, tokenised once a process.

        Raises:
            BadInput: the texts cannot be read, a text is empty, or a label is out of range.
        """
        check_widths(self.widths)
        return _load(dataclasses.replace(self, batch=1, eval_batch=None, widths=self.widths[-1:]), self.signature())


@lru_cache(maxsize=4)
def _load(spec: Sentences, signature: Hashable) -> Loaded:
    """Return the texts of a spec, tokenised once a process."""
    del signature
    train, evaluation, names = spec.load()
    cleaned = [_clean(spec.clean, part) for part in (train, evaluation)]
    tokenizer = spec.tokenizer.build(chain(cleaned[0][0].texts, cleaned[0][0].seconds))
    for split, (part, _) in zip(("training", "evaluation"), cleaned, strict=True):
        check_text_labels(split, part, len(names))
    trained, evaluated = (encode_texts(spec, tokenizer, part, changed) for part, changed in cleaned)
    return Loaded(trained, evaluated, names, tokenizer)


def _clean(clean: Clean, part: LabelledTexts) -> tuple[LabelledTexts, dict[str, int]]:
    texts, changed = clean(part.texts)
    seconds, also = clean(part.seconds)
    counts = {f"changed by {name}": count + also[name] for name, count in changed.items()}
    return dataclasses.replace(part, texts=texts, seconds=seconds), counts


def check_text_labels(split: str, part: LabelledTexts, classes: int) -> None:
    """Raise BadInput where a split has no texts, or a label is not the number of a class."""
    if not len(part.labels):
        raise BadInput(f"the {split} split has no texts: add some")
    wrong = np.flatnonzero((part.labels < 0) | (part.labels >= classes))
    if len(wrong):
        raise BadInput(
            f"{part.where(int(wrong[0]))}: the label {part.labels[wrong[0]]} is not among 0 ... {classes - 1} "
            f"({len(wrong)} such): correct the labels, or take a split that is labelled"
        )


def encode_texts(spec: Sentences, tokenizer: AnyTokenizer, part: LabelledTexts, changed: dict[str, int]) -> Part:
    """Encode texts as rows of at most the largest width.

    Args:
        spec: reads are `widths`, `stride` and `empty`.
        tokenizer: encodes the texts, and gives the special tokens around them.
        part: the texts and their labels.
        changed: counts of cleaned texts, to be reported with the others.

    Raises:
        BadInput: a text without tokens where these are refused, or a width or stride that leaves no room for text.
    """
    pair = len(part.seconds) > 0
    frame = tokenizer.frame(pair)
    space = spec.widths[-1] - len(frame)
    _check_space(spec, space, pair)
    firsts = encode_rows(tokenizer, part.texts, part.where)
    seconds = encode_rows(tokenizer, part.seconds, part.where) if pair else [np.zeros(0, np.int32)] * len(firsts)
    kept = _kept(spec, part, firsts, seconds if pair else firsts)
    rows, owners, long = [], [], 0
    for number in kept:
        windows = to_windows(frame, firsts[number], seconds[number], spec.widths[-1], spec.stride)
        long += len(firsts[number]) + len(seconds[number]) > space
        rows += windows
        owners += [number] * len(windows)
    sources = np.array(owners, np.int64)
    shares = (1 / np.bincount(sources, minlength=len(firsts)).clip(1))[sources].astype(np.float32)
    cells: dict[str, list[np.ndarray]] = {"tokens": [tokens for tokens, _ in rows]}
    if pair and frame.second:
        cells["types"] = [types for _, types in rows]
    counts = {"texts": len(kept), "tokens": sum(map(len, cells["tokens"]))} | changed
    counts |= {"left out for having no tokens": len(firsts) - len(kept)}
    counts |= {f"cut to {spec.widths[-1]} tokens": long} if spec.stride is None else {"windows": len(rows)}
    return Part(ragged(cells, {"label": part.labels[sources], "mask": shares}), counts)


def _check_space(spec: Sentences, space: int, pair: bool) -> None:
    if space < 1 + pair:
        raise BadInput(f"data.widths reach {spec.widths[-1]}, which special tokens fill: raise the last one")
    if spec.stride is not None and (pair or not 0 <= spec.stride < space):
        raise BadInput(
            f"data.stride is {spec.stride}: give 0 to {space - 1}, fewer than the {space} tokens of a window, and none "
            "for pairs of texts"
        )


def _kept(
    spec: Sentences, part: LabelledTexts, firsts: Sequence[np.ndarray], seconds: Sequence[np.ndarray]
) -> list[int]:
    """Return the rows whose texts have tokens."""
    kept = [row for row, texts in enumerate(zip(firsts, seconds, strict=True)) if all(map(len, texts))]
    if len(kept) < len(firsts) and spec.empty == "refuse":
        first = next(row for row, number in enumerate([*kept, -1]) if row != number)
        raise BadInput(
            f"{part.where(first)}: an empty text ({len(firsts) - len(kept)} such): correct it, or set --data.empty drop"
        )
    if not kept:
        raise BadInput(f"{part.where(0)}: this and all other texts are empty: give texts")
    return kept


def to_windows(
    frame: Frame, first: np.ndarray, second: np.ndarray, width: int, stride: int | None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the rows of a text, or of a pair, of at most `width` tokens: the tokens of each and their types, int32.

    Args:
        frame: the special tokens around them.
        first: ids of the text.
        second: those of the second text; none where there is no second.
        width: the largest row.
        stride: see `Sentences`; None: one row, cut.
    """
    space = width - len(frame)
    if len(first) + len(second) <= space:
        return [_framed(frame, first, second)]
    if stride is None:
        room = min(len(second), max(space - len(first), space // 2))
        return [_framed(frame, first[: space - room], second[:room])]
    starts = range(0, len(first) - stride, space - stride)
    return [_framed(frame, first[start : start + space], second) for start in starts]


def _framed(frame: Frame, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the tokens of a row with special tokens, and their types; int32 both."""
    head = len(frame.before) + len(first) + len(frame.between)
    tokens = np.concatenate([frame.before, first, frame.between, second, frame.after]).astype(np.int32)
    types = np.zeros(len(tokens), np.int32)
    types[head:] = frame.second
    return tokens, types
