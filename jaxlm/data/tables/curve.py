"""A curve with noise as a table: the first regression of many tutorials, without a file."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxlm.data.tables.specs import RegressionTable
from jaxlm.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class Parabola(RegressionTable):
    """Spec: points x, y of y = x^2 - 1/2 on [-1, 1], with noise in training and without in the evaluation.

    Attributes:
        count: points in training.
        noise: standard deviation of what is added to y there; the same for every seed of a run.
    """

    target: str = "y"
    count: int = 300
    noise: float = 0.05

    def frames(self) -> list[tuple[str, Any]]:
        """Return the points for training, and for evaluation those halfway between them."""
        import pandas

        if self.count < 2 or self.noise < 0:
            raise BadInput(f"data.count is {self.count} and data.noise {self.noise}: give at least 2 and 0")
        x = np.linspace(-1, 1, self.count)
        middles = (x[1:] + x[:-1]) / 2
        noise = self.noise * np.random.default_rng(0).normal(size=self.count)
        frames = []
        for name, points, added in (("training", x, noise), ("evaluation", middles, 0 * middles)):
            cells = {"x": map(repr, points.tolist()), "y": map(repr, (points**2 - 0.5 + added).tolist())}
            index = [f"point {number}" for number in range(len(points))]
            frame = pandas.DataFrame({key: list(column) for key, column in cells.items()}, index=index, dtype=object)
            frames.append((name, frame))
        return frames[:1] if self.folds else frames

    def signature(self) -> tuple[()]:
        """Return nothing, since no file is read."""
        return ()
