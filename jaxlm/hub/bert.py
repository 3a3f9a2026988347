"""BERT of transformers: its encoder, the heads of its pre-training, and classifiers of texts and of tokens."""

from typing import Any

import numpy as np

from jaxlm.hub.mapping import LINEAR, Row, Table, each
from jaxlm.hub.options import Options, labels
from jaxlm.models.bert import BERT, MaskedLanguageModel
from jaxlm.models.heads import Classifier, TokenClassifier

ENCODER_LACKS = "(head|next_sentence|pooler)/"

# Their names without "bert.", and our paths without "encoder/": both stand before them under a head.
SELF = tuple(f"encoder.layer.{{}}.attention.self.{part}" for part in ("query", "key", "value"))
LAYER = (
    Row(tuple(f"{name}.weight" for name in SELF), "block_{}/attention/qkv/kernel", LINEAR, (1, 1, 1)),
    Row(tuple(f"{name}.bias" for name in SELF), "block_{}/attention/qkv/bias", parts=(1, 1, 1)),
    Row("encoder.layer.{}.attention.output.dense.weight", "block_{}/attention/output/kernel", LINEAR),
    Row("encoder.layer.{}.attention.output.dense.bias", "block_{}/attention/output/bias"),
    Row("encoder.layer.{}.attention.output.LayerNorm.weight", "block_{}/attention_norm/scale"),
    Row("encoder.layer.{}.attention.output.LayerNorm.bias", "block_{}/attention_norm/bias"),
    Row("encoder.layer.{}.intermediate.dense.weight", "block_{}/feed_forward/up/kernel", LINEAR),
    Row("encoder.layer.{}.intermediate.dense.bias", "block_{}/feed_forward/up/bias"),
    Row("encoder.layer.{}.output.dense.weight", "block_{}/feed_forward/down/kernel", LINEAR),
    Row("encoder.layer.{}.output.dense.bias", "block_{}/feed_forward/down/bias"),
    Row("encoder.layer.{}.output.LayerNorm.weight", "block_{}/feed_forward_norm/scale"),
    Row("encoder.layer.{}.output.LayerNorm.bias", "block_{}/feed_forward_norm/bias"),
)
EMBEDDINGS = (
    Row("embeddings.word_embeddings.weight", "embed/embedding"),
    Row("embeddings.position_embeddings.weight", "position_embed/embedding"),
    Row("embeddings.token_type_embeddings.weight", "type_embed/embedding"),
    Row("embeddings.LayerNorm.weight", "embed_norm/scale"),
    Row("embeddings.LayerNorm.bias", "embed_norm/bias"),
)
POOLER = (
    Row("pooler.dense.weight", "pooler/kernel", LINEAR),
    Row("pooler.dense.bias", "pooler/bias"),
)
MASKED = (
    Row("cls.predictions.transform.dense.weight", "head/transform/kernel", LINEAR),
    Row("cls.predictions.transform.dense.bias", "head/transform/bias"),
    Row("cls.predictions.transform.LayerNorm.weight", "head/norm/scale"),
    Row("cls.predictions.transform.LayerNorm.bias", "head/norm/bias"),
    Row("cls.predictions.bias", "head/bias"),
)
NEXT_SENTENCE = (
    Row("cls.seq_relationship.weight", "next_sentence/kernel", LINEAR),
    Row("cls.seq_relationship.bias", "next_sentence/bias"),
)
CLASSIFIER = (
    Row("classifier.weight", "head/kernel", LINEAR),
    Row("classifier.bias", "head/bias"),
)
TIED = {
    "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
}
POSITIONS = r"(bert\.)?embeddings\.position_ids"  # 0, 1, 2, ...
UNUSED_POOLER = r"bert\.pooler\..*"  # earlier versions wrote one that no head of theirs reads
EARLY_NAMES = {"gamma": "weight", "beta": "bias"}  # of norms, in the first files

# Read from their names; the last of several of one meaning is written.
ACTIVATIONS = {"gelu_pytorch_tanh": "gelu", "gelu_new": "gelu", "gelu": "gelu_exact", "relu": "relu"}

