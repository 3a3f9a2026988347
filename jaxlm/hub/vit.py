"""ViT of transformers: `ViTForImageClassification`, and `ViTModel` with its pooler as a `ViT` without classes."""

from typing import Any

import numpy as np

from jaxlm.errors import BadInput
from jaxlm.hub.mapping import CONV, LINEAR, Row, Table, each
from jaxlm.hub.options import Options, labels
from jaxlm.models.vit import ViT

ENCODER_LACKS = "(head|pre_head)/"

# Their names without "vit.", which stands before them where there are classes.
SELF = tuple(f"encoder.layer.{{}}.attention.attention.{part}" for part in ("query", "key", "value"))
LAYER = (
    Row("encoder.layer.{}.layernorm_before.weight", "block_{}/attention_norm/scale"),
    Row("encoder.layer.{}.layernorm_before.bias", "block_{}/attention_norm/bias"),
    Row(tuple(f"{name}.weight" for name in SELF), "block_{}/attention/qkv/kernel", LINEAR, (1, 1, 1)),
    Row("encoder.layer.{}.attention.output.dense.weight", "block_{}/attention/output/kernel", LINEAR),
    Row("encoder.layer.{}.attention.output.dense.bias", "block_{}/attention/output/bias"),
    Row("encoder.layer.{}.layernorm_after.weight", "block_{}/feed_forward_norm/scale"),
    Row("encoder.layer.{}.layernorm_after.bias", "block_{}/feed_forward_norm/bias"),
    Row("encoder.layer.{}.intermediate.dense.weight", "block_{}/feed_forward/up/kernel", LINEAR),
    Row("encoder.layer.{}.intermediate.dense.bias", "block_{}/feed_forward/up/bias"),
    Row("encoder.layer.{}.output.dense.weight", "block_{}/feed_forward/down/kernel", LINEAR),
    Row("encoder.layer.{}.output.dense.bias", "block_{}/feed_forward/down/bias"),
)
QKV_BIAS = (Row(tuple(f"{name}.bias" for name in SELF), "block_{}/attention/qkv/bias", parts=(1, 1, 1)),)
POOLER = (
    Row("pooler.dense.weight", "pre_head/kernel", LINEAR),
    Row("pooler.dense.bias", "pre_head/bias"),
)
CLASSIFIER = (
    Row("classifier.weight", "head/kernel", LINEAR),
    Row("classifier.bias", "head/bias"),
)
# Read from their names; the last of several of one meaning is written.
ACTIVATIONS = {"gelu_pytorch_tanh": "gelu", "gelu_fast": "gelu", "gelu_new": "gelu", "gelu": "gelu_exact"}
MODEL, CLASSES = "ViTModel", "ViTForImageClassification"


def table(model: ViT) -> Table:
    """Where the tensors lie."""
    height, width, channels = _image(model)
    tokens = 1 + (height // model.patch) * (width // model.patch)
    kernel = (model.width, channels, model.patch, model.patch)
    ends = (
        Row("embeddings.cls_token", "token"),
        Row("embeddings.position_embeddings", "position_embed/embedding", shape=(1, tokens, model.width)),
        Row("embeddings.patch_embeddings.projection.weight", "patch_embed/kernel", CONV, shape=kernel),
        Row("embeddings.patch_embeddings.projection.bias", "patch_embed/bias"),
        Row("layernorm.weight", "final_norm/scale"),
        Row("layernorm.bias", "final_norm/bias"),
    )
    rows = ends + each(model.depth, LAYER + (QKV_BIAS if model.qkv_bias else ()))
    if model.classes:
        return Table(tuple(row.under("vit.", "") for row in rows) + CLASSIFIER)
    return Table(rows + POOLER if model.representation else rows)


def example(model: ViT) -> tuple[Any, ...]:
    """One image."""
    return (np.zeros((1, *_image(model)), np.float32),)


def writes(model: Any) -> bool:
    """Whether a module of ours is of this family."""
    return isinstance(model, ViT)


def from_config(options: Options) -> ViT:
    """Our module."""
    kind = (options.peek("architectures") or [MODEL])[0]
    if kind not in (MODEL, CLASSES):
        raise options.refusal("architectures", [kind], (MODEL, CLASSES))
    image, patch = options.take("image_size", 224), options.take("patch_size", 16)
    high, wide = (image, image) if isinstance(image, int) else image
    if not isinstance(patch, int):
        if patch[0] != patch[1]:
            raise options.refusal("patch_size", patch, ("a square",))
        patch = patch[0]
    options.expect("pooler_act", "tanh")
    options.expect("pooler_output_size", options.peek("hidden_size"), None)
    classes = options.classes()
    # A ViTModel that was made without its pooler, as DINO's, says so by its tensors alone.
    bare = options.stores("layernorm.weight") and not options.stores("pooler.dense.weight")
    model = ViT(
        classes=classes if kind == CLASSES else 0,
        patch=patch,
        depth=options.take("num_hidden_layers"),
        width=options.take("hidden_size"),
        heads=options.take("num_attention_heads"),
        hidden=options.take("intermediate_size"),
        dropout=options.take("hidden_dropout_prob", 0.0),
        eps=options.take("layer_norm_eps", 1e-12),
        representation=kind == MODEL and not bare,
        activation=options.choose("hidden_act", ACTIVATIONS, "gelu"),
        qkv_bias=options.take("qkv_bias", True),
        image=(high, wide, options.take("num_channels", 3)),
    )
    options.finish("attention_probs_dropout_prob encoder_stride")
    return model


def to_config(model: ViT) -> dict[str, Any]:
    """Their config.json."""
    height, width, channels = _image(model)
    config = {
        "architectures": [CLASSES if model.classes else MODEL],
        "model_type": "vit",
        "dtype": "float32",
        "image_size": height if height == width else [height, width],
        "num_channels": channels,
        "patch_size": model.patch,
        "num_hidden_layers": model.depth,
        "hidden_size": model.width,
        "num_attention_heads": model.heads,
        "intermediate_size": model.hidden or 4 * model.width,
        "hidden_act": {ours: theirs for theirs, ours in ACTIVATIONS.items()}[model.activation],
        "hidden_dropout_prob": model.dropout,
        "attention_probs_dropout_prob": 0.0,
        "layer_norm_eps": model.eps,
        "qkv_bias": model.qkv_bias,
    }
    return config | (labels(model.classes) if model.classes else {})


def _image(model: ViT) -> tuple[int, int, int]:
    if model.image is None:
        raise BadInput("model.image is None: set it to the height, width and channels that the positions were made for")
    return model.image
