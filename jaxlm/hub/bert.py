"""BERT of transformers: the encoder, its pre-training heads, and those for classes of texts, tags and answers."""

from typing import Any

import numpy as np

from jaxlm.hub.family import Family
from jaxlm.hub.mapping import LINEAR, TensorRow, TensorTable, each
from jaxlm.hub.options import Options
from jaxlm.models.bert import BERT, MaskedLanguageModel
from jaxlm.models.heads import Classifier, SpanClassifier, TokenClassifier

# Tensor names without "bert." and paths without "encoder/", which come before them under a head.
_SELF = tuple(f"encoder.layer.{{}}.attention.self.{part}" for part in ("query", "key", "value"))
_LAYER = (
    TensorRow(tuple(f"{name}.weight" for name in _SELF), "block_{}/attention/qkv/kernel", LINEAR, (1, 1, 1)),
    TensorRow(tuple(f"{name}.bias" for name in _SELF), "block_{}/attention/qkv/bias", parts=(1, 1, 1)),
    TensorRow("encoder.layer.{}.attention.output.dense.weight", "block_{}/attention/output/kernel", LINEAR),
    TensorRow("encoder.layer.{}.attention.output.dense.bias", "block_{}/attention/output/bias"),
    TensorRow("encoder.layer.{}.attention.output.LayerNorm.weight", "block_{}/attention_norm/scale"),
    TensorRow("encoder.layer.{}.attention.output.LayerNorm.bias", "block_{}/attention_norm/bias"),
    TensorRow("encoder.layer.{}.intermediate.dense.weight", "block_{}/feed_forward/up/kernel", LINEAR),
    TensorRow("encoder.layer.{}.intermediate.dense.bias", "block_{}/feed_forward/up/bias"),
    TensorRow("encoder.layer.{}.output.dense.weight", "block_{}/feed_forward/down/kernel", LINEAR),
    TensorRow("encoder.layer.{}.output.dense.bias", "block_{}/feed_forward/down/bias"),
    TensorRow("encoder.layer.{}.output.LayerNorm.weight", "block_{}/feed_forward_norm/scale"),
    TensorRow("encoder.layer.{}.output.LayerNorm.bias", "block_{}/feed_forward_norm/bias"),
)
_EMBEDDINGS = (
    TensorRow("embeddings.word_embeddings.weight", "embed/embedding"),
    TensorRow("embeddings.position_embeddings.weight", "position_embed/embedding"),
    TensorRow("embeddings.token_type_embeddings.weight", "type_embed/embedding"),
    TensorRow("embeddings.LayerNorm.weight", "embed_norm/scale"),
    TensorRow("embeddings.LayerNorm.bias", "embed_norm/bias"),
)
_POOLER = (
    TensorRow("pooler.dense.weight", "pooler/kernel", LINEAR),
    TensorRow("pooler.dense.bias", "pooler/bias"),
)
_MASKED = (
    TensorRow("cls.predictions.transform.dense.weight", "head/transform/kernel", LINEAR),
    TensorRow("cls.predictions.transform.dense.bias", "head/transform/bias"),
    TensorRow("cls.predictions.transform.LayerNorm.weight", "head/norm/scale"),
    TensorRow("cls.predictions.transform.LayerNorm.bias", "head/norm/bias"),
    TensorRow("cls.predictions.bias", "head/bias"),
)
_NEXT_SENTENCE = (
    TensorRow("cls.seq_relationship.weight", "next_sentence/kernel", LINEAR),
    TensorRow("cls.seq_relationship.bias", "next_sentence/bias"),
)
_CLASSIFIER = (
    TensorRow("classifier.weight", "head/kernel", LINEAR),
    TensorRow("classifier.bias", "head/bias"),
)
_SPANS = (
    TensorRow("qa_outputs.weight", "head/kernel", LINEAR),
    TensorRow("qa_outputs.bias", "head/bias"),
)
_TIED = {
    "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
}
_POSITIONS = r"(bert\.)?embeddings\.position_ids"  # 0, 1, 2, ...
_UNUSED_POOLER = r"bert\.pooler\..*"  # written by earlier versions, and not used by any head
_OLD_NAMES = {"gamma": "weight", "beta": "bias"}  # of norms, in the first files

# Several names of one activation are read; the last one is written.
_ACTIVATIONS = {"gelu_pytorch_tanh": "gelu", "gelu_new": "gelu", "gelu": "gelu_exact", "relu": "relu"}

