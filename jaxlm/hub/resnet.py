"""ResNet of transformers: `ResNetForImageClassification` is a `ResNet` with the stem for photographs."""

from typing import Any

import numpy as np

from jaxlm.hub.family import Family
from jaxlm.hub.mapping import CONV, LINEAR, TensorRow, TensorTable
from jaxlm.hub.options import Options
from jaxlm.models.resnet import ResNet

_HEAD = (
    TensorRow("classifier.1.weight", "head/kernel", LINEAR),
    TensorRow("classifier.1.bias", "head/bias"),
)
_COUNTERS = (r".*\.num_batches_tracked",)  # used by PyTorch only for a norm without momentum
_ARCHITECTURE = "ResNetForImageClassification"


def _table(model: ResNet) -> TensorTable:
    """Return the names and layouts of the tensors."""
    rows = _unit("resnet.embedder.embedder", "stem", "stem_norm") + _HEAD
    for stage, depth in enumerate(model.stages):
        for number in range(depth):
            theirs, ours = f"resnet.encoder.stages.{stage}.layers.{number}", f"stage_{stage}_block_{number}"
            for layer in range(3 if model.block == "bottleneck" else 2):
                rows += _unit(f"{theirs}.layer.{layer}", f"{ours}/conv_{layer + 1}", f"{ours}/norm_{layer + 1}")
            if number == 0 and (stage or model.block == "bottleneck"):
                rows += _unit(f"{theirs}.shortcut", f"{ours}/shortcut", f"{ours}/shortcut_norm")
    return TensorTable(rows, ignored=_COUNTERS)


def _unit(theirs: str, conv: str, norm: str) -> tuple[TensorRow, ...]:
    """Return the rows of a convolution and its norm."""
    return (
        TensorRow(f"{theirs}.convolution.weight", f"{conv}/kernel", CONV),
        TensorRow(f"{theirs}.normalization.weight", f"{norm}/scale"),
        TensorRow(f"{theirs}.normalization.bias", f"{norm}/bias"),
        TensorRow(f"{theirs}.normalization.running_mean", f"batch_stats/{norm}/mean"),
        TensorRow(f"{theirs}.normalization.running_var", f"batch_stats/{norm}/var"),
    )


def _example(model: ResNet) -> tuple[Any, ...]:
    """Return one image."""
    return (np.zeros((1, 32, 32, 3), np.float32),)


def _supports(model: Any) -> bool:
    """Return whether a module belongs to this family."""
    return isinstance(model, ResNet)


def _from_config(options: Options) -> ResNet:
    """Build the module."""
    options.expect("architectures", [_ARCHITECTURE])
    options.expect("num_channels", 3)
    options.expect("hidden_act", "relu")
    options.expect("downsample_in_first_stage", False)
    options.expect("downsample_in_bottleneck", False)
    model = ResNet(
        classes=len(options.class_names()),
        stages=options.stages("depths", (3, 4, 6, 3)),
        block=options.choose("layer_type", {"basic": "basic", "bottleneck": "bottleneck"}, "bottleneck"),
        width=options.size("embedding_size", 64),
    )
    options.expect("hidden_sizes", _widths(model))
    options.finish("out_features out_indices stage_names")
    return model


def _to_config(model: ResNet) -> dict[str, Any]:
    """Return the content of config.json."""
    return {
        "architectures": [_ARCHITECTURE],
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
    }


def _widths(model: ResNet) -> list[int]:
    """Return the output channels of each stage."""
    return [model.width * 2**stage * (4 if model.block == "bottleneck" else 1) for stage in range(len(model.stages))]


RESNET_FAMILY = Family(
    supports=_supports,
    from_config=_from_config,
    to_config=_to_config,
    table=_table,
    example=_example,
    not_in_encoder="head/",
)
