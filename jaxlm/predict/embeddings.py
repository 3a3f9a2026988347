"""Answer with the vector of a text, for search and clustering."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jaxlm.data.tokenizers.specs import AnyTokenizer
from jaxlm.predict.predictor import Answer, Example, Predictor, zeros
from jaxlm.predict.texts import TokenizeTexts

LONGEST = 256  # tokens of a text; what is longer is cut
BATCH = 32


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
    batch: int = BATCH,
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
