"""GPT-2 of transformers: `GPT2LMHeadModel` is a `GPT` with learned positions."""

from typing import Any

import numpy as np

from jaxlm.hub.family import Family
from jaxlm.hub.mapping import LINEAR, TensorRow, TensorTable, each
from jaxlm.hub.options import Options
from jaxlm.models.gpt import GPT

# Conv1D stores [in, out], as jaxlm does, and c_attn has queries, keys and values in jaxlm's order.
_LAYER = (
    TensorRow("transformer.h.{}.ln_1.weight", "block_{}/attention_norm/scale"),
    TensorRow("transformer.h.{}.ln_1.bias", "block_{}/attention_norm/bias"),
    TensorRow("transformer.h.{}.attn.c_attn.weight", "block_{}/attention/qkv/kernel"),
    TensorRow("transformer.h.{}.attn.c_attn.bias", "block_{}/attention/qkv/bias"),
    TensorRow("transformer.h.{}.attn.c_proj.weight", "block_{}/attention/output/kernel"),
    TensorRow("transformer.h.{}.attn.c_proj.bias", "block_{}/attention/output/bias"),
    TensorRow("transformer.h.{}.ln_2.weight", "block_{}/feed_forward_norm/scale"),
    TensorRow("transformer.h.{}.ln_2.bias", "block_{}/feed_forward_norm/bias"),
    TensorRow("transformer.h.{}.mlp.c_fc.weight", "block_{}/feed_forward/up/kernel"),
    TensorRow("transformer.h.{}.mlp.c_fc.bias", "block_{}/feed_forward/up/bias"),
    TensorRow("transformer.h.{}.mlp.c_proj.weight", "block_{}/feed_forward/down/kernel"),
    TensorRow("transformer.h.{}.mlp.c_proj.bias", "block_{}/feed_forward/down/bias"),
)
_ENDS = (
    TensorRow("transformer.wte.weight", "embed/embedding"),
    TensorRow("transformer.wpe.weight", "position_embed/embedding"),
    TensorRow("transformer.ln_f.weight", "final_norm/scale"),
    TensorRow("transformer.ln_f.bias", "final_norm/bias"),
)
# Several names of one activation are read; the last one is written.
_ACTIVATIONS = {
    "gelu_pytorch_tanh": "gelu",
    "gelu_fast": "gelu",
    "gelu_new": "gelu",
    "gelu": "gelu_exact",
    "relu": "relu",
}
_MASKS = (r"transformer\.h\.\d+\.attn\.(masked_)?bias",)
_TIED = {"lm_head.weight": "transformer.wte.weight"}
_UNTIED = (TensorRow("lm_head.weight", "head/kernel", LINEAR),)


def _table(model: GPT) -> TensorTable:
    """Return the names and layouts of the tensors."""
    rows = _ENDS + each(model.depth, _LAYER)
    return TensorTable(rows if model.tied else rows + _UNTIED, "transformer.", _MASKS, _TIED if model.tied else {})


def _example(model: GPT) -> tuple[Any, ...]:
    """Return one token."""
    return (np.zeros((1, 1), np.int32),)


def _supports(model: Any) -> bool:
    """Return whether a module belongs to this family."""
    return isinstance(model, GPT) and model.positions == "learned"


def _from_config(options: Options) -> GPT:
    """Build the module."""
    options.expect("scale_attn_weights", True)
    options.expect("scale_attn_by_inverse_layer_idx", False)
    options.expect("reorder_and_upcast_attn", False, True)  # the softmax is always in float32
    model = GPT(
        vocab=options.size("vocab_size"),
        depth=options.layers("n_layer"),
        width=options.size("n_embd"),
        heads=options.size("n_head"),
        context=options.size("n_positions"),
        hidden=options.size("n_inner", None),
        activation=options.choose("activation_function", _ACTIVATIONS, "gelu_new"),
        eps=options.number("layer_norm_epsilon", 1e-5),
        tied=options.flag("tie_word_embeddings", True),
        dropout=options.number("resid_pdrop", 0.1),
    )
    options.finish(
        "attn_pdrop embd_pdrop n_ctx summary_activation summary_first_dropout summary_proj_to_labels summary_type "
        "summary_use_proj"
    )
    return model


def _to_config(model: GPT) -> dict[str, Any]:
    """Return the content of config.json."""
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
        "activation_function": {ours: theirs for theirs, ours in _ACTIVATIONS.items()}.get(
            model.activation, "gelu_new"
        ),
        "layer_norm_epsilon": model.eps,
        "tie_word_embeddings": model.tied,
        "resid_pdrop": model.dropout,
        "embd_pdrop": model.dropout,
        "attn_pdrop": 0.0,
    }


GPT2_FAMILY = Family(
    supports=_supports,
    from_config=_from_config,
    to_config=_to_config,
    table=_table,
    example=_example,
    not_in_encoder="head/",
    model_inputs=("input_ids", "attention_mask"),
)
