"""Count the errors of pretrained ResNets on CIFAR-10 with weights in 32, 8 and 4 bits, and compare their bytes.

    python scripts/measure_quantised.py CIFAR10 resnet20.safetensors resnet56.safetensors

CIFAR10 holds test.npz with `images` uint8 [N, 32, 32, 3] and `labels`; the networks take images normalised by
ImageNet's mean and deviation.
"""

import argparse
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.hub.pretrained import leaves_by_path, tree_from_leaves
from jaxlm.hub.torchvision import read_resnet
from jaxlm.models.resnet import cifar_resnet20, cifar_resnet56
from jaxlm.nn.quantise import Bits, dequantise, quantise

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BATCH = 500


def errors(model: Any, variables: Any, images: np.ndarray, labels: np.ndarray) -> int:
    """Return how many images a model takes for something else."""

    @jax.jit
    def classes(variables: Any, images_BHWC: jax.Array) -> jax.Array:
        x_BHWC = (images_BHWC.astype(jnp.float32) / 255 - jnp.array(MEAN)) / jnp.array(STD)
        return model.apply(dequantise(variables), x_BHWC, train=False).argmax(-1)

    found = [np.asarray(classes(variables, images[start : start + BATCH])) for start in range(0, len(images), BATCH)]
    return int((np.concatenate(found) != labels).sum())


def size(variables: Any) -> int:
    """Return the bytes of a tree."""
    return sum(np.asarray(leaf).nbytes for leaf in leaves_by_path(variables).values())


def main() -> None:
    """Print errors and bytes of each network in each number of bits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cifar", type=Path, metavar="CIFAR10")
    parser.add_argument("weights", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--count", type=int, default=10_000, help="of images (default: all 10,000)")
    options = parser.parse_args()
    with np.load(options.cifar / "test.npz") as found:
        images, labels = found["images"][: options.count], found["labels"][: options.count]
    for file in options.weights:
        variables = tree_from_leaves(dict(read_resnet(str(file))))
        model = {"resnet20": cifar_resnet20, "resnet56": cifar_resnet56}[file.stem](classes=10)
        whole = size(variables)
        choices: tuple[Bits | None, ...] = (None, 8, 4)
        for bits in choices:
            small = variables
            if bits is not None:
                small = {**variables, "params": quantise(jax.tree.map(jnp.asarray, variables["params"]), bits)}
            count = errors(model, small, images, labels)
            print(
                f"{file.stem} {bits or 32:2} bits: {count} errors of {len(images)}, "
                f"{size(small) / whole:.1%} of the bytes"
            )


if __name__ == "__main__":
    main()