MODEL, CLASSES, TOKEN_CLASSES = "BertModel", "BertForSequenceClassification", "BertForTokenClassification"
MASKED_TOKENS, PRETRAINING = "BertForMaskedLM", "BertForPreTraining"
PREDICTING = (MASKED_TOKENS, PRETRAINING)
ARCHITECTURES = (MODEL, *PREDICTING, CLASSES, TOKEN_CLASSES)
HEADS: dict[str, tuple[Row, ...]] = {
    MASKED_TOKENS: MASKED,
    PRETRAINING: MASKED + NEXT_SENTENCE,
    CLASSES: CLASSIFIER,
    TOKEN_CLASSES: CLASSIFIER,
}
WITH_POOLER = (MODEL, PRETRAINING, CLASSES)


def table(model: Any) -> Table:
    """Where the tensors lie."""
    kind, encoder = _architecture(model), _encoder(model)
    inner = EMBEDDINGS + each(encoder.depth, LAYER) + (POOLER if kind in WITH_POOLER else ())
    if kind == MODEL:
        return Table(inner, ignored=(POSITIONS,), early=EARLY_NAMES)
    rows = tuple(row.under("bert.", "encoder/") for row in inner) + HEADS[kind]
    ignored = (POSITIONS,) if kind in WITH_POOLER else (POSITIONS, UNUSED_POOLER)
    return Table(rows, ignored=ignored, copies=TIED if kind in PREDICTING else {}, early=EARLY_NAMES)


def example(model: Any) -> tuple[Any, ...]:
    """One token."""
    return (np.zeros((1, 1), np.int32),)


def writes(model: Any) -> bool:
    """Whether a module of ours is of this family."""
    return isinstance(_encoder(model), BERT) and isinstance(
        model, BERT | MaskedLanguageModel | Classifier | TokenClassifier
    )


def from_config(options: Options) -> Any:
    """Our module, with the head that the architecture names."""
    kind = (options.peek("architectures") or [MODEL])[0]
    if kind not in ARCHITECTURES:
        raise options.refusal("architectures", [kind], ARCHITECTURES)
    if kind == MASKED_TOKENS and options.stores("cls.seq_relationship.weight"):
        kind = PRETRAINING  # as the files of Devlin et al. are: nothing in them is left out
    options.expect("position_embedding_type", "absolute")
    options.expect("tie_word_embeddings", True)
    encoder = BERT(
        vocab=options.take("vocab_size"),
        depth=options.take("num_hidden_layers"),
        width=options.take("hidden_size"),
        heads=options.take("num_attention_heads"),
        context=options.take("max_position_embeddings"),
        hidden=options.take("intermediate_size"),
        types=options.take("type_vocab_size", 2),
        activation=options.choose("hidden_act", ACTIVATIONS, "gelu"),
        dropout=options.take("hidden_dropout_prob", 0.1),
        eps=options.take("layer_norm_eps", 1e-12),
    )
    dropout = options.take("classifier_dropout", None)
    classes = options.classes()
    dropout = encoder.dropout if dropout is None else dropout
    options.finish("attention_probs_dropout_prob")
    if kind == CLASSES:
        return Classifier(encoder, classes, pool="pooler", dropout=dropout)
    if kind == TOKEN_CLASSES:
        return TokenClassifier(encoder, classes, dropout=dropout)
    return encoder if kind == MODEL else MaskedLanguageModel(encoder, next_sentence=kind == PRETRAINING)


def to_config(model: Any) -> dict[str, Any]:
    """Their config.json."""
    encoder = _encoder(model)
    config = {
        "architectures": [_architecture(model)],
        "model_type": "bert",
        "dtype": "float32",
        "vocab_size": encoder.vocab,
        "num_hidden_layers": encoder.depth,
        "hidden_size": encoder.width,
        "num_attention_heads": encoder.heads,
        "max_position_embeddings": encoder.context,
        "intermediate_size": encoder.hidden or 4 * encoder.width,
        "type_vocab_size": encoder.types,
        "hidden_act": {ours: theirs for theirs, ours in ACTIVATIONS.items()}[encoder.activation],
        "hidden_dropout_prob": encoder.dropout,
        "attention_probs_dropout_prob": 0.0,
        "layer_norm_eps": encoder.eps,
        "position_embedding_type": "absolute",
    }
    if not isinstance(model, Classifier | TokenClassifier):
        return config
    return config | labels(model.classes) | {"classifier_dropout": model.dropout}


def _encoder(model: Any) -> Any:
    return getattr(model, "encoder", model)


def _architecture(model: Any) -> str:
    if isinstance(model, MaskedLanguageModel):
        return PRETRAINING if model.next_sentence else MASKED_TOKENS
    return {Classifier: CLASSES, TokenClassifier: TOKEN_CLASSES}.get(type(model), MODEL)
