"""T5 of transformers, versions 1.0 and 1.1, and mT5: `T5ForConditionalGeneration` is a `T5`."""

from typing import Any

import numpy as np

from jaxlm.hub.family import Family
from jaxlm.hub.mapping import LINEAR, TensorRow, TensorTable, each
from jaxlm.hub.options import Options
from jaxlm.models.t5 import T5

# The layers of a block are numbered: self-attention, in a decoder cross-attention, feed-forward.
_ATTENTION = (
    TensorRow("block.{}.layer.0.layer_norm.weight", "block_{}/attention_norm/scale"),
    TensorRow("block.{}.layer.0.SelfAttention.q.weight", "block_{}/attention/query/kernel", LINEAR),
    TensorRow("block.{}.layer.0.SelfAttention.k.weight", "block_{}/attention/key/kernel", LINEAR),
    TensorRow("block.{}.layer.0.SelfAttention.v.weight", "block_{}/attention/value/kernel", LINEAR),
    TensorRow("block.{}.layer.0.SelfAttention.o.weight", "block_{}/attention/output/kernel", LINEAR),
)
_SOURCE_ATTENTION = (
    TensorRow("block.{}.layer.1.layer_norm.weight", "block_{}/source_norm/scale"),
    TensorRow("block.{}.layer.1.EncDecAttention.q.weight", "block_{}/source_attention/query/kernel", LINEAR),
    TensorRow("block.{}.layer.1.EncDecAttention.k.weight", "block_{}/source_attention/key/kernel", LINEAR),
    TensorRow("block.{}.layer.1.EncDecAttention.v.weight", "block_{}/source_attention/value/kernel", LINEAR),
    TensorRow("block.{}.layer.1.EncDecAttention.o.weight", "block_{}/source_attention/output/kernel", LINEAR),
)
_ENDS = (
    TensorRow("block.0.layer.0.SelfAttention.relative_attention_bias.weight", "positions/embedding"),
    TensorRow("final_layer_norm.weight", "final_norm/scale"),
)
_EMBEDDING = (TensorRow("shared.weight", "embed/embedding"),)
_UNTIED = (TensorRow("lm_head.weight", "head/kernel", LINEAR),)
_MAPS = {"relu": {"wi": "up", "wo": "down"}, "geglu": {"wi_0": "gate", "wi_1": "up", "wo": "down"}}  # feed-forward
_COPIES = dict.fromkeys(("encoder.embed_tokens.weight", "decoder.embed_tokens.weight"), "shared.weight")
# In the first files, and never used: cross-attention has no relative positions.
_UNUSED = (r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",)

_ACTIVATIONS = {"relu": "relu", "gated-gelu": "geglu"}
_ARCHITECTURES = ("T5ForConditionalGeneration", "T5WithLMHeadModel", "MT5ForConditionalGeneration")  # 2nd: an old name


def _table(model: T5) -> TensorTable:
    """Return the names and layouts of the tensors."""
    encoder = _ENDS + each(model.depth, _ATTENTION + _feed_forward(model, 1))
    layer = _ATTENTION + _SOURCE_ATTENTION + _feed_forward(model, 2)
    decoder = _ENDS + each(model.decoder_depth or model.depth, layer)
    stacks = {"encoder": encoder, "decoder": decoder}
    rows = tuple(row.under(f"{name}.", f"{name}/") for name, stack in stacks.items() for row in stack)
    if model.tied:
        return TensorTable(_EMBEDDING + rows, ignored=_UNUSED, copies=_COPIES | {"lm_head.weight": "shared.weight"})
    return TensorTable(_EMBEDDING + _UNTIED + rows, ignored=_UNUSED, copies=_COPIES)


def _feed_forward(model: T5, layer: int) -> tuple[TensorRow, ...]:
    at = f"block.{{}}.layer.{layer}"
    norm = TensorRow(f"{at}.layer_norm.weight", "block_{}/feed_forward_norm/scale")
    kernels = [
        TensorRow(f"{at}.DenseReluDense.{theirs}.weight", f"block_{{}}/feed_forward/{ours}/kernel", LINEAR)
        for theirs, ours in _MAPS[model.activation].items()
    ]
    return (norm, *kernels)


def _example(model: T5) -> tuple[Any, ...]:
    """Return one source token and one target token."""
    return np.zeros((1, 1), np.int32), np.zeros((1, 1), np.int32)


def _supports(model: Any) -> bool:
    """Return whether a module belongs to this family."""
    return isinstance(model, T5)


def _from_config(options: Options) -> T5:
    """Build the module."""
    kind = (options.peek("architectures") or [_ARCHITECTURES[0]])[0]
    if kind not in _ARCHITECTURES:
        raise options.refusal("architectures", [kind], _ARCHITECTURES)
    options.expect("is_encoder_decoder", True)
    options.expect("decoder_start_token_id", 0, None)
    # transformers 5 always writes tie_word_embeddings true, and the real value as scale_decoder_outputs
    tied = options.flag("scale_decoder_outputs", options.flag("tie_word_embeddings", True))
    tied = tied and options.peek("model_type") != "mt5"  # which has an output layer of its own whatever that says
    model = T5(
        vocab=options.size("vocab_size"),
        depth=options.layers("num_layers"),
        width=options.size("d_model"),
        heads=options.size("num_heads"),
        hidden=options.size("d_ff"),
        head_width=options.size("d_kv"),
        decoder_depth=options.layers("num_decoder_layers", None),
        activation=options.choose("feed_forward_proj", _ACTIVATIONS, "relu"),
        buckets=options.size("relative_attention_num_buckets"),
        reach=options.size("relative_attention_max_distance", 128, largest=2**20),
        dropout=options.number("dropout_rate", 0.1),
        tied=tied,
        eps=options.number("layer_norm_epsilon", 1e-6),
    )
    gated = (
        model.activation == "geglu"
    )  # transformers derives the two from feed_forward_proj, and lets them override it
    options.expect("is_gated_act", gated)
    options.expect("dense_act_fn", "gelu_new" if gated else "relu")
    options.finish("classifier_dropout n_positions output_past")
    return model


def _to_config(model: T5) -> dict[str, Any]:
    """Return the content of config.json."""
    return {
        "architectures": [_ARCHITECTURES[0]],
        "model_type": "t5",
        "dtype": "float32",
        "is_encoder_decoder": True,
        "vocab_size": model.vocab,
        "num_layers": model.depth,
        "num_decoder_layers": model.decoder_depth or model.depth,
        "d_model": model.width,
        "num_heads": model.heads,
        "d_ff": model.hidden,
        "d_kv": model.head_width,
        "feed_forward_proj": {ours: theirs for theirs, ours in _ACTIVATIONS.items()}[model.activation],
        "relative_attention_num_buckets": model.buckets,
        "relative_attention_max_distance": model.reach,
        "dropout_rate": model.dropout,
        "tie_word_embeddings": model.tied,
        "layer_norm_epsilon": model.eps,
        "decoder_start_token_id": 0,
        "pad_token_id": 0,
        "eos_token_id": 1,
    }


T5_FAMILY = Family(
    supports=_supports,
    from_config=_from_config,
    to_config=_to_config,
    table=_table,
    example=_example,
    not_in_encoder="(head|decoder)/",
    model_inputs=("input_ids", "attention_mask"),
)
