"""What a private run will do: its noise, how it samples, and what it has spent after each update."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from jaxlm.errors import BadInput
from jaxlm.privacy.accountant import find_noise, spent, updates_within
from jaxlm.privacy.settings import Privacy

FOR_OVERFLOW = 1e-3  # the share of delta that pays for batches with more examples than there is room for


@dataclass(frozen=True)
class PrivacyPlan:
    """A private run of a known length.

    Attributes:
        privacy: its settings.
        examples: of the training data.
        expected: size of a batch.
        updates: of the run.
        noise_multiplier: standard deviation of the noise over the clip norm.
        limit: the most examples of a batch, see `largest_batch`.
        unit: what counts as one example, such as "client" in a federated run, whose batches are rounds of clients.
    """

    privacy: Privacy
    examples: int
    expected: int
    updates: int
    noise_multiplier: float
    limit: int
    unit: str = "example"

    @property
    def std(self) -> float:
        """Return the standard deviation of the noise on the summed gradient."""
        return self.noise_multiplier * self.privacy.clip_norm

    @property
    def rate(self) -> float:
        """Return the probability of an example to be in a batch."""
        return self.expected / self.examples

    def epsilon(self, updates: int) -> float:
        """Return what some updates have spent, at the delta of the settings."""
        delta = self.privacy.delta * (1 - FOR_OVERFLOW)
        return _spent(self.privacy.accountant, self.rate, self.noise_multiplier, updates, delta)

    def lineage(self) -> dict[str, Any]:
        """Return all that the guarantee depends on, for a run's lineage."""
        return {
            "epsilon": self.epsilon(self.updates),
            "delta": self.privacy.delta,
            "neighbours": f"one {self.unit} added or removed",
            "accountant": self.privacy.accountant,
            "sampling": f"Poisson, at most {self.limit} {self.unit}s a batch",
            "rate": self.rate,
            "examples": self.examples,
            "updates": self.updates,
            "noise_multiplier": self.noise_multiplier,
            "clip_norm": self.privacy.clip_norm,
        }

    def log_lines(self) -> list[str]:
        """Return lines for the start of a run."""
        privacy = self.privacy
        lines = [
            f"privacy: epsilon {self.epsilon(self.updates):.3g} at delta {privacy.delta:g} after {self.updates:,} "
            f"updates ({privacy.accountant}), noise multiplier {self.noise_multiplier:.4g}, clip norm "
            f"{privacy.clip_norm:g}, batches of {self.expected:,} of {self.examples:,} {self.unit}s by Poisson "
            f"sampling, at most {self.limit:,}"
        ]
        if privacy.delta >= 1 / self.examples:
            lines.append(f"privacy.delta {privacy.delta:g} is not below 1 / {self.examples:,}: that protects nobody")
        return lines


_spent = lru_cache(maxsize=1024)(spent)


def make_plan(privacy: Privacy, examples: int, expected: int, updates: int, *, unit: str = "example") -> PrivacyPlan:
    """Find the noise of a private run, or check that given noise keeps to its epsilon.

    Args:
        privacy: the settings.
        examples: of the training data.
        expected: size of a batch.
        updates: of the run.
        unit: what counts as one example.

    Raises:
        BadInput: settings that cannot be, an epsilon that cannot be reached, or noise that spends more.
    """
    privacy.validate()
    kind, rate, delta = privacy.accountant, expected / examples, privacy.delta * (1 - FOR_OVERFLOW)
    noise = privacy.noise_multiplier
    if noise is None:
        assert privacy.epsilon is not None  # as `validate` says
        noise = find_noise(kind, rate, updates, privacy.epsilon, delta)
    epsilon = _spent(kind, rate, noise, updates, delta)
    if privacy.epsilon is not None and epsilon > privacy.epsilon:
        most = updates_within(kind, rate, noise, privacy.epsilon, delta)
        raise BadInput(
            f"privacy.noise_multiplier {noise:g} spends epsilon {epsilon:.3g} in {updates:,} updates, more than "
            f"privacy.epsilon {privacy.epsilon:g}: raise it, or lower run.steps to {most:,}"
        )
    limit = largest_batch(examples, rate, updates, epsilon, privacy.delta * FOR_OVERFLOW)
    return PrivacyPlan(privacy, examples, expected, updates, noise, limit, unit)


def largest_batch(examples: int, rate: float, updates: int, epsilon: float, delta: float) -> int:
    """Return the room for examples that a batch needs, so that to cut larger batches costs at most `delta`.

    Where a batch is cut with probability p in a run, its outcome differs with at most that probability from one that is
    (epsilon, d)-private. So it is (epsilon, d + (1 + e^epsilon) p)-private, on either side of the inequality.

    Args:
        examples: of the training data.
        rate: probability of an example to be in a batch.
        updates: of the run.
        epsilon: of the run.
        delta: what the cut may cost.
    """
    from scipy.stats import binom

    log_probability = np.log(delta) - np.logaddexp(0, epsilon) - np.log(updates)
    sizes = np.arange(int(examples * rate), examples + 1)
    fits = binom.logsf(sizes, examples, rate) <= log_probability
    return max(int(sizes[np.argmax(fits)]), 1)
