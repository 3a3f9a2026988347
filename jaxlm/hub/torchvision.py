"""Residual networks in PyTorch's names, as torchvision and the common CIFAR models have them, from safetensors."""

import re
from pathlib import Path

import numpy as np

from jaxlm.errors import BadInput
from jaxlm.hub.tensors import Tensors

# A layer of theirs, as a regular expression, and the same layer here. Stages are numbered from 1 there and 0 here.
LAYERS = (
    (r"conv1", "stem"),
    (r"bn1", "stem_norm"),
    (r"layer(\d+)\.(\d+)\.conv(\d+)", "stage_{0}_block_{1}/conv_{2}"),
    (r"layer(\d+)\.(\d+)\.bn(\d+)", "stage_{0}_block_{1}/norm_{2}"),
    (r"layer(\d+)\.(\d+)\.(?:downsample|shortcut)\.0", "stage_{0}_block_{1}/shortcut"),
    (r"layer(\d+)\.(\d+)\.(?:downsample|shortcut)\.1", "stage_{0}_block_{1}/shortcut_norm"),
    (r"fc|linear", "head"),
)
# Axes of a layer's weight -> its name here, and its axes in our order (None: as they are).
WEIGHTS = {4: ("params", "kernel", (2, 3, 1, 0)), 2: ("params", "kernel", (1, 0)), 1: ("params", "scale", None)}
VECTORS = {
    "bias": ("params", "bias"),
    "running_mean": ("batch_stats", "mean"),
    "running_var": ("batch_stats", "var"),
}


def read_resnet(path: str | Path) -> dict[str, np.ndarray]:
    """The leaves of a ResNet's safetensors file, by our path: "params/stem/kernel", "batch_stats/stem_norm/mean", ...

    Raises:
        BadInput: no such file, no safetensors file, or a tensor that no layer of a ResNet has.
    """
    return dict(translate(name, tensor, path) for name, tensor in _tensors(path).items())


def _tensors(path: str | Path) -> dict[str, np.ndarray]:
    return {name: tensor for name, tensor in Tensors(path).items() if not name.endswith("num_batches_tracked")}


def translate(name: str, tensor: np.ndarray, path: str | Path) -> tuple[str, np.ndarray]:
    """One tensor under our path, with its axes in our order; `path` is for the message of a BadInput."""
    layer, _, kind = name.rpartition(".")
    for pattern, ours in LAYERS:
        match = re.fullmatch(pattern, layer)
        if match and (kind in VECTORS or (kind == "weight" and tensor.ndim in WEIGHTS)):
            stage, *rest = match.groups() or ("0",)
            ours = ours.format(int(stage) - 1, *rest)
            if kind in VECTORS:
                collection, leaf = VECTORS[kind]
                return f"{collection}/{ours}/{leaf}", tensor
            collection, leaf, axes = WEIGHTS[tensor.ndim]
            return f"{collection}/{ours}/{leaf}", np.ascontiguousarray(tensor.transpose(axes))
    raise BadInput(f"{path} has a tensor {name} {list(tensor.shape)}, which no layer of a ResNet has")
