"""T5 of transformers, versions 1.0 and 1.1: `T5ForConditionalGeneration` is our `T5`."""

from typing import Any

import numpy as np

from jaxlm.hub.mapping import LINEAR, Row, Table, each
from jaxlm.hub.options import Options
from jaxlm.models.t5 import T5

ENCODER_LACKS = "(head|decoder)/"

# Layers of a block are numbered: attention, in a decoder attention to the source, feed-forward.
ATTENTION = (
    Row("block.{}.layer.0.layer_norm.weight", "block_{}/attention_norm/scale"),
    Row("block.{}.layer.0.SelfAttention.q.weight", "block_{}/attention/query/kernel", LINEAR),
    Row("block.{}.layer.0.SelfAttention.k.weight", "block_{}/attention/key/kernel", LINEAR),
    Row("block.{}.layer.0.SelfAttention.v.weight", "block_{}/attention/value/kernel", LINEAR),
    Row("block.{}.layer.0.SelfAttention.o.weight", "block_{}/attention/output/kernel", LINEAR),
)
SOURCE_ATTENTION = (
    Row("block.{}.layer.1.layer_norm.weight", "block_{}/source_norm/scale"),
    Row("block.{}.layer.1.EncDecAttention.q.weight", "block_{}/source_attention/query/kernel", LINEAR),
    Row("block.{}.layer.1.EncDecAttention.k.weight", "block_{}/source_attention/key/kernel", LINEAR),
    Row("block.{}.layer.1.EncDecAttention.v.weight", "block_{}/source_attention/value/kernel", LINEAR),
    Row("block.{}.layer.1.EncDecAttention.o.weight", "block_{}/source_attention/output/kernel", LINEAR),
)
ENDS = (
    Row("block.0.layer.0.SelfAttention.relative_attention_bias.weight", "positions/embedding"),
    Row("final_layer_norm.weight", "final_norm/scale"),
)
EMBEDDING = (Row("shared.weight", "embed/embedding"),)
UNTIED = (Row("lm_head.weight", "head/kernel", LINEAR),)
MAPS = {"relu": {"wi": "up", "wo": "down"}, "geglu": {"wi_0": "gate", "wi_1": "up", "wo": "down"}}  # feed-forward
COPIES = dict.fromkeys(("encoder.embed_tokens.weight", "decoder.embed_tokens.weight"), "shared.weight")
# In the first files, and never used: there is no distance between a target and a source.
UNUSED = (r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",)

ACTIVATIONS = {"relu": "relu", "gated-gelu": "geglu"}
ARCHITECTURES = ("T5ForConditionalGeneration", "T5WithLMHeadModel")  # the second is its first name


def table(model: T5) -> Table:
    """Where the tensors lie."""
    encoder = ENDS + each(model.depth, ATTENTION + _feed_forward(model, 1))
    layer = ATTENTION + SOURCE_ATTENTION + _feed_forward(model, 2)
    decoder = ENDS + each(model.decoder_depth or model.depth, layer)
    stacks = {"encoder": encoder, "decoder": decoder}
    rows = tuple(row.under(f"{name}.", f"{name}/") for name, stack in stacks.items() for row in stack)
    if model.tied:
        return Table(EMBEDDING + rows, ignored=UNUSED, copies=COPIES | {"lm_head.weight": "shared.weight"})
    return Table(EMBEDDING + UNTIED + rows, ignored=UNUSED, copies=COPIES)


def _feed_forward(model: T5, layer: int) -> tuple[Row, ...]:
    at = f"block.{{}}.layer.{layer}"
    norm = Row(f"{at}.layer_norm.weight", "block_{}/feed_forward_norm/scale")
    kernels = [
        Row(f"{at}.DenseReluDense.{theirs}.weight", f"block_{{}}/feed_forward/{ours}/kernel", LINEAR)
        for theirs, ours in MAPS[model.activation].items()
    ]
    return (norm, *kernels)


def example(model: T5) -> tuple[Any, ...]:
    """One token in, one token out."""
    return np.zeros((1, 1), np.int32), np.zeros((1, 1), np.int32)


def writes(model: Any) -> bool:
    """Whether a module of ours is of this family."""
    return isinstance(model, T5)


def from_config(options: Options) -> T5:
    """Our module."""
    kind = (options.peek("architectures") or [ARCHITECTURES[0]])[0]
    if kind not in ARCHITECTURES:
        raise options.refusal("architectures", [kind], ARCHITECTURES)
    options.expect("is_encoder_decoder", True)
    options.expect("decoder_start_token_id", 0, None)
    # transformers 5 writes tie_word_embeddings true into every file, and what it was as scale_decoder_outputs
    tied = options.take("scale_decoder_outputs", options.take("tie_word_embeddings", True))
    model = T5(
        vocab=options.take("vocab_size"),
        depth=options.take("num_layers"),
        width=options.take("d_model"),
        heads=options.take("num_heads"),
        hidden=options.take("d_ff"),
        head_width=options.take("d_kv"),
        decoder_depth=options.take("num_decoder_layers", None),
        activation=options.choose("feed_forward_proj", ACTIVATIONS, "relu"),
        buckets=options.take("relative_attention_num_buckets"),
        reach=options.take("relative_attention_max_distance", 128),
        dropout=options.take("dropout_rate", 0.1),
        tied=tied,
        eps=options.take("layer_norm_epsilon", 1e-6),
    )
    options.finish("classifier_dropout dense_act_fn is_gated_act n_positions output_past")
    return model


def to_config(model: T5) -> dict[str, Any]:
    """Their config.json."""
    return {
        "architectures": [ARCHITECTURES[0]],
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
        "feed_forward_proj": {ours: theirs for theirs, ours in ACTIVATIONS.items()}[model.activation],
        "relative_attention_num_buckets": model.buckets,
        "relative_attention_max_distance": model.reach,
        "dropout_rate": model.dropout,
        "tie_word_embeddings": model.tied,
        "layer_norm_epsilon": model.eps,
        "decoder_start_token_id": 0,
        "pad_token_id": 0,
        "eos_token_id": 1,
    }
