"""Answer with the class of a text, or of a pair of texts, or with the vector of a text, for search and clustering."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from jaxlm.data.labelled_text.sentences import to_windows
from jaxlm.data.text.clean import Clean
from jaxlm.data.tokenizers.specs import AnyTokenizer, load_tokenizer
from jaxlm.errors import BadInput
from jaxlm.predict.classes import ClassProbabilities, read_class_names
from jaxlm.predict.predictor import Answer, Example, Predictor, Prepared, in_evaluation, zeros
from jaxlm.runs.directory import RunDirectory
from jaxlm.steps import LossFn

LONGEST = 256  # tokens of a text whose vector is asked for; what is longer is cut
ROWS = 32  # of a full batch of these


@dataclass(frozen=True)
class TokenizeTexts:
    """Make rows of texts, or of pairs (first, second), as the labelled texts of training are made.

    Attributes:
        tokenizer: of the run.
        widths: see `TokenRows`; a row has the narrowest that holds it.
        clean: see `Sentences`.
        stride: see `Sentences`; with one, a long text is several rows.
        pair: whether an input is a pair.
    """

    tokenizer: AnyTokenizer
    widths: tuple[int, ...]
    clean: Clean = field(default_factory=Clean)
    stride: int | None = None
    pair: bool = False

    def __call__(self, inputs: Iterable[Any]) -> Iterator[Prepared | BadInput]:
        """Yield rows of "tokens" and "segments" (and "types") int32 [T] for each input, or why there are none."""
        for text in inputs:
            try:
                yield Prepared(self.rows(text))
            except BadInput as error:
                yield error

    def rows(self, text: Any) -> list[Example]:
        """Return the rows of one input.

        Raises:
            BadInput: it is not a text, or has no tokens.
        """
        texts = [text] if isinstance(text, str) else text
        good = isinstance(texts, (list, tuple)) and all(isinstance(part, str) for part in texts)
        if not good or len(texts) != 1 + self.pair:
            wanted = "a pair of texts, [first, second]" if self.pair else "a text"
            raise BadInput(f"not {wanted}: give one, or name its column" + "s" * self.pair)
        ids = [self.tokenizer.encode(part) for part in self.clean(texts)[0]]
        if not all(map(len, ids)):
            raise BadInput("an empty text: give some words or leave it out")
        second = ids[1] if self.pair else np.zeros(0, np.int32)
        frame = self.tokenizer.frame(self.pair)
        windows = to_windows(frame, ids[0], second, self.widths[-1], self.stride)
        typed = self.pair and frame.second
        return [self._row(tokens, types if typed else None) for tokens, types in windows]

    def _row(self, tokens: np.ndarray, types: np.ndarray | None) -> Example:
        row = pad_tokens(tokens, self.widths)
        return row if types is None else {**row, "types": np.pad(types, (0, len(row["tokens"]) - len(types)))}


def pad_tokens(tokens: np.ndarray, widths: tuple[int, ...]) -> Example:
    """Return "tokens" and "segments" int32 [T] in the narrowest width that holds the tokens; segments are 1 on them."""
    width = widths[int(np.searchsorted(widths, len(tokens)))]
    room = (0, width - len(tokens))
    return {"tokens": np.pad(tokens, room).astype(np.int32), "segments": np.pad(np.ones_like(tokens, np.int32), room)}


def text_classifier(logits: LossFn, data: Any, run: RunDirectory) -> Predictor:
    """Compose the predictor of a run that classifies texts.

    Args:
        logits: `forward(model, TEXT)` under the transforms that the loss is under.
        data: the `data` of the config, a spec of `jaxlm.data.labelled_text`.
        run: whose tokenizer.json and classes.json are read.
    """
    tokenizer = load_tokenizer(run.artefact("tokenizer.json"))
    pair = bool(getattr(data, "second", ""))
    preprocess = TokenizeTexts(tokenizer, data.widths, data.clean, data.stride, pair)
    batch, typed = data.eval_batch or data.batch, pair and tokenizer.frame(True).second
    names = ("tokens", "segments", "types") if typed else ("tokens", "segments")
    examples = tuple(zeros({name: np.zeros(width, np.int32) for name in names}, batch) for width in data.widths)
    return Predictor(preprocess, in_evaluation(logits), ClassProbabilities(read_class_names(run)), examples)


@dataclass(frozen=True)
class GiveEmbedding:
    """Answer with {"embedding": the vector, "tokens": how many were read}."""

    def __call__(self, outputs: Sequence[Example], context: Any = None) -> Answer:
        """Return the answer for the outputs of a row: "embedding" float32 [D] and "tokens" int32 []."""
        del context
        return {"embedding": outputs[0]["embedding"].astype(float).tolist(), "tokens": int(outputs[0]["tokens"])}


def text_embedder(
    embed: Callable[[Any, jax.Array, jax.Array], jax.Array],
    tokenizer: AnyTokenizer,
    context: int,
    batch: int = ROWS,
) -> Predictor:
    """Compose the predictor of a text encoder.

    Args:
        embed: (variables, tokens [B, T], segments [B, T]) -> [B, D], such as `models.heads.sentence_vectors`.
        tokenizer: of the encoder.
        context: tokens that the encoder reads at most; a text has no more than `LONGEST` of them.
        batch: rows of a full batch.
    """

    def apply(variables: Any, rows: Any) -> dict[str, jax.Array]:
        found = embed(variables, rows["tokens"], rows["segments"])
        return {"embedding": found.astype(np.float32), "tokens": rows["segments"].sum(1)}

    longest = min(context, LONGEST)
    widths = (*(width for width in (16, 32, 64, 128) if width < longest), longest)
    names = ("tokens", "segments")
    examples = tuple(zeros({name: np.zeros(width, np.int32) for name in names}, batch) for width in widths)
    return Predictor(TokenizeTexts(tokenizer, widths), apply, GiveEmbedding(), examples)
