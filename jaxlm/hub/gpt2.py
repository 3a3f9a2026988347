"""GPT-2 of transformers: `GPT2LMHeadModel` is our `GPT` with learned positions."""

from typing import Any

import numpy as np

from jaxlm.hub.mapping import LINEAR, Row, Table, each
from jaxlm.hub.options import Options
from jaxlm.models.gpt import GPT

ENCODER_LACKS = "head/"

# Their Conv1D keeps [in, out], as we do, and c_attn holds queries, keys and values one after another, as ours.
LAYER = (
    Row("transformer.h.{}.ln_1.weight", "block_{}/attention_norm/scale"),
    Row("transformer.h.{}.ln_1.bias", "block_{}/attention_norm/bias"),
    Row("transformer.h.{}.attn.c_attn.weight", "block_{}/attention/qkv/kernel"),
    Row("transformer.h.{}.attn.c_attn.bias", "block_{}/attention/qkv/bias"),
    Row("transformer.h.{}.attn.c_proj.weight", "block_{}/attention/output/kernel"),
    Row("transformer.h.{}.attn.c_proj.bias", "block_{}/attention/output/bias"),
    Row("transformer.h.{}.ln_2.weight", "block_{}/feed_forward_norm/scale"),
    Row("transformer.h.{}.ln_2.bias", "block_{}/feed_forward_norm/bias"),
    Row("transformer.h.{}.mlp.c_fc.weight", "block_{}/feed_forward/up/kernel"),
    Row("transformer.h.{}.mlp.c_fc.bias", "block_{}/feed_forward/up/bias"),
    Row("transformer.h.{}.mlp.c_proj.weight", "block_{}/feed_forward/down/kernel"),
    Row("transformer.h.{}.mlp.c_proj.bias", "block_{}/feed_forward/down/bias"),
)
ENDS = (
    Row("transformer.wte.weight", "embed/embedding"),
    Row("transformer.wpe.weight", "position_embed/embedding"),
    Row("transformer.ln_f.weight", "final_norm/scale"),
    Row("transformer.ln_f.bias", "final_norm/bias"),
)
# Read from their names; the last of several of one meaning is written.
ACTIVATIONS = {
    "gelu_pytorch_tanh": "gelu",
    "gelu_fast": "gelu",
    "gelu_new": "gelu",
    "gelu": "gelu_exact",
    "relu": "relu",
}
MASKS = (r"transformer\.h\.\d+\.attn\.(masked_)?bias",)
TIED = {"lm_head.weight": "transformer.wte.weight"}
UNTIED = (Row("lm_head.weight", "head/kernel", LINEAR),)


def table(model: GPT) -> Table:
    """Where the tensors lie."""
    rows = ENDS + each(model.depth, LAYER)
    return Table(rows if model.tied else rows + UNTIED, "transformer.", MASKS, TIED if model.tied else {})


def example(model: GPT) -> tuple[Any, ...]:
    """One token."""
    return (np.zeros((1, 1), np.int32),)


def writes(model: Any) -> bool:
    """Whether a module of ours is of this family."""
    return isinstance(model, GPT) and model.positions == "learned"


def from_config(options: Options) -> GPT:
    """Our module."""
    options.expect("scale_attn_weights", True)
    options.expect("scale_attn_by_inverse_layer_idx", False)
    options.expect("reorder_and_upcast_attn", False, True)  # the softmax is in float32 here, always
    model = GPT(
        vocab=options.take("vocab_size"),
        depth=options.take("n_layer"),
        width=options.take("n_embd"),
        heads=options.take("n_head"),
        context=options.take("n_positions"),
        hidden=options.take("n_inner", None),
        activation=options.choose("activation_function", ACTIVATIONS, "gelu_new"),
        eps=options.take("layer_norm_epsilon", 1e-5),
        tied=options.take("tie_word_embeddings", True),
        dropout=options.take("resid_pdrop", 0.1),
    )
    options.finish(
        "attn_pdrop embd_pdrop n_ctx summary_activation summary_first_dropout summary_proj_to_labels summary_type "
        "summary_use_proj"
    )
    return model


def to_config(model: GPT) -> dict[str, Any]:
    """Their config.json."""
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "dtype": "float32",
        "vocab_size": model.vocab,
        "n_layer": model.depth,
        "n_embd": model.width,
        "n_head": model.heads,
        "n_positions": model.context,
        "n_inner": model.hidden,
        "activation_function": {ours: theirs for theirs, ours in ACTIVATIONS.items()}.get(model.activation, "gelu_new"),
        "layer_norm_epsilon": model.eps,
        "tie_word_embeddings": model.tied,
        "resid_pdrop": model.dropout,
        "embd_pdrop": model.dropout,
        "attn_pdrop": 0.0,
    }
