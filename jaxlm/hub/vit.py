"""ViT of transformers: `ViTForImageClassification`, and `ViTModel` with its pooler as a `ViT` without classes."""

from typing import Any

import jax
import numpy as np

from jaxlm.errors import BadInput
from jaxlm.hub.family import Family
from jaxlm.hub.mapping import CONV, LINEAR, TensorRow, TensorTable, each
from jaxlm.hub.options import Options
from jaxlm.models.vit import ViT

# Tensor names without "vit.", which comes before them where there are classes.
_SELF = tuple(f"encoder.layer.{{}}.attention.attention.{part}" for part in ("query", "key", "value"))
_LAYER = (
    TensorRow("encoder.layer.{}.layernorm_before.weight", "block_{}/attention_norm/scale"),
    TensorRow("encoder.layer.{}.layernorm_before.bias", "block_{}/attention_norm/bias"),
    TensorRow(tuple(f"{name}.weight" for name in _SELF), "block_{}/attention/qkv/kernel", LINEAR, (1, 1, 1)),
    TensorRow("encoder.layer.{}.attention.output.dense.weight", "block_{}/attention/output/kernel", LINEAR),
    TensorRow("encoder.layer.{}.attention.output.dense.bias", "block_{}/attention/output/bias"),
    TensorRow("encoder.layer.{}.layernorm_after.weight", "block_{}/feed_forward_norm/scale"),
    TensorRow("encoder.layer.{}.layernorm_after.bias", "block_{}/feed_forward_norm/bias"),
    TensorRow("encoder.layer.{}.intermediate.dense.weight", "block_{}/feed_forward/up/kernel", LINEAR),
    TensorRow("encoder.layer.{}.intermediate.dense.bias", "block_{}/feed_forward/up/bias"),
    TensorRow("encoder.layer.{}.output.dense.weight", "block_{}/feed_forward/down/kernel", LINEAR),
    TensorRow("encoder.layer.{}.output.dense.bias", "block_{}/feed_forward/down/bias"),
)
_QKV_BIAS = (TensorRow(tuple(f"{name}.bias" for name in _SELF), "block_{}/attention/qkv/bias", parts=(1, 1, 1)),)
_POOLER = (
    TensorRow("pooler.dense.weight", "pre_head/kernel", LINEAR),
    TensorRow("pooler.dense.bias", "pre_head/bias"),
)
_CLASSIFIER = (
    TensorRow("classifier.weight", "head/kernel", LINEAR),
    TensorRow("classifier.bias", "head/bias"),
)
# Several names of one activation are read; the last one is written.
_ACTIVATIONS = {"gelu_pytorch_tanh": "gelu", "gelu_fast": "gelu", "gelu_new": "gelu", "gelu": "gelu_exact"}
_MODEL, _CLASSES = "ViTModel", "ViTForImageClassification"


def _table(model: ViT) -> TensorTable:
    """Return the names and layouts of the tensors."""
    height, width, channels = _image(model)
    tokens = 1 + (height // model.patch) * (width // model.patch)
    kernel = (model.width, channels, model.patch, model.patch)
    ends = (
        TensorRow("embeddings.cls_token", "token"),
        TensorRow("embeddings.position_embeddings", "position_embed/embedding", shape=(1, tokens, model.width)),
        TensorRow("embeddings.patch_embeddings.projection.weight", "patch_embed/kernel", CONV, shape=kernel),
        TensorRow("embeddings.patch_embeddings.projection.bias", "patch_embed/bias"),
        TensorRow("layernorm.weight", "final_norm/scale"),
        TensorRow("layernorm.bias", "final_norm/bias"),
    )
    rows = ends + each(model.depth, _LAYER + (_QKV_BIAS if model.qkv_bias else ()))
    if model.classes:
        return TensorTable(tuple(row.under("vit.", "") for row in rows) + _CLASSIFIER)
    return TensorTable(rows + _POOLER if model.representation else rows)


def _example(model: ViT) -> tuple[Any, ...]:
    """Return one image."""
    return (jax.ShapeDtypeStruct((1, *_image(model)), np.float32),)


def _supports(model: Any) -> bool:
    """Return whether a module belongs to this family."""
    return isinstance(model, ViT)


def _from_config(options: Options) -> ViT:
    """Build the module."""
    kind = (options.peek("architectures") or [_MODEL])[0]
    if kind not in (_MODEL, _CLASSES):
        raise options.refusal("architectures", [kind], (_MODEL, _CLASSES))
    high, wide = _sides(options, "image_size", 224)
    patch, across = _sides(options, "patch_size", 16)
    if patch != across:
        raise options.refusal("patch_size", [patch, across], ("a square",))
    options.expect("pooler_act", "tanh")
    options.expect("pooler_output_size", options.peek("hidden_size"), None)
    # The config.json of a ViTModel does not say whether it has a pooler (DINO's has none); its tensors do.
    bare = options.stores("layernorm.weight") and not options.stores("pooler.dense.weight")
    model = ViT(
        classes=len(options.class_names()) if kind == _CLASSES else 0,
        patch=patch,
        depth=options.layers("num_hidden_layers"),
        width=options.size("hidden_size"),
        heads=options.size("num_attention_heads"),
        hidden=options.size("intermediate_size"),
        dropout=options.number("hidden_dropout_prob", 0.0),
        eps=options.number("layer_norm_eps", 1e-12),
        representation=kind == _MODEL and not bare,
        activation=options.choose("hidden_act", _ACTIVATIONS, "gelu"),
        qkv_bias=options.flag("qkv_bias", True),
        image=(high, wide, options.size("num_channels", 3)),
    )
    options.finish("attention_probs_dropout_prob encoder_stride")
    return model


def _sides(options: Options, name: str, default: int) -> tuple[int, int]:
    """Return height and width of an option that is one number for both, or a list of the two."""
    value = options.peek(name, default)
    sides = value if isinstance(value, list) and len(value) == 2 else [value, value]
    high, wide = (Options({name: side}, options.where).size(name) for side in sides)
    options.take(name, default)
    return high, wide


def _to_config(model: ViT) -> dict[str, Any]:
    """Return the content of config.json."""
    height, width, channels = _image(model)
    return {
        "architectures": [_CLASSES if model.classes else _MODEL],
        "model_type": "vit",
        "dtype": "float32",
        "image_size": height if height == width else [height, width],
        "num_channels": channels,
        "patch_size": model.patch,
        "num_hidden_layers": model.depth,
        "hidden_size": model.width,
        "num_attention_heads": model.heads,
        "intermediate_size": model.hidden or 4 * model.width,
        "hidden_act": {ours: theirs for theirs, ours in _ACTIVATIONS.items()}[model.activation],
        "hidden_dropout_prob": model.dropout,
        "attention_probs_dropout_prob": 0.0,
        "layer_norm_eps": model.eps,
        "qkv_bias": model.qkv_bias,
    }


def _image(model: ViT) -> tuple[int, int, int]:
    if model.image is None:
        raise BadInput("model.image is None: set it to the height, width and channels that the positions were made for")
    return model.image


VIT_FAMILY = Family(
    supports=_supports,
    from_config=_from_config,
    to_config=_to_config,
    table=_table,
    example=_example,
    not_in_encoder="(head|pre_head)/",
)
