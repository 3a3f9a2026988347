"""Group relative policy optimisation against its formulas in NumPy, and rewards against Python."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm import steps
from jaxlm.errors import BadInput
from jaxlm.losses import GRPO, grpo
from jaxlm.losses.grpo import group_advantages
from jaxlm.losses.rewards import DigitSum, SortedDigits

ANSWERS, LENGTH, VOCAB = 4, 5, 7


class Tables:
    """A model that answers with its parameters, and whose start answers with a table of its own."""

    def apply(self, variables, tokens, **options):
        return variables["params"]

    def apply_base(self, variables, tokens, **options):
        return variables["base"]


def make_answers():
    draw = np.random.default_rng(0)
    logits, base, old = (draw.normal(size=(3, ANSWERS, LENGTH, VOCAB))).astype(np.float32)
    targets = draw.integers(0, VOCAB, (ANSWERS, LENGTH)).astype(np.int32)
    mask = (np.arange(LENGTH)[None] < np.array([5, 2, 3, 1])[:, None]).astype(np.float32)
    batch = {"tokens": targets, "targets": targets, "mask": mask}
    batch["advantage"] = draw.normal(size=ANSWERS).astype(np.float32)
    batch["log_prob"] = log_probs(old, targets, 1.0).astype(np.float32)
    return logits, base, batch


def log_probs(logits, targets, temperature):
    logits = np.asarray(logits, np.float64) / temperature
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return np.take_along_axis(logs, targets[..., None], -1)[..., 0]


@pytest.mark.parametrize(("beta", "temperature"), [(0.0, 1.0), (0.5, 0.7)])
def test_it_is_equation_three(beta, temperature):
    logits, base, batch = make_answers()
    spec = GRPO(reward=SortedDigits(), beta=beta, temperature=temperature)

    def expected(logits):
        new, first = (log_probs(x, batch["targets"], temperature) for x in (logits, base))
        ratio, advantage = np.exp(new - batch["log_prob"]), batch["advantage"][:, None]
        gain = np.minimum(ratio * advantage, np.clip(ratio, 0.8, 1.2) * advantage)
        kl = np.exp(first - new) - (first - new) - 1
        cost = (beta * kl - gain) * batch["mask"]
        return (cost.sum(1) / batch["mask"].sum(1)).mean(), (kl * batch["mask"]).sum() / batch["mask"].sum()

    loss = grpo(Tables(), spec)
    grads, metrics, _ = jax.jit(steps.grad(loss))(logits, {"base": jnp.asarray(base)}, batch, jax.random.key(0))
    found = steps.compute(metrics)
    assert found["loss"] == pytest.approx(expected(logits)[0], rel=1e-5)
    assert found["kl"] == pytest.approx(expected(logits)[1] if beta else 0, rel=1e-5)
    for place in ((0, 0, 1), (1, 1, 2), (2, 2, 3), (3, 4, 0)):
        moved = np.zeros(logits.shape)
        moved[place] = 1e-5
        slope = (expected(logits + moved)[0] - expected(logits - moved)[0]) / 2e-5
        assert grads[place] / ANSWERS == pytest.approx(slope, abs=1e-5)


def test_advantages_are_within_groups():
    rewards = np.array([0.0, 1.0, 0.5, 0.5, 3.0, 1.0], np.float32)
    found = np.asarray(group_advantages(jnp.asarray(rewards), 2))
    np.testing.assert_allclose(found, [-1, 1, 0, 0, 1, -1], atol=1e-4)


def points(text, size):
    return jnp.asarray([*map(ord, text), *[0] * (size - len(text))], jnp.int32)


def test_rewards_are_the_share_of_places_that_are_right():
    rate = partial(jax.jit(SortedDigits()), points("4203=", 5))
    for answer, expected in (("0234", 1), ("0243", 0.6), ("", 0), ("02340", 0.8), ("023", 0.6)):
        assert rate(points(answer, 6)) == pytest.approx(expected), answer
    for prompt, answer, expected in (("99=", "18", 1), ("12=", "3", 1), ("12=", "30", 0.5), ("99=", "8", 0)):
        assert DigitSum()(points(prompt, 3), points(answer, 4)) == pytest.approx(expected), (prompt, answer)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"group": 1}, "loss.group is 1"),
        ({"length": 0}, "loss.length is 0"),
        ({"temperature": 0.0}, "loss.temperature is 0.0: it must be a finite number above 0"),
        ({"beta": -0.1}, "loss.beta is -0.1"),
        ({}, "take model=Adapted"),
    ],
)
def test_what_cannot_be_is_refused(fields, message):
    class Plain:
        apply = None

    with pytest.raises(BadInput, match=message):
        GRPO(reward=SortedDigits(), **fields)(Plain())
