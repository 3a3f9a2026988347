"""ResNet of transformers: `ResNetForImageClassification` is our `ResNet` with the stem for photographs."""

from typing import Any

import numpy as np

from jaxlm.hub.mapping import CONV, LINEAR, Row, Table
from jaxlm.hub.options import Options, labels
from jaxlm.models.resnet import ResNet

ENCODER_LACKS = "head/"

HEAD = (
    Row("classifier.1.weight", "head/kernel", LINEAR),
    Row("classifier.1.bias", "head/bias"),
)
COUNTERS = (r".*\.num_batches_tracked",)  # of what PyTorch uses them for only where a norm has no momentum
ARCHITECTURE = "ResNetForImageClassification"


def table(model: ResNet) -> Table:
    """Where the tensors lie."""
    rows = unit("resnet.embedder.embedder", "stem", "stem_norm") + HEAD
    for stage, depth in enumerate(model.stages):
        for number in range(depth):
            theirs, ours = f"resnet.encoder.stages.{stage}.layers.{number}", f"stage_{stage}_block_{number}"
            for layer in range(3 if model.block == "bottleneck" else 2):
                rows += unit(f"{theirs}.layer.{layer}", f"{ours}/conv_{layer + 1}", f"{ours}/norm_{layer + 1}")
            if number == 0 and (stage or model.block == "bottleneck"):
                rows += unit(f"{theirs}.shortcut", f"{ours}/shortcut", f"{ours}/shortcut_norm")
    return Table(rows, ignored=COUNTERS)


def unit(theirs: str, conv: str, norm: str) -> tuple[Row, ...]:
    """A convolution and its norm."""
    return (
        Row(f"{theirs}.convolution.weight", f"{conv}/kernel", CONV),
        Row(f"{theirs}.normalization.weight", f"{norm}/scale"),
        Row(f"{theirs}.normalization.bias", f"{norm}/bias"),
        Row(f"{theirs}.normalization.running_mean", f"batch_stats/{norm}/mean"),
        Row(f"{theirs}.normalization.running_var", f"batch_stats/{norm}/var"),
    )


def example(model: ResNet) -> tuple[Any, ...]:
    """One image."""
    return (np.zeros((1, 32, 32, 3), np.float32),)


def writes(model: Any) -> bool:
    """Whether a module of ours is of this family."""
    return isinstance(model, ResNet)


def from_config(options: Options) -> ResNet:
    """Our module."""
    options.expect("architectures", [ARCHITECTURE])
    options.expect("num_channels", 3)
    options.expect("hidden_act", "relu")
    options.expect("downsample_in_first_stage", False)
    options.expect("downsample_in_bottleneck", False)
    model = ResNet(
        classes=options.classes(),
        stages=tuple(options.take("depths", (3, 4, 6, 3))),
        block=options.choose("layer_type", {"basic": "basic", "bottleneck": "bottleneck"}, "bottleneck"),
        width=options.take("embedding_size", 64),
    )
    options.expect("hidden_sizes", _widths(model))
    options.finish("out_features out_indices stage_names")
    return model


def to_config(model: ResNet) -> dict[str, Any]:
    """Their config.json."""
    return {
        "architectures": [ARCHITECTURE],
        "model_type": "resnet",
        "dtype": "float32",
        "num_channels": 3,
        "embedding_size": model.width,
        "depths": list(model.stages),
        "hidden_sizes": _widths(model),
        "layer_type": model.block,
        "hidden_act": "relu",
        "downsample_in_first_stage": False,
        "downsample_in_bottleneck": False,
        **labels(model.classes),
    }


def _widths(model: ResNet) -> list[int]:
    """What each stage gives."""
    return [model.width * 2**stage * (4 if model.block == "bottleneck" else 1) for stage in range(len(model.stages))]
