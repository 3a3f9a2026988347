"""GAE, n-step returns and the losses of PPO and A2C against NumPy and PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm import steps
from jaxlm.losses.advantages import generalised_advantages, whiten
from jaxlm.losses.ppo import A2C, PPO
from jaxlm.models.actor_critic import ActorCritic

T, B = 7, 3


def transitions(seed=0):
    draw = np.random.default_rng(seed)
    reward, value, after = draw.normal(size=(3, T, B)).astype(np.float32)
    ended = draw.random((T, B))
    return reward, value, after, ended < 0.2, (ended >= 0.2) & (ended < 0.4)


def numpy_gae(reward, value, after, terminated, truncated, discount, trace):
    """Every advantage as its own sum, as equation 16 has it: no recursion."""
    found = np.zeros((T, B))
    for b in range(B):
        for t in range(T):
            weight = 1.0
            for k in range(t, T):
                ahead = 0.0 if terminated[k, b] else after[k, b]
                found[t, b] += weight * (reward[k, b] + discount * ahead - value[k, b])
                if terminated[k, b] or truncated[k, b]:
                    break
                weight *= discount * trace
    return found


@pytest.mark.parametrize("trace", [0.0, 0.8])
def test_advantages_are_those_of_their_sums(trace):
    reward, value, after, terminated, truncated = transitions()
    found = generalised_advantages(reward, value, after, terminated, terminated | truncated, 0.9, trace)
    np.testing.assert_allclose(found, numpy_gae(*transitions(), 0.9, trace), rtol=1e-5, atol=1e-5)


def test_with_a_trace_of_one_targets_are_n_step_returns():
    reward, value, _, terminated, truncated = transitions(1)
    after = np.concatenate([value[1:], value[:1] + 1])  # what was seen next, where nothing ended
    found = generalised_advantages(reward, value, after, terminated, terminated | truncated, 0.9, 1.0) + value
    for t, b in np.ndindex(T, B):
        total, weight = 0.0, 1.0
        for k in range(t, T):
            total += weight * reward[k, b]
            weight *= 0.9
            if terminated[k, b] or truncated[k, b] or k == T - 1:
                total += 0.0 if terminated[k, b] else weight * after[k, b]
                break
        assert found[t, b] == pytest.approx(total, rel=1e-5, abs=1e-5)


def test_a_cut_episode_counts_what_would_have_followed_and_an_ended_one_does_not():
    one = jnp.ones((1, 2))
    ends = jnp.array([[True, False]])
    found = generalised_advantages(one, 0 * one, 10 * one, ends, jnp.array([[True, True]]), 0.5, 0.9)
    assert found.tolist() == [[1.0, 6.0]]


def test_nothing_passes_from_one_episode_to_the_one_before():
    reward, value, after, _, _ = transitions(2)
    done = np.zeros((T, B), bool)
    done[3] = True
    other = reward.copy()
    other[4:] += 5
    cut = [generalised_advantages(x, value, after, ~done & done, done, 0.9, 0.9)[:4] for x in (reward, other)]
    np.testing.assert_array_equal(*cut)


def test_standardised_advantages_have_mean_0_and_deviation_1():
    x = np.random.default_rng(0).normal(3, 2, 50).astype(np.float32)
    np.testing.assert_allclose(whiten(x, lambda tree: tree), (x - x.mean()) / x.std(), rtol=1e-4, atol=1e-5)


def minibatch(continuous, seed=3):
    draw = np.random.default_rng(seed)
    n = 40
    batch = {name: draw.normal(size=n).astype(np.float32) for name in ("log_prob", "value", "advantage", "target")}
    batch["log_prob"] = batch["log_prob"] * 0.3 - (2.5 if continuous else 1.1)
    batch["observation"] = draw.normal(size=(n, 5)).astype(np.float32)
    batch["action"] = draw.normal(size=(n, 2)).astype(np.float32) if continuous else draw.integers(0, 3, n)
    return batch


@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize("spec", [PPO(clip_value=0.3), PPO(entropy_weight=0.1), A2C()])
def test_loss_and_gradient_are_those_of_pytorch(spec, continuous):
    torch = pytest.importorskip("torch")
    model = ActorCritic(actions=2 if continuous else 3, continuous=continuous, hidden=(6,))
    batch = minibatch(continuous)
    params = model.init(jax.random.key(0), batch["observation"])["params"]
    params = jax.tree.map(lambda x: x + 0.1 * np.random.default_rng(x.size).normal(size=x.shape), params)
    grads, metrics, _ = steps.grad(spec(model))(params, {}, batch, jax.random.key(0))
    n = metrics["loss"].weight

    weights = jax.tree.map(lambda x: torch.tensor(np.asarray(x), dtype=torch.float64, requires_grad=True), params)
    data = {name: torch.tensor(x, dtype=torch.int64 if x.dtype == int else torch.float64) for name, x in batch.items()}

    def layer(x, name):
        return x @ weights[name]["kernel"] + weights[name]["bias"]

    head = weights["head"]["out"]
    outputs = torch.tanh(layer(data["observation"], "actor_0")) @ head["kernel"] + head["bias"]
    value = layer(torch.tanh(layer(data["observation"], "critic_0")), "out")[:, 0]
    if continuous:
        normal = torch.distributions.Normal(outputs, weights["head"]["log_std"].exp())
        policy = torch.distributions.Independent(normal, 1)
    else:
        policy = torch.distributions.Categorical(logits=outputs)
    ratio = (policy.log_prob(data["action"]) - data["log_prob"]).exp()
    advantage, clipped = data["advantage"], ratio
    if spec.clip is not None:
        clipped = ratio.clamp(1 - spec.clip, 1 + spec.clip)
    gain = torch.minimum(ratio * advantage, clipped * advantage).mean()
    error = (value - data["target"]) ** 2
    if spec.clip_value is not None:
        moved = data["value"] + (value - data["value"]).clamp(-spec.clip_value, spec.clip_value)
        error = torch.maximum(error, (moved - data["target"]) ** 2)
    entropy = policy.entropy().mean()
    loss = -gain + spec.value_weight * 0.5 * error.mean() - spec.entropy_weight * entropy
    loss.backward()

    expected = {"loss": loss, "policy_loss": -gain, "value_loss": 0.5 * error.mean(), "entropy": entropy}
    for name, x in expected.items():
        assert metrics[name].compute() == pytest.approx(x.item(), rel=1e-5, abs=1e-6)
    for (path, ours), theirs in zip(jax.tree_util.tree_leaves_with_path(grads), jax.tree.leaves(weights), strict=True):
        np.testing.assert_allclose(ours / n, theirs.grad, rtol=1e-4, atol=1e-5, err_msg=str(path))


def test_a2c_is_the_policy_gradient_of_its_own_actions():
    """At the policy that acted the ratio is 1, and the gradient that of -A log pi(a | s)."""
    model, batch = ActorCritic(actions=3, hidden=(6,)), minibatch(False)
    params = model.init(jax.random.key(1), batch["observation"])["params"]
    policy, _ = model.apply({"params": params}, batch["observation"])
    batch["log_prob"] = policy.log_prob(batch["action"])

    def plain(params):
        policy, value = model.apply({"params": params}, batch["observation"])
        gain = (policy.log_prob(batch["action"]) * batch["advantage"]).sum()
        return -gain + 0.25 * ((value - batch["target"]) ** 2).sum() - 0.01 * policy.entropy().sum()

    found, _, _ = steps.grad(A2C()(model))(params, {}, batch, jax.random.key(0))
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(jax.grad(plain)(params)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
