"""Texts with one label each, or pairs of texts: what all specs share. The specs themselves are in `sentence_sources`.

B batch, T places. Batches hold "tokens" and "segments" int32 [B, T] (segments are 1, and 0 on padding), of pairs
"types" int32 [B, T], and "label" int32 [B] and "mask" float32 [B].
"""

import dataclasses
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from typing import Literal

import numpy as np

from jaxlm.data.clean import Clean
from jaxlm.data.ragged import check_widths, ragged
from jaxlm.data.token_rows import Loaded, Part, TokenRows
from jaxlm.data.tokenizer_protocol import Frame
from jaxlm.data.tokenizers import AnyTokenizer
from jaxlm.errors import BadInput


@dataclass(frozen=True, eq=False)
class Labelled:
    """Texts and their labels.

    Attributes:
        texts: one text for each example.
        seconds: the second text of each example; empty where there is none.
        labels: int32 [N].
        where: row -> what to call it in a message, such as a file and a line.
    """

    texts: Sequence[str]
    seconds: Sequence[str]
    labels: np.ndarray
    where: Callable[[int], str]


@dataclass(frozen=True, kw_only=True)
class Sentences(TokenRows):
    """Spec: texts with one label each, or pairs of texts, of which always the longer one is cut.

    Attributes:
        clean: what is done to the texts first.
        stride: instead of being cut, a long text becomes windows that have so many tokens in common with the one
            before, each an example with the text's label and the weight 1 / windows, in evaluation too. A text weighs
            1 in the loss then, while accuracy, F1 and the like count each of its windows as one. None: cut.
        empty: whether a text of no tokens is an error or is left out.
    """

    clean: Clean = field(default_factory=Clean)
    stride: int | None = None
    empty: Literal["refuse", "drop"] = "refuse"

    def load(self) -> tuple[Labelled, Labelled, tuple[str, ...]]:
        """Return the texts for training and for evaluation, and the names of the classes."""
        raise NotImplementedError

    def loaded(self) -> Loaded:
        """Return both splits, tokenised once a process.

        Raises:
            BadInput: texts that cannot be read, or a label or a text that is none.
        """
        check_widths(self.widths)
        return _load(dataclasses.replace(self, batch=1, eval_batch=None, widths=self.widths[-1:]), self.signature())


@lru_cache(maxsize=4)
def _load(spec: Sentences, signature: Hashable) -> Loaded:
    """Return the texts of a spec, tokenised once a process."""
    del signature
    train, held, names = spec.load()
    cleaned = [_clean(spec.clean, part) for part in (train, held)]
    tokenizer = spec.tokenizer.build(chain(cleaned[0][0].texts, cleaned[0][0].seconds))
    for split, (part, _) in zip(("training", "evaluation"), cleaned, strict=True):
        check_labels(split, part, len(names))
    trained, evaluated = (to_rows(spec, tokenizer, part, changed) for part, changed in cleaned)
    return Loaded(trained, evaluated, names, tokenizer)


def _clean(clean: Clean, part: Labelled) -> tuple[Labelled, dict[str, int]]:
    texts, changed = clean(part.texts)
    seconds, also = clean(part.seconds)
    counts = {f"changed by {name}": count + also[name] for name, count in changed.items()}
    return dataclasses.replace(part, texts=texts, seconds=seconds), counts


def check_labels(split: str, part: Labelled, classes: int) -> None:
    """Raise BadInput where there is nothing, or a label that names no class."""
    if not len(part.labels):
        raise BadInput(f"the {split} split has no texts: add some")
    wrong = np.flatnonzero((part.labels < 0) | (part.labels >= classes))
    if len(wrong):
        raise BadInput(
            f"{part.where(int(wrong[0]))}: the label {part.labels[wrong[0]]} is not among 0 ... {classes - 1} "
            f"({len(wrong)} such): mend the labels, or take a split that is labelled"
        )


def to_rows(spec: Sentences, tokenizer: AnyTokenizer, part: Labelled, changed: dict[str, int]) -> Part:
    """Return texts as rows of tokens of at most the largest width.

    Raises:
        BadInput: a text of no tokens where they are refused, or a width or stride that leaves no place for text.
    """
    pair = len(part.seconds) > 0
    frame = tokenizer.frame(pair)
    space = spec.widths[-1] - len(frame)
    _check_space(spec, space, pair)
    firsts = tokenizer.encode_all(part.texts)
    seconds = tokenizer.encode_all(part.seconds) if pair else [np.zeros(0, np.int32)] * len(firsts)
    kept = _kept(spec, part, firsts, seconds if pair else firsts)
    rows, owners, long = [], [], 0
    for number in kept:
        windows = _windows(firsts[number], seconds[number], space, spec.stride)
        long += len(firsts[number]) + len(seconds[number]) > space
        rows += [_framed(frame, *window) for window in windows]
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


def _kept(spec: Sentences, part: Labelled, firsts: Sequence[np.ndarray], seconds: Sequence[np.ndarray]) -> list[int]:
    """Return the rows whose texts have tokens."""
    kept = [row for row, texts in enumerate(zip(firsts, seconds, strict=True)) if all(map(len, texts))]
    if len(kept) < len(firsts) and spec.empty == "refuse":
        first = next(row for row, number in enumerate([*kept, -1]) if row != number)
        raise BadInput(
            f"{part.where(first)}: an empty text ({len(firsts) - len(kept)} such): mend it, or set --data.empty drop"
        )
    if not kept:
        raise BadInput(f"{part.where(0)}: this and all other texts are empty: give texts")
    return kept


def _windows(
    first: np.ndarray, second: np.ndarray, space: int, stride: int | None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the parts of a text, or of a pair, that rows are made of."""
    if len(first) + len(second) <= space:
        return [(first, second)]
    if stride is None:
        room = min(len(second), max(space - len(first), space // 2))
        return [(first[: space - room], second[:room])]
    starts = range(0, len(first) - stride, space - stride)
    return [(first[start : start + space], second) for start in starts]


def _framed(frame: Frame, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the tokens of a row and their types, int32 both."""
    head = len(frame.before) + len(first) + len(frame.between)
    tokens = np.concatenate([frame.before, first, frame.between, second, frame.after]).astype(np.int32)
    types = np.zeros(len(tokens), np.int32)
    types[head:] = frame.second
    return tokens, types
