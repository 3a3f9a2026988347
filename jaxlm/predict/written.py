"""The texts that an encoder-decoder model writes from texts, such as translations: as answers, and scored."""

import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import numpy as np

from jaxlm.data.text.clean import Clean
from jaxlm.data.tokenizers.specs import AnyTokenizer, load_tokenizer
from jaxlm.decode.alignment import last_attention
from jaxlm.decode.generate import until
from jaxlm.decode.seq2seq import BeamSearch, EncoderDecoder
from jaxlm.errors import BadInput
from jaxlm.parallel import Placement
from jaxlm.predict.predictor import Answer, Example, Predictor, Prepared, in_evaluation, zeros
from jaxlm.predict.texts import pad_tokens
from jaxlm.runs.directory import RunDirectory
from jaxlm.steps import LossFn, Metrics, eval_variables, transforms
from jaxlm.train.config import Config
from jaxlm.train.evaluate import Evaluation

SENTINEL = re.compile(r"(<extra_id_\d+>)")


def written(model: EncoderDecoder, search: BeamSearch, tokenizer: AnyTokenizer) -> LossFn:
    """Return a function with the arguments of a loss that gives {"written": int32 [B, T]} in place of the metrics.

    Args:
        model: encodes and decodes.
        search: for the most probable text.
        tokenizer: has the tokens that begin and end a text.
    """
    ends = tokenizer.start or 0, tokenizer.separator or 0

    def function(params: Any, variables: Any, batch: Any, key: jax.Array, *, train: bool) -> tuple[Any, Any]:
        del key, train
        sources = batch["tokens"], batch["source_segments"]
        return {"written": search(model, {"params": params, **variables}, *sources, *ends)}, variables

    return function


@dataclass(frozen=True)
class TokenizeSources:
    """Make rows of source texts, as `jaxlm.data.pairs` makes them: "tokens" and "source_segments" int32 [T].

    Attributes:
        tokenizer: of the run.
        widths: T of the rows, ascending.
        lower: whether texts are lower-cased.
        clean: operations on the texts before they are tokenised.
        cut: whether a longer text is cut; else it is an error.
        sentinels: whether "<extra_id_0>" in a text is the special token of that name, and not text.
    """

    tokenizer: AnyTokenizer
    widths: tuple[int, ...]
    lower: bool = False
    clean: Clean = field(default_factory=Clean)
    cut: bool = False
    sentinels: bool = False

    def __call__(self, inputs: Iterable[Any]) -> Iterator[Prepared | BadInput]:
        """Yield one row for each text, or why there is none."""
        for text in inputs:
            try:
                yield self.prepared(text)
            except BadInput as error:
                yield error

    def prepared(self, text: Any) -> Prepared:
        """Return the row of a text, and as context the number of tokens that were cut off.

        Raises:
            BadInput: it is not a text, is empty, or is too long.
        """
        if not isinstance(text, str):
            raise BadInput("not a text: give one, or name its column")
        (cleaned,), _ = self.clean([text])
        if not cleaned.strip():
            raise BadInput("an empty text: give some words or leave it out")
        ids = self._encode(cleaned.lower() if self.lower else cleaned)
        kept = ids[: self.widths[-1] - 1] if self.cut else ids
        tokens = np.append(kept, self.tokenizer.separator or 0).astype(np.int32)
        if len(tokens) > self.widths[-1]:
            raise BadInput(
                f"the text has {len(tokens)} tokens and the model was trained on {self.widths[-1]} at most: give its "
                "sentences one by one"
            )
        row = pad_tokens(tokens, self.widths)
        example = {"tokens": row["tokens"], "source_segments": row["segments"]}
        return Prepared([example], len(ids) - len(kept))

    def _encode(self, text: str) -> np.ndarray:
        pieces = SENTINEL.split(text) if self.sentinels else [text]  # every second one is a name
        found = [self.tokenizer.token(piece) if number % 2 else None for number, piece in enumerate(pieces)]
        parts = [
            self.tokenizer.encode(piece) if index is None else [index]
            for piece, index in zip(pieces, found, strict=True)
        ]
        return np.concatenate(parts)


@dataclass(frozen=True)
class DecodeWritten:
    """Answer with {"text": what the model wrote}, and "cut": how many tokens of its source were not read, if any.

    Attributes:
        tokenizer: of the run.
    """

    tokenizer: AnyTokenizer

    def __call__(self, outputs: Sequence[Example], context: int | None = None) -> Answer:
        """Return the answer for the tokens of its row; the context is the number of tokens that were cut off."""
        answer: Answer = {"text": self.text(outputs[0]["written"])}
        return {**answer, "cut": context} if context else answer

    def text(self, tokens_T: np.ndarray) -> str:
        """Return the text of tokens up to the end token."""
        return self.tokenizer.decode(until(tokens_T.tolist(), self.tokenizer.separator))


def searched(config: Config, tokenizer: AnyTokenizer) -> LossFn:
    """Return `written` for the model and the search of a config, in its dtype."""
    return transforms.cast(written(config.model, config.decode, tokenizer), config.run.dtype)


