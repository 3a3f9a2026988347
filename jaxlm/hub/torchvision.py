"""Residual networks of torchvision and of the common CIFAR models, from safetensors with PyTorch's names."""

import re
from pathlib import Path

import numpy as np

from jaxlm.errors import BadInput
from jaxlm.hub.tensors import Tensors

# A regular expression of a layer's name -> its path. PyTorch numbers the stages from 1, jaxlm from 0.
_LAYERS = (
    (r"conv1", "stem"),
    (r"bn1", "stem_norm"),
    (r"layer(\d+)\.(\d+)\.conv(\d+)", "stage_{0}_block_{1}/conv_{2}"),
    (r"layer(\d+)\.(\d+)\.bn(\d+)", "stage_{0}_block_{1}/norm_{2}"),
    (r"layer(\d+)\.(\d+)\.(?:downsample|shortcut)\.0", "stage_{0}_block_{1}/shortcut"),
    (r"layer(\d+)\.(\d+)\.(?:downsample|shortcut)\.1", "stage_{0}_block_{1}/shortcut_norm"),
    (r"fc|linear", "head"),
)
# Number of axes of a layer's weight -> collection, name, and the order of its axes (None: the same).
_WEIGHTS = {4: ("params", "kernel", (2, 3, 1, 0)), 2: ("params", "kernel", (1, 0)), 1: ("params", "scale", None)}
_VECTORS = {
    "bias": ("params", "bias"),
    "running_mean": ("batch_stats", "mean"),
    "running_var": ("batch_stats", "var"),
}


def read_resnet(path: str | Path) -> dict[str, np.ndarray]:
    """Read the leaves of a ResNet's safetensors file, by path: "params/stem/kernel", "batch_stats/stem_norm/mean", ...

    Raises:
        BadInput: the file does not exist, is not a safetensors file, or has a tensor that no layer of a ResNet has.
    """
    return dict(translate(name, tensor, path) for name, tensor in _tensors(path).items())


def _tensors(path: str | Path) -> dict[str, np.ndarray]:
    return {name: tensor for name, tensor in Tensors(path).items() if not name.endswith("num_batches_tracked")}


def translate(name: str, tensor: np.ndarray, path: str | Path) -> tuple[str, np.ndarray]:
    """Convert one tensor: its path in jaxlm, and the array with its axes in jaxlm's order.

    Args:
        name: the tensor's name.
        tensor: the tensor.
        path: the file, for messages.

    Raises:
        BadInput: no layer of a ResNet has such a tensor.
    """
    layer, _, kind = name.rpartition(".")
    for pattern, ours in _LAYERS:
        match = re.fullmatch(pattern, layer)
        if match and (kind in _VECTORS or (kind == "weight" and tensor.ndim in _WEIGHTS)):
            stage, *rest = match.groups() or ("0",)
            ours = ours.format(int(stage) - 1, *rest)
            if kind in _VECTORS:
                collection, leaf = _VECTORS[kind]
                return f"{collection}/{ours}/{leaf}", tensor
            collection, leaf, axes = _WEIGHTS[tensor.ndim]
            return f"{collection}/{ours}/{leaf}", np.ascontiguousarray(tensor.transpose(axes))
    raise BadInput(f"{path} has a tensor {name} {list(tensor.shape)}, which no layer of a ResNet has")
