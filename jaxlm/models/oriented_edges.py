"""A small classifier on fixed features: edges by orientation, of which only the last layers are trained.

B batch, H height, W width, C channels of features, K cells on a side.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.errors import BadInput
from jaxlm.nn.linear import Dense
from jaxlm.nn.module import Module


class OrientedEdges(Module):
    """Classify small grey images by their edges: [B, H, W, 1], normalised, to logits [B, classes].

    The features are fixed and no example depends on another: derivatives of Gaussians at a few scales, half-wave
    rectified in evenly spaced directions (steerable filters, Freeman and Adelson 1991), averaged within cells, and
    normalised over the cells of an image. That is the first order of a scattering transform with another wavelet; that
    such features learn more from noisy gradients than trained ones: Tramèr and Boneh 2021, arXiv:2011.11660.

    Attributes:
        classes: number of classes.
        scales: standard deviations of the Gaussians in pixels.
        directions: of edges, over the whole circle.
        cell: height and width of a cell in pixels.
        hidden: width of a layer with tanh before the last one; 0 for none.
        axis_name: not used; every image model has it, so that all are placed the same way.
    """

    classes: int
    scales: tuple[float, ...] = (0.7, 1.4)
    directions: int = 8
    cell: int = 4
    hidden: int = 0
    axis_name: str | None = None

    @nn.compact
    def __call__(self, image_BHWC: jax.Array, *, train: bool = False) -> jax.Array:
        """Return the logits of each class.

        Raises:
            BadInput: images that are not grey, or smaller than a cell.
        """
        del train
        height, width, channels = image_BHWC.shape[1:]
        if channels != 1 or min(height, width) < self.cell:
            raise BadInput(
                f"images of {height} x {width} x {channels}: OrientedEdges takes grey ones of at least {self.cell} x "
                f"{self.cell}"
            )
        x_BF = self.features(image_BHWC[..., 0])
        if self.hidden:
            x_BF = jnp.tanh(Dense(self.hidden, name="hidden")(x_BF))
        return Dense(self.classes, kernel_init=nn.initializers.zeros, name="head")(x_BF)

    def features(self, image_BHW: jax.Array) -> jax.Array:
        """Return the features, [B, K K C], of length 1 for each image."""
        height, width = image_BHW.shape[1:]
        rows, columns = _cells(height, self.cell), _cells(width, self.cell)
        maps = [image_BHW]
        for scale in self.scales:
            (smooth_y, slope_y), (smooth_x, slope_x) = _gaussian(height, scale), _gaussian(width, scale)
            across_BHW = _separable(image_BHW, smooth_y, slope_x)
            down_BHW = _separable(image_BHW, slope_y, smooth_x)
            for angle in 2 * np.pi * np.arange(self.directions) / self.directions:
                maps.append(nn.relu(float(np.cos(angle)) * across_BHW + float(np.sin(angle)) * down_BHW))
        x_BCKK = _separable(jnp.stack(maps, 1), rows, columns)
        x_BCF = x_BCKK.reshape(*x_BCKK.shape[:2], -1)
        x_BCF = x_BCF - x_BCF.mean(-1, keepdims=True)
        x_BCF = x_BCF / (jnp.sqrt(jnp.square(x_BCF).mean(-1, keepdims=True)) + 0.05)
        x_BF = x_BCF.reshape(len(x_BCF), -1)
        return x_BF / jnp.sqrt(jnp.square(x_BF).sum(-1, keepdims=True) + 1e-12)


def _separable(x: jax.Array, rows: np.ndarray, columns: np.ndarray) -> jax.Array:
    """Apply a matrix to the rows and another to the columns of images [..., H, W]."""
    return jnp.einsum("ij,...jk,lk->...il", rows, x, columns)


def _gaussian(size: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the matrices that smooth a line with a Gaussian, and that take its derivative, times the scale."""
    offset = np.arange(size)[None] - np.arange(size)[:, None]
    taps = np.exp(-(offset**2) / (2 * scale**2)) * (np.abs(offset) <= np.ceil(3 * scale))
    taps = taps / taps[size // 2].sum()
    return taps.astype(np.float32), (taps * offset / scale).astype(np.float32)


def _cells(size: int, cell: int) -> np.ndarray:
    """Return the matrix that averages a line within cells, by Gaussians of half a cell, [K, size]."""
    centres = (np.arange(size // cell) + 0.5) * cell - 0.5
    weights = np.exp(-((np.arange(size)[None] - centres[:, None]) ** 2) / (2 * (cell / 2) ** 2))
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)
