"""Llama, Mistral and Qwen2 of transformers: our `GPT` with rotary positions, RMSNorm and SwiGLU."""

from typing import Any

import numpy as np

from jaxlm.hub.mapping import LINEAR, Row, Table, each
from jaxlm.hub.options import Options
from jaxlm.models.gpt import GPT
from jaxlm.nn.position import RotaryScaling

ENCODER_LACKS = "head/"

ATTENTION = "model.layers.{}.self_attn."
QKV = tuple(f"{ATTENTION}{part}_proj" for part in "qkv")
MLP = "model.layers.{}.mlp."

LAYER = (
    Row("model.layers.{}.input_layernorm.weight", "block_{}/attention_norm/scale"),
    Row(f"{ATTENTION}o_proj.weight", "block_{}/attention/output/kernel", LINEAR),
    Row("model.layers.{}.post_attention_layernorm.weight", "block_{}/feed_forward_norm/scale"),
    Row(f"{MLP}gate_proj.weight", "block_{}/feed_forward/gate/kernel", LINEAR),
    Row(f"{MLP}up_proj.weight", "block_{}/feed_forward/up/kernel", LINEAR),
    Row(f"{MLP}down_proj.weight", "block_{}/feed_forward/down/kernel", LINEAR),
)
OUTPUT_BIAS = (Row(f"{ATTENTION}o_proj.bias", "block_{}/attention/output/bias"),)
MLP_BIAS = (
    Row(f"{MLP}gate_proj.bias", "block_{}/feed_forward/gate/bias"),
    Row(f"{MLP}up_proj.bias", "block_{}/feed_forward/up/bias"),
    Row(f"{MLP}down_proj.bias", "block_{}/feed_forward/down/bias"),
)
ENDS = (
    Row("model.embed_tokens.weight", "embed/embedding"),
    Row("model.norm.weight", "final_norm/scale"),
)
UNTIED = (Row("lm_head.weight", "head/kernel", LINEAR),)
TIED = {"lm_head.weight": "model.embed_tokens.weight"}
ANGLES = (r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq",)  # computed from the config


def table(model: GPT) -> Table:
    """Where the tensors lie. Their queries, keys and values are apart, and ours are one kernel."""
    kv_heads, has_bias = model.kv_heads or model.heads, _attention_bias(model)
    parts = (model.heads, kv_heads, kv_heads)
    layer = [*LAYER, Row(tuple(f"{name}.weight" for name in QKV), "block_{}/attention/qkv/kernel", LINEAR, parts)]
    if has_bias != "none":
        layer += [Row(tuple(f"{name}.bias" for name in QKV), "block_{}/attention/qkv/bias", parts=parts)]
    if has_bias == "all":
        layer += OUTPUT_BIAS
    if model.bias:
        layer += MLP_BIAS
    rows = ENDS + each(model.depth, layer) + (() if model.tied else UNTIED)
    return Table(rows, "model.", ANGLES, TIED if model.tied else {})


def example(model: GPT) -> tuple[Any, ...]:
    """One token."""
    return (np.zeros((1, 1), np.int32),)


def writes(model: Any) -> bool:
    """Whether a module of ours is of this family."""
    return isinstance(model, GPT) and model.positions == "rotary"


def from_config(options: Options) -> GPT:
    """Our module."""
    kind = options.take("model_type")
    base, scaling = _rotary(options)
    options.expect("hidden_act", "silu")
    width, heads = options.take("hidden_size"), options.take("num_attention_heads")
    head_width = options.take("head_dim", None)
    model = GPT(
        vocab=options.take("vocab_size"),
        depth=options.take("num_hidden_layers"),
        width=width,
        heads=heads,
        context=options.take("max_position_embeddings"),
        kv_heads=options.take("num_key_value_heads", heads),
        head_width=None if head_width is None or head_width * heads == width else head_width,
        hidden=options.take("intermediate_size"),
        norm="rms",
        activation="swiglu",
        positions="rotary",
        eps=options.take("rms_norm_eps", 1e-6),
        tied=options.take("tie_word_embeddings", False),
        bias=kind == "llama" and options.take("mlp_bias", False),
        attention_bias="qkv" if kind == "qwen2" else _bias(options, kind),
        window=_window(options, kind),
        rotary_base=base,
        rotary_scaling=scaling,
    )
    if kind == "llama":
        options.expect("pretraining_tp", 1, *range(2, 65))  # how a matrix product was cut, and not what it gives
    options.finish("attention_dropout max_window_layers" if kind == "qwen2" else "attention_dropout")
    return model


def to_config(model: GPT) -> dict[str, Any]:
    """Their config.json."""
    biased = _attention_bias(model)
    kind = "qwen2" if biased == "qkv" else "llama" if model.window is None else "mistral"
    rotary: dict[str, Any] = {"rope_type": "default", "rope_theta": model.rotary_base}
    if (scaling := model.rotary_scaling) is not None:
        rotary |= {"rope_type": "llama3", "factor": scaling.factor, "low_freq_factor": scaling.low}
        rotary |= {"high_freq_factor": scaling.high, "original_max_position_embeddings": scaling.original}
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
        "rope_parameters": rotary,
    }
    if kind == "llama":
        return config | {"attention_bias": biased == "all", "mlp_bias": model.bias}
    if kind == "mistral":
        return config | {"sliding_window": model.window}
    layers = ["full_attention" if model.window is None else "sliding_attention"] * model.depth
    windows = {"use_sliding_window": model.window is not None, "sliding_window": model.window, "max_window_layers": 0}
    return config | windows | {"layer_types": layers}


def _attention_bias(model: GPT) -> str:
    return model.attention_bias or ("all" if model.bias else "none")


def _bias(options: Options, kind: str) -> Any:
    return "all" if kind == "llama" and options.take("attention_bias", False) else "none"


def _window(options: Options, kind: str) -> int | None:
    """How many tokens attention sees, of all layers alike."""
    if kind == "llama":
        return None
    window = options.take("sliding_window", 4096 if kind == "mistral" else None)
    if kind == "mistral":
        return window
    sliding = options.take("use_sliding_window", False)
    kinds = options.take("layer_types", None)
    if kinds is None:  # older files
        depth = options.peek("num_hidden_layers")
        first = options.peek("max_window_layers", 28) if sliding else depth
        kinds = ["full_attention"] * min(first, depth) + ["sliding_attention"] * max(0, depth - first)
    if len(set(kinds)) > 1:
        raise options.refusal("layer_types", kinds, ("one kind of attention in all layers",))
    return window if kinds[0] == "sliding_attention" else None


def _rotary(options: Options) -> tuple[float, RotaryScaling | None]:
    """Base and scaling, from the one place where transformers 5 writes them or the two of earlier versions."""
    older = options.take("rope_scaling", None)
    rotary = options.take("rope_parameters", None) or older or {}
    base = rotary.get("rope_theta", options.take("rope_theta", 10000.0))
    kind = rotary.get("rope_type", rotary.get("type", "default"))
    if kind == "default":
        return float(base), None
    if kind != "llama3":
        raise options.refusal("rope_type", kind, ("default", "llama3"))
    names = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
    return float(base), RotaryScaling(*(rotary[name] for name in names))
