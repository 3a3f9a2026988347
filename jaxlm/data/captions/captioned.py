"""Images with captions: what all specs share. The specs themselves are in `classes`, `files` and `attributes`.

B batch, H height, W width, C channels, L tokens of a caption. Batches have "image" uint8 [B, H, W, C], "tokens" and
"segments" int32 [B, L] (segments are 1, or 0 on padding) and "keys" uint32 [B, 2], a PRNG key for each image; in
evaluation also "mask" float32 [B].
"""

import json
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from jaxlm.data.epoch import Epoch, cached_per_seed
from jaxlm.data.images.augment import normalise
from jaxlm.data.model_checks import check_tokens
from jaxlm.data.order import InOrder, RowSource, Shuffled
from jaxlm.data.protocol import Batch, json_sha256, summary_line
from jaxlm.data.tokenizers.protocol import encode_rows
from jaxlm.data.tokenizers.specs import AnyTokenizer, Bytes, Characters, Pretrained, Subwords, Words
from jaxlm.errors import BadInput

PICTURES = "pictures.json"  # the artefact with the shape of the images
CHOICE = 12  # separates the draws of captions from others of an epoch


@dataclass(frozen=True, eq=False)
class Captions:
    """The images of a split and the captions that each may have.

    Attributes:
        images: the images, as "image".
        texts: the different captions.
        choices: int64 [N, K], the captions of each image, by their numbers in `texts`.
        where: number of a caption -> its place for a message, such as a file and a line.
    """

    images: RowSource
    texts: Sequence[str]
    choices: np.ndarray
    where: Callable[[int], str]


