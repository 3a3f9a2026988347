"""Models with weights that every machine makes alike, and the place of the outputs that transformers gave for them."""

from pathlib import Path

import numpy as np

from jaxlm.hub import pretrained
from jaxlm.models.bert import BERT, MaskedLanguageModel
from jaxlm.models.gpt import GPT
from jaxlm.models.heads import Classifier, SpanClassifier, TokenClassifier

GOLDEN = Path(__file__).resolve().parent / "golden" / "transformers.json"
ENCODER = BERT(vocab=13, depth=2, width=8, heads=2, context=9, hidden=12)
GPT2 = GPT(vocab=13, depth=2, width=8, heads=2, context=9)
LLAMA = GPT2.clone(norm="rms", activation="swiglu", positions="rotary", hidden=12, kv_heads=1, bias=False, tied=False)
VARIANTS = {
    "bert": ENCODER,
    "bert masked": MaskedLanguageModel(ENCODER.clone(activation="gelu")),
    "bert pre-training": MaskedLanguageModel(ENCODER.clone(activation="relu", types=3, eps=1e-3), next_sentence=True),
    "bert classes": Classifier(ENCODER, 3, pool="pooler"),
    "bert tokens": TokenClassifier(ENCODER, 5),
    "bert answers": SpanClassifier(ENCODER),
    "gpt2": GPT2,
    "gpt2 untied": GPT2.clone(tied=False, activation="gelu_exact"),
    "llama": LLAMA,
    "mistral": LLAMA.clone(window=3),
    "qwen2": LLAMA.clone(attention_bias="qkv", tied=True),
}


def leaves_of(model):
    """Leaves by path: sines of their places, and of another phase for each; scales of norms are near 1."""
    shapes = pretrained.shapes(pretrained.family_of_model(model), model)
    return {path: _waves(index, path, shapes[path].shape) for index, path in enumerate(sorted(shapes))}


def _waves(index, path, shape):
    waves = np.sin(np.arange(np.prod(shape)) * 0.7 + index).reshape(shape)
    return (1 + 0.2 * waves if path.endswith("scale") else 0.4 * waves).astype(np.float32)


def inputs(model):
    """Two rows of tokens by name, for BERT with types and a padded row."""
    row = np.arange(5, dtype=np.int32)
    found = {"tokens_BT": np.stack([1 + row, 1 + (5 * row) % 12])}
    if isinstance(getattr(model, "encoder", model), BERT):
        found["segments"] = np.stack([row < 5, row < 3]).astype(np.int32)
        found["types"] = np.stack([row > 3, row > 1]).astype(np.int32)
    return found


def real(output, model):
    """An output without what stands on padding, which nobody reads."""
    segments = inputs(model).get("segments")
    return np.asarray(output) if segments is None or np.ndim(output) < 3 else np.asarray(output)[segments > 0]
