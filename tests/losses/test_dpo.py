"""The loss of preferences against its formula in NumPy."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm import steps
from jaxlm.errors import BadInput
from jaxlm.losses import dpo
from jaxlm.models.adapted import Adapted
from jaxlm.models.gpt import GPT
from jaxlm.nn.lora import LoRA

PAIRS, LENGTH, VOCAB = 3, 5, 7


class Tables:
    """A model that answers with its parameters, and whose start answers with a table of its own."""

    def apply(self, variables, tokens, **options):
        return variables["params"]

    def apply_base(self, variables, tokens, **options):
        return variables["base"]


def draw(seed=0):
    numbers = np.random.default_rng(seed)
    logits, base = (2 * numbers.normal(size=(2, 2 * PAIRS, LENGTH, VOCAB))).astype(np.float32)
    mask = (numbers.random((PAIRS, 2, LENGTH)) < 0.6).astype(np.float32)
    mask[-1] = 0  # a row of padding
    mask[:-1, :, 0] = 1
    tokens = numbers.integers(0, VOCAB, (2, PAIRS, 2, LENGTH)).astype(np.int32)
    batch = {"tokens": tokens[0], "targets": tokens[1], "segments": np.ones_like(tokens[0]), "mask": mask}
    return jnp.asarray(logits), {"base": jnp.asarray(base)}, batch


def numpy_log_probability(logits, batch):
    logits = np.asarray(logits, np.float64).reshape(PAIRS, 2, LENGTH, VOCAB)
    found = np.zeros((PAIRS, 2))
    for pair, answer, place in np.ndindex(PAIRS, 2, LENGTH):
        row = logits[pair, answer, place]
        chosen = row[batch["targets"][pair, answer, place]] - np.log(np.exp(row).sum())
        found[pair, answer] += batch["mask"][pair, answer, place] * chosen
    return found


@pytest.mark.parametrize("beta", [0.1, 2.0])
def test_it_is_equation_seven(beta):
    params, variables, batch = draw()
    metrics, _ = jax.jit(partial(dpo(Tables(), beta), train=False))(params, variables, batch, None)
    rewards = numpy_log_probability(params, batch) - numpy_log_probability(variables["base"], batch)
    rewards = beta * rewards[:-1]
    margin = rewards[:, 0] - rewards[:, 1]
    found = steps.compute(metrics)
    assert metrics["loss"].weight == PAIRS - 1
    assert found["loss"] == pytest.approx(-np.log(1 / (1 + np.exp(-margin))).mean(), rel=1e-5)
    assert found["accuracy"] == (margin > 0).mean()
    assert found["margin"] == pytest.approx(margin.mean(), rel=1e-4)
    assert found["chosen_reward"] == pytest.approx(rewards[:, 0].mean(), rel=1e-4)
    assert found["rejected_reward"] == pytest.approx(rewards[:, 1].mean(), rel=1e-4)


def test_at_the_start_the_loss_is_the_logarithm_of_two():
    _, variables, batch = draw()
    metrics, _ = dpo(Tables())(variables["base"], variables, batch, None, train=False)
    assert steps.compute(metrics)["loss"] == pytest.approx(np.log(2), rel=1e-6)
    assert steps.compute(metrics)["margin"] == 0


def test_the_gradient_raises_the_chosen_answer_by_the_share_that_is_wrong():
    """Equation under 7: the gradient by log p(chosen) is -beta sigmoid(-margin)."""
    params, variables, batch = draw()
    grads, _, _ = jax.jit(steps.grad(dpo(Tables(), 0.5)))(params, variables, batch, None)
    rewards = 0.5 * (numpy_log_probability(params, batch) - numpy_log_probability(variables["base"], batch))
    pull = -0.5 / (1 + np.exp(rewards[:, 0] - rewards[:, 1]))
    logits = np.asarray(params, np.float64).reshape(PAIRS, 2, LENGTH, VOCAB)
    softmax = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    by_logit = (np.eye(VOCAB)[batch["targets"]] - softmax) * batch["mask"][..., None]
    expected = by_logit * (pull[:, None] * np.array([1, -1]))[..., None, None]
    np.testing.assert_allclose(np.asarray(grads).reshape(expected.shape), expected, atol=1e-5)


def test_a_model_with_adapters_refers_to_its_base():
    model = Adapted(GPT(vocab=VOCAB, depth=1, width=8, heads=2, context=LENGTH), LoRA(rank=2))
    _, _, batch = draw()
    variables = jax.jit(model.init)(jax.random.key(0), batch["tokens"][:, 0])
    params = variables.pop("params")
    grads, metrics, kept = jax.jit(steps.grad(dpo(model)))(params, variables, batch, jax.random.key(0))
    assert steps.compute(metrics)["loss"] == pytest.approx(np.log(2), rel=1e-5)
    assert jax.tree.structure(grads) == jax.tree.structure(params)
    assert any(np.asarray(leaf).any() for leaf in jax.tree.leaves(grads))
    jax.tree.map(np.testing.assert_array_equal, kept, variables)


def test_a_beta_that_is_not_positive_is_refused():
    with pytest.raises(BadInput, match="loss.beta is 0"):
        dpo(Tables(), 0)
