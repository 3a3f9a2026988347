"""Llama, Mistral and Qwen2 of transformers: a `GPT` with rotary positions, RMSNorm and SwiGLU."""

from typing import Any

import numpy as np

from jaxlm.errors import BadInput
from jaxlm.hub.family import Family
from jaxlm.hub.mapping import LINEAR, TensorRow, TensorTable, each
from jaxlm.hub.options import Options
from jaxlm.models.gpt import GPT
from jaxlm.nn.position import RotaryScaling

_ATTENTION = "model.layers.{}.self_attn."
_QKV = tuple(f"{_ATTENTION}{part}_proj" for part in "qkv")
_MLP = "model.layers.{}.mlp."

_LAYER = (
    TensorRow("model.layers.{}.input_layernorm.weight", "block_{}/attention_norm/scale"),
    TensorRow(f"{_ATTENTION}o_proj.weight", "block_{}/attention/output/kernel", LINEAR),
    TensorRow("model.layers.{}.post_attention_layernorm.weight", "block_{}/feed_forward_norm/scale"),
    TensorRow(f"{_MLP}gate_proj.weight", "block_{}/feed_forward/gate/kernel", LINEAR),
    TensorRow(f"{_MLP}up_proj.weight", "block_{}/feed_forward/up/kernel", LINEAR),
    TensorRow(f"{_MLP}down_proj.weight", "block_{}/feed_forward/down/kernel", LINEAR),
)
_OUTPUT_BIAS = (TensorRow(f"{_ATTENTION}o_proj.bias", "block_{}/attention/output/bias"),)
_MLP_BIAS = (
    TensorRow(f"{_MLP}gate_proj.bias", "block_{}/feed_forward/gate/bias"),
    TensorRow(f"{_MLP}up_proj.bias", "block_{}/feed_forward/up/bias"),
    TensorRow(f"{_MLP}down_proj.bias", "block_{}/feed_forward/down/bias"),
)
_ENDS = (
    TensorRow("model.embed_tokens.weight", "embed/embedding"),
    TensorRow("model.norm.weight", "final_norm/scale"),
)
_BASE = 10000.0  # of the angles, where a file has none
_FULL, _SLIDING = "full_attention", "sliding_attention"
_UNTIED = (TensorRow("lm_head.weight", "head/kernel", LINEAR),)
_TIED = {"lm_head.weight": "model.embed_tokens.weight"}
_ANGLES = (r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq",)  # computed from the config


def _table(model: GPT) -> TensorTable:
    """Return the names and layouts of the tensors; the separate queries, keys and values become one kernel."""
    kv_heads, has_bias = model.kv_heads or model.heads, _attention_bias(model)
    parts = (model.heads, kv_heads, kv_heads)
    layer = [
        *_LAYER,
        TensorRow(tuple(f"{name}.weight" for name in _QKV), "block_{}/attention/qkv/kernel", LINEAR, parts),
    ]
    if has_bias != "none":
        layer += [TensorRow(tuple(f"{name}.bias" for name in _QKV), "block_{}/attention/qkv/bias", parts=parts)]
    if has_bias == "all":
        layer += _OUTPUT_BIAS
    if model.bias:
        layer += _MLP_BIAS
    rows = _ENDS + each(model.depth, layer) + (() if model.tied else _UNTIED)
    return TensorTable(rows, "model.", _ANGLES, _TIED if model.tied else {})


def _example(model: GPT) -> tuple[Any, ...]:
    """Return one token."""
    return (np.zeros((1, 1), np.int32),)


def _supports(model: Any) -> bool:
    """Return whether a module belongs to this family."""
    return isinstance(model, GPT) and model.positions == "rotary"


def _from_config(options: Options) -> GPT:
    """Build the module."""
    kind = options.take("model_type")
    base, scaling = _rotary(options)
    options.expect("hidden_act", "silu")
    width, heads = options.size("hidden_size"), options.size("num_attention_heads")
    head_width = options.size("head_dim", None)
    model = GPT(
        vocab=options.size("vocab_size"),
        depth=options.layers("num_hidden_layers"),
        width=width,
        heads=heads,
        context=options.size("max_position_embeddings"),
        kv_heads=options.size("num_key_value_heads", None) or heads,
        head_width=None if head_width is None or head_width * heads == width else head_width,
        hidden=options.size("intermediate_size"),
        norm="rms",
        activation="swiglu",
        positions="rotary",
        eps=options.number("rms_norm_eps", 1e-6),
        tied=options.flag("tie_word_embeddings", False),
        bias=kind == "llama" and options.flag("mlp_bias", False),
        attention_bias="qkv" if kind == "qwen2" else _bias(options, kind),
        window=_window(options, kind),
        rotary_base=base,
        rotary_scaling=scaling,
    )
    if kind == "llama":
        options.expect("pretraining_tp", 1, *range(2, 65))  # how a matrix product was split, not its result
    options.finish("attention_dropout max_window_layers" if kind == "qwen2" else "attention_dropout")
    return model


def _to_config(model: GPT) -> dict[str, Any]:
    """Return the content of config.json."""
    biased = _attention_bias(model)
    kind = "qwen2" if biased == "qkv" else "llama" if model.window is None else "mistral"
    config = {
        "architectures": [{"llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2"}[kind] + "ForCausalLM"],
        "model_type": kind,
        "dtype": "float32",
        "vocab_size": model.vocab,
        "num_hidden_layers": model.depth,
        "hidden_size": model.width,
        "num_attention_heads": model.heads,
        "num_key_value_heads": model.kv_heads or model.heads,
        "head_dim": model.head_width or model.width // model.heads,
        "max_position_embeddings": model.context,
        "intermediate_size": model.hidden or 4 * model.width,
        "hidden_act": "silu",
        "rms_norm_eps": model.eps,
        "tie_word_embeddings": model.tied,
        **_rotary_options(model),
    }
    if kind == "llama":
        return config | {"attention_bias": biased == "all", "mlp_bias": model.bias}
    if kind == "mistral":
        return config | {"sliding_window": model.window}
    layers = [_FULL if model.window is None else _SLIDING] * model.depth
    windows = {"use_sliding_window": model.window is not None, "sliding_window": model.window, "max_window_layers": 0}
    return config | windows | {"layer_types": layers}


def _attention_bias(model: GPT) -> str:
    return model.attention_bias or ("all" if model.bias else "none")


def _bias(options: Options, kind: str) -> Any:
    return "all" if kind == "llama" and options.flag("attention_bias", False) else "none"


def _window(options: Options, kind: str) -> int | None:
    """Return the attention window of all layers; one that differs between layers is refused."""
    if kind == "llama":
        return None
    if kind == "mistral":
        return options.size("sliding_window", 4096, null=True)
    depth, slides = options.layers("num_hidden_layers"), options.flag("use_sliding_window", False)
    window = options.size("sliding_window", 4096, null=True)
    first = options.take("max_window_layers", 28)
    kinds = options.take("layer_types", None)
    if kinds is None:  # older files
        full = min(first, depth) if slides and window is not None else depth
        kinds = [_FULL] * full + [_SLIDING] * (depth - full)
    if kinds == [_FULL] * depth:
        return None
    if kinds != [_SLIDING] * depth or not slides:
        raise options.refusal("layer_types", kinds, (f"{_FULL} in all layers", f"{_SLIDING} with use_sliding_window"))
    return window


def _rotary(options: Options) -> tuple[float, RotaryScaling | None]:
    """Read base and scaling, from `rope_parameters` of transformers 5 and from the two options of earlier versions.

    Where a file has both they have to agree: each version reads another one.
    """
    base = options.number("rope_theta", None)
    found = {
        name: _read_rotary(Options(values, f"{name} of {options.where}"), base)
        for name in ("rope_parameters", "rope_scaling")
        if (values := options.take(name, None))
    }
    read = list(found.values()) or [(base or _BASE, None)]
    if read[0] != read[-1] or base not in (None, read[0][0]):
        raise BadInput(
            f"{options.where} has rope_parameters {options.peek('rope_parameters')}, rope_scaling "
            f"{options.peek('rope_scaling')} and rope_theta {base}, which versions of transformers read otherwise: "
            "keep the one that the weights were trained with"
        )
    return read[0]


def _read_rotary(options: Options, base: float | None) -> tuple[float, RotaryScaling | None]:
    """Read base and scaling of one dictionary; every entry of it is read or refused."""
    theta = options.number("rope_theta", base or _BASE)
    kind = options.choose("rope_type", {"default": "default", "llama3": "llama3"}, options.peek("type", "default"))
    options.expect("type", kind)
    names = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
    scaling = RotaryScaling(*(options.number(name) for name in names)) if kind == "llama3" else None
    options.finish()
    return float(theta), scaling


def _rotary_options(model: GPT) -> dict[str, Any]:
    """Return base and scaling as transformers 5 reads them (`rope_parameters`), and as earlier versions do."""
    scaling = None
    if (given := model.rotary_scaling) is not None:
        scaling = {"rope_type": "llama3", "factor": given.factor, "low_freq_factor": given.low}
        scaling |= {"high_freq_factor": given.high, "original_max_position_embeddings": given.original}
    newer = {"rope_theta": model.rotary_base, **(scaling or {"rope_type": "default"})}
    return {"rope_parameters": newer, "rope_theta": model.rotary_base, "rope_scaling": scaling}


LLAMA_FAMILY = Family(
    supports=_supports,
    from_config=_from_config,
    to_config=_to_config,
    table=_table,
    example=_example,
    not_in_encoder="head/",
    model_inputs=("input_ids", "attention_mask"),
)