@dataclass(frozen=True, eq=False)
class CaptionedRows:
    """A source of images with the tokens of one of their captions.

    Law: which caption an image has is a function of (seed of the noise, epoch, row), and in evaluation of the row.

    Attributes:
        images: the images.
        choices: int64 [N, K], the captions of each image, by number.
        tokens: int32 [captions, L], 0 on padding.
        sizes: int64 [captions], tokens of each.
    """

    images: RowSource
    choices: np.ndarray
    tokens: np.ndarray
    sizes: np.ndarray

    def __len__(self) -> int:
        return len(self.choices)

    def take(self, rows: np.ndarray, epoch: Epoch | None) -> Batch:
        """Return the images with these numbers and a caption of each."""
        count = self.choices.shape[1]
        places = rows % count if epoch is None else drawn_choices(epoch, len(self))[rows] % np.uint64(count)
        captions = self.choices[rows, places.astype(np.int64)]
        segments = np.arange(self.tokens.shape[1]) < self.sizes[captions][:, None]
        image = self.images.take(rows, epoch)["image"]
        return {"image": image, "tokens": self.tokens[captions], "segments": segments.astype(np.int32)}

    def fingerprint(self) -> str:
        """Return a SHA-256 over images and captions."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        captions = (self.choices.tolist(), self.tokens.tolist(), self.sizes.tolist())
        return json_sha256("captioned images", self.images.fingerprint(), *captions)


@cached_per_seed
def drawn_choices(epoch: Epoch, count: int) -> np.ndarray:
    """Return a random word for each row of an epoch, which chooses its caption; uint64 [count]."""
    return epoch.noise_words(count, purpose=CHOICE)


@dataclass(frozen=True, eq=False)
class LoadedCaptions:
    """Both splits, tokenised.

    Attributes:
        train, eval: the splits.
        rows: the same as rows of arrays, by "train" and "eval".
        tokenizer: made the tokens.
        cut: captions that were longer than a row.
    """

    train: Captions
    eval: Captions
    rows: dict[str, CaptionedRows]
    tokenizer: AnyTokenizer
    cut: int


@dataclass(frozen=True, kw_only=True)
class Captioned:
    """Spec: images with captions.

    Attributes:
        width: L, tokens of a row; a longer caption is cut, and counted in `log_lines`.
        tokenizer: `Words()`, `Characters()`, `Bytes()`, `Subwords()` or `Pretrained(folder)`.
    """

    width: int = 16
    tokenizer: Words | Characters | Bytes | Subwords | Pretrained = field(default_factory=Words)

    @property
    def batch_sizes(self) -> tuple[int, int]:
        """Return the images in a training batch and in an evaluation batch."""
        raise NotImplementedError

    def load(self) -> tuple[Captions, Captions]:
        """Return the images and captions for training and for evaluation."""
        raise NotImplementedError

    def signature(self) -> Hashable:
        """Return what changes when captions change on disk, without reading them: sizes and times of files."""
        return ()

    def loaded(self) -> LoadedCaptions:
        """Return both splits, tokenised once a process.

        Raises:
            BadInput: images or captions cannot be read, or a caption has no tokens.
        """
        return _load(self, self.signature())

    def train(self, seed: int = 0, noise: int | None = None) -> Shuffled:
        """Return the training batches; `noise` seeds the choice of captions and the keys."""
        return Shuffled(self.loaded().rows["train"], self.batch_sizes[0], seed, noise, keys=True)

    def eval(self) -> InOrder:
        """Return the evaluation batches: every image exactly once."""
        return InOrder(self.loaded().rows["eval"], self.batch_sizes[1], keys=True)

    def shape(self) -> tuple[int, ...]:
        """Return (height, width, channels) of an image."""
        return self.loaded().eval.images.take(np.zeros(1, np.int64), None)["image"].shape[1:]

    def build_tokenizer(self) -> AnyTokenizer:
        """Return the tokenizer of the captions."""
        return self.loaded().tokenizer

    def prompts(self, count: int) -> list[str]:
        """Return `count` different captions of the evaluation, in its order, whose words are all known; "" if none."""
        part, tokenizer = self.loaded().eval, self.build_tokenizer()
        chosen = part.choices[np.arange(len(part.choices)), np.arange(len(part.choices)) % part.choices.shape[1]]
        found: dict[str, None] = {}
        for text in (part.texts[number] for number in chosen):
            ids = tokenizer.encode(text) if text not in found else ()
            if 0 < len(ids) <= self.width and tokenizer.special.unk not in ids:
                found[text] = None
            if len(found) == count:
                break
        return [*found] or [""]

    def prepare(self, batch: Any) -> Any:
        """Bring the images of a batch from 0 .. 255 to -1 .. 1, float32; for use inside a step."""
        return {**batch, "image": normalise(batch["image"], (0.5,), (0.5,))}

    def example(self) -> tuple[np.ndarray, ...]:
        """Return what a model is initialised with: an image, a time, tokens and segments."""
        tokens = np.zeros((1, self.width), np.int32)
        return np.zeros((1, *self.shape()), np.float32), np.zeros(1, np.float32), tokens, tokens + 1

    def artefacts(self) -> dict[str, str]:
        """Return tokenizer.json, and pictures.json with the shape of the images."""
        return {
            "tokenizer.json": self.build_tokenizer().to_json(),
            PICTURES: json.dumps({"shape": list(self.shape())}) + "\n",
        }

    def log_lines(self) -> list[str]:
        """Return a line about each split, and one about the captions."""
        found = self.loaded()
        height, width, channels = self.shape()
        kind = f"images of {height} x {width} x {channels}"
        lines = []
        for name, part in (("train", found.train), ("eval", found.eval)):
            captions = {"different captions": len(set(part.choices.reshape(-1).tolist()))}
            lines.append(summary_line(name, {kind: len(part.choices)} | captions))
        cut = f", {found.cut:,} cut to {self.width} tokens" if found.cut else ""
        return [*lines, f"captions: {found.tokenizer.vocab:,} tokens in the vocabulary{cut}"]

    def throughput(self) -> tuple[int, str]:
        """Return what one training batch counts as."""
        return self.batch_sizes[0], "images"

    def check(self, model: Any, repeat: int = 1) -> None:
        """Raise BadInput where the data cannot be read or do not fit a model.

        Args:
            model: it, or its `encoder`, has `vocab` and `context`, unless its `reads_captions` is False; height and
                width of an image are multiples of its `multiple`.
            repeat: updates in one compiled program.
        """
        del repeat
        if self.width < 1:
            raise BadInput(f"data.width is {self.width}: give at least 1 token")
        if getattr(model, "reads_captions", True):
            check_tokens(model, self.build_tokenizer(), self.width, "data.width")
        height, width, _ = shape = self.shape()
        if (trained := self.loaded().train.images.take(np.zeros(1, np.int64), None)["image"].shape[1:]) != shape:
            raise BadInput(
                f"training images are {list(trained)} and evaluation images {list(shape)}: make them one shape"
            )
        if (multiple := getattr(model, "multiple", 1)) and (height % multiple or width % multiple):
            raise BadInput(
                f"the images are {height} x {width}, and the model takes multiples of {multiple}: take another size of "
                "images, another --model.patch or fewer --model.stages"
            )


@lru_cache(maxsize=4)
def _load(spec: Captioned, signature: Hashable) -> LoadedCaptions:
    """Load both splits of a spec once a process, and tokenise their captions."""
    del signature
    parts = spec.load()
    for part in parts:
        for number, text in enumerate(part.texts):
            if not text.strip():
                raise empty_caption(part, number)
    tokenizer = spec.tokenizer.build(parts[0].texts)
    rows, cut = {}, 0
    for name, part in zip(("train", "eval"), parts, strict=True):
        ids = encode_rows(tokenizer, part.texts, part.where)
        for number, row in enumerate(ids):
            if not len(row):
                raise empty_caption(part, number)
        sizes = np.array([min(len(row), spec.width) for row in ids], np.int64)
        cut += sum(len(row) > spec.width for row in ids)
        tokens = np.zeros((len(ids), spec.width), np.int32)
        for number, row in enumerate(ids):
            tokens[number, : sizes[number]] = row[: spec.width]
        rows[name] = CaptionedRows(part.images, part.choices, tokens, sizes)
    return LoadedCaptions(*parts, rows, tokenizer, cut)


def empty_caption(part: Captions, number: int) -> BadInput:
    """Return the error for a caption without text or tokens."""
    return BadInput(f"{part.where(number)}: an empty caption: write one or leave the image out")