_MODEL, _CLASSES, _TOKEN_CLASSES = "BertModel", "BertForSequenceClassification", "BertForTokenClassification"
_MASKED_TOKENS, _PRETRAINING = "BertForMaskedLM", "BertForPreTraining"
_ANSWERS = "BertForQuestionAnswering"
_PREDICTING = (_MASKED_TOKENS, _PRETRAINING)
_CLASSIFYING = (_CLASSES, _TOKEN_CLASSES)
_ARCHITECTURES = (_MODEL, *_PREDICTING, *_CLASSIFYING, _ANSWERS)
_HEADS: dict[str, tuple[TensorRow, ...]] = {
    _MASKED_TOKENS: _MASKED,
    _PRETRAINING: _MASKED + _NEXT_SENTENCE,
    _CLASSES: _CLASSIFIER,
    _TOKEN_CLASSES: _CLASSIFIER,
    _ANSWERS: _SPANS,
}
_WITH_POOLER = (_MODEL, _PRETRAINING, _CLASSES)


def _table(model: Any) -> TensorTable:
    """Return the names and layouts of the tensors."""
    kind, encoder = _architecture(model), _encoder(model)
    inner = _EMBEDDINGS + each(encoder.depth, _LAYER) + (_POOLER if kind in _WITH_POOLER else ())
    if kind == _MODEL:
        return TensorTable(inner, ignored=(_POSITIONS,), old_names=_OLD_NAMES)
    rows = tuple(row.under("bert.", "encoder/") for row in inner) + _HEADS[kind]
    ignored = (_POSITIONS,) if kind in _WITH_POOLER else (_POSITIONS, _UNUSED_POOLER)
    return TensorTable(rows, ignored=ignored, copies=_TIED if kind in _PREDICTING else {}, old_names=_OLD_NAMES)


def _example(model: Any) -> tuple[Any, ...]:
    """Return one token."""
    return (np.zeros((1, 1), np.int32),)


def _supports(model: Any) -> bool:
    """Return whether a module belongs to this family."""
    return isinstance(_encoder(model), BERT) and isinstance(
        model, BERT | MaskedLanguageModel | Classifier | TokenClassifier | SpanClassifier
    )


def _from_config(options: Options) -> Any:
    """Build the module, with the head that `architectures` names."""
    kind = (options.peek("architectures") or [_MODEL])[0]
    if kind not in _ARCHITECTURES:
        raise options.refusal("architectures", [kind], _ARCHITECTURES)
    if kind == _MASKED_TOKENS and options.stores("cls.seq_relationship.weight"):
        kind = _PRETRAINING  # as in the files of Devlin et al.: keep their second head
    options.expect("position_embedding_type", "absolute")
    options.expect("tie_word_embeddings", True)
    encoder = BERT(
        vocab=options.size("vocab_size"),
        depth=options.layers("num_hidden_layers"),
        width=options.size("hidden_size"),
        heads=options.size("num_attention_heads"),
        context=options.size("max_position_embeddings"),
        hidden=options.size("intermediate_size"),
        types=options.size("type_vocab_size", 2),
        activation=options.choose("hidden_act", _ACTIVATIONS, "gelu"),
        dropout=options.number("hidden_dropout_prob", 0.1),
        eps=options.number("layer_norm_eps", 1e-12),
    )
    dropout = options.number("classifier_dropout", None)
    classes = len(options.class_names()) if kind in _CLASSIFYING else 0
    dropout = encoder.dropout if dropout is None else dropout
    options.finish("attention_probs_dropout_prob")
    if kind == _CLASSES:
        return Classifier(encoder, classes, pool="pooler", dropout=dropout)
    if kind == _TOKEN_CLASSES:
        return TokenClassifier(encoder, classes, dropout=dropout)
    if kind == _ANSWERS:
        return SpanClassifier(encoder)
    return encoder if kind == _MODEL else MaskedLanguageModel(encoder, next_sentence=kind == _PRETRAINING)


def _to_config(model: Any) -> dict[str, Any]:
    """Return the content of config.json."""
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
        "hidden_act": {ours: theirs for theirs, ours in _ACTIVATIONS.items()}[encoder.activation],
        "hidden_dropout_prob": encoder.dropout,
        "attention_probs_dropout_prob": 0.0,
        "layer_norm_eps": encoder.eps,
        "position_embedding_type": "absolute",
    }
    if not isinstance(model, Classifier | TokenClassifier):
        return config
    return config | {"classifier_dropout": model.dropout}


def _encoder(model: Any) -> Any:
    return getattr(model, "encoder", model)


def _architecture(model: Any) -> str:
    if isinstance(model, MaskedLanguageModel):
        return _PRETRAINING if model.next_sentence else _MASKED_TOKENS
    return {Classifier: _CLASSES, TokenClassifier: _TOKEN_CLASSES, SpanClassifier: _ANSWERS}.get(type(model), _MODEL)


BERT_FAMILY = Family(
    supports=_supports,
    from_config=_from_config,
    to_config=_to_config,
    table=_table,
    example=_example,
    not_in_encoder="(head|next_sentence|pooler)/",
    model_inputs=("input_ids", "token_type_ids", "attention_mask"),
)
