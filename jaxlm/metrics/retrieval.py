"""Scores of retrieval, on the host: captions found by an image, and images found by a caption."""

from typing import NamedTuple

import numpy as np

RANKS = (1, 5)


class Retrieval(NamedTuple):
    """Vectors of images and captions, kept until all are there.

    Attributes:
        image: float32 [N, D], of length 1.
        caption: float32 [N, D], of length 1, of the caption of each image.
        words: int64 [N, L], the caption itself: equal captions are one.
    """

    image: np.ndarray
    caption: np.ndarray
    words: np.ndarray

    def merge(self, other: "Retrieval") -> "Retrieval":
        """Return the examples of both."""
        return Retrieval(*(np.concatenate(pair) for pair in zip(self, other, strict=True)))

    def compute(self) -> dict[str, float]:
        """Return recall at 1 and 5 in both directions, and at 1 what a random order would have.

        "caption_at_k": images whose caption is among the k nearest of the different captions. "image_at_k": different
        captions one of whose images is among the k nearest images. Ties count as lost.
        """
        _, first, group_N = np.unique(self.words, axis=0, return_index=True, return_inverse=True)
        score_NG = self.image @ self.caption[first].T
        fits_NG = group_N.reshape(-1)[:, None] == np.arange(len(first))
        found: dict[str, float] = {}
        for name, score, fits in (("caption", score_NG, fits_NG), ("image", score_NG.T, fits_NG.T)):
            best = np.where(fits, score, -np.inf).max(1)
            before = (~(score < best[:, None]) & ~fits).sum(1)  # a comparison with NaN is false: it ranks last
            found |= {f"{name}_at_{k}": float((before < k).mean()) for k in RANKS}
            found[f"{name}_at_1_by_chance"] = float(fits.mean())
        return found