def written_scores(config: Config, score: Callable[[Sequence[str], Sequence[str]], Metrics]) -> Evaluation:
    """Return the evaluation of the texts that a model writes from the sources of `config.data`.

    Args:
        config: its data are a spec of `jaxlm.data.pairs`, with `references`.
        score: (texts, references) -> Metrics.
    """
    data, tokenizer = config.data, config.data.build_tokenizer()
    references, decode = data.references(), DecodeWritten(tokenizer)
    write = in_evaluation(searched(config, tokenizer))

    def outputs(state: Any, batch: Any) -> Any:
        return write(eval_variables(state.params, state.variables, state.ema), batch)["written"]

    def score_texts(tokens: Any, batch: Any) -> Metrics:
        rows = batch["mask"] > 0
        return score([decode.text(row) for row in tokens[rows]], [references[row] for row in batch["row"][rows]])

    return Evaluation(data.eval(), outputs, score_texts, every=config.run.eval_every)


def written_preview(
    config: Config, outputs: Callable[[Any, Any], Any], place: Placement, shown: int = 3
) -> Callable[[Any], Mapping[str, str | bytes]]:
    """Return the preview of what a model writes from the first sources of the evaluation, and where it looked.

    "written.txt" has source, reference and answer of each; "alignment-0.png" and so on are pictures of the
    cross-attention of the last layer (see `last_attention`), or of the `alignment` of a model, where it has one.

    Args:
        config: as for `written_scores`.
        outputs: of that evaluation, so that the program is the same.
        place: where the state lives.
        shown: how many.
    """
    data, tokenizer, program = config.data, config.data.build_tokenizer(), place.map(outputs)

    def preview(state: Any) -> Mapping[str, str | bytes]:
        pairs, batch = data.loaded().eval, data.eval()[0]
        written_BT = np.asarray(program(state, place.put(batch)))
        rows = [number for number in range(len(written_BT)) if batch["mask"][number] > 0][:shown]
        texts, files = [], {}
        for number in rows:
            answer = DecodeWritten(tokenizer).text(written_BT[number])
            pair = pairs.sources[batch["row"][number]], pairs.targets[batch["row"][number]]
            texts.append(f"source: {pair[0]}\nreference: {pair[1]}\nwritten: {answer}\n")
        found = place.fetch(eval_variables(state.params, state.variables, state.ema))
        layer = found["params"].get("decoder", {}).get("block_0", {})
        if "source_attention" in layer or hasattr(config.model, "alignment"):
            given_BT = np.pad(written_BT[:, :-1], ((0, 0), (1, 0)), constant_values=tokenizer.start or 0)[rows]
            sources = batch["tokens"][rows], batch["source_segments"][rows]
            for number, weights_TS in enumerate(np.asarray(_attention(config.model, found, *sources, given_BT))):
                ids = until(written_BT[rows[number]].tolist(), tokenizer.separator)
                pieces = [[tokenizer.decode([one]) for one in side] for side in (sources[0][number], ids)]
                size = len(ids), int(sources[1][number].sum()) - 1
                weights_TS = weights_TS[: size[0], : size[1]]
                if min(size):
                    files[f"alignment-{number}.png"] = alignment_png(weights_TS, pieces[0][: size[1]], pieces[1])
        return {"written.txt": "\n".join(texts), **files}

    return preview


@partial(jax.jit, static_argnames="model")
def _attention(model: Any, variables: Any, tokens_BS: Any, segments_BS: Any, given_BT: Any) -> jax.Array:
    cache = model.apply(variables, tokens_BS, given_BT.shape[1], segments=segments_BS, method="init_cache")
    if hasattr(model, "alignment"):
        return model.apply(variables, given_BT, cache=cache, method="alignment")
    return last_attention(model, variables, cache, given_BT)


def alignment_png(weights_TS: np.ndarray, sources: Sequence[str], targets: Sequence[str]) -> bytes:
    """Return a picture of how much each target token (down) attends to each source token (to the right)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.5 + 0.3 * len(sources), 1.2 + 0.3 * len(targets)), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(weights_TS, cmap="Blues", vmin=0.0, vmax=1.0)
    axes.set_xticks(range(len(sources)), [repr(text)[1:-1] for text in sources], rotation=90, parse_math=False)
    axes.set_yticks(range(len(targets)), [repr(text)[1:-1] for text in targets], parse_math=False)
    axes.xaxis.tick_top()
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=100, metadata={"Software": None})
    return content.getvalue()


def writer(config: Config, run: RunDirectory, **options: Any) -> Predictor:
    """Compose the predictor of a run whose model writes texts from texts.

    Args:
        config: its data have `widths`, `lower`, `clean`, `batch` and `eval_batch`, as pairs of texts have.
        run: whose tokenizer.json is read.
        **options: of `TokenizeSources`.
    """
    data, tokenizer = config.data, load_tokenizer(run.artefact("tokenizer.json"))
    preprocess = TokenizeSources(tokenizer, data.widths, data.lower, data.clean, **options)
    batch = data.eval_batch or data.batch
    rows = ({name: np.zeros(width, np.int32) for name in ("tokens", "source_segments")} for width in data.widths)
    examples = tuple(zeros(row, batch) for row in rows)
    return Predictor(preprocess, in_evaluation(searched(config, tokenizer)), DecodeWritten(tokenizer), examples)
