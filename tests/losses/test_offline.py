"""Learning from recorded transitions: the losses against PyTorch, and files that cannot be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm import steps
from jaxlm.data.agents.transitions import RecordedTransitions
from jaxlm.environments import CartPole
from jaxlm.errors import BadInput
from jaxlm.losses import CQL, BehaviourCloning
from jaxlm.models.q_network import QNetwork
from shrunk_replay import write_transitions

ROWS, MODEL = 9, QNetwork(3, (5,))


def make_rows():
    draw = np.random.default_rng(0)
    seen, later = draw.normal(size=(2, ROWS, 4)).astype(np.float32)
    rows = {"observation": seen, "next_observation": later, "action": draw.integers(0, 3, ROWS).astype(np.int32)}
    return rows | {"reward": draw.normal(size=ROWS).astype(np.float32), "terminated": draw.random(ROWS) < 0.4}


@pytest.mark.parametrize("name", ["cql", "cloning"])
def test_loss_and_gradient_are_those_of_torch(name):
    torch = pytest.importorskip("torch")
    rows = make_rows()
    params, target = (MODEL.init(jax.random.key(seed), rows["observation"])["params"] for seed in (0, 1))
    online, other = (
        jax.tree.map(lambda x: torch.tensor(np.asarray(x), requires_grad=True), x) for x in (params, target)
    )
    of = {key: torch.tensor(x) for key, x in rows.items()}

    def values(tree, x):
        x = torch.relu(x @ tree["hidden_0"]["kernel"] + tree["hidden_0"]["bias"])
        return x @ tree["head"]["kernel"] + tree["head"]["bias"]

    found = values(online, of["observation"])
    if name == "cloning":
        expected = torch.nn.functional.cross_entropy(found, of["action"].long())
    else:
        best = values(online, of["next_observation"]).argmax(1)
        later = values(other, of["next_observation"])[torch.arange(ROWS), best]
        goal = (of["reward"] + 0.9 * torch.where(of["terminated"], 0.0, later)).detach()
        taken = found[torch.arange(ROWS), of["action"].long()]
        expected = (0.5 * (goal - taken) ** 2 + 0.7 * (torch.logsumexp(found, 1) - taken)).mean()
    expected.backward()
    loss = (BehaviourCloning() if name == "cloning" else CQL(discount=0.9, alpha=0.7))(MODEL)
    grads, metrics, _ = jax.jit(steps.grad(loss))(params, {"target": target}, rows, jax.random.key(0))
    assert steps.compute(metrics)["loss"] == pytest.approx(float(expected.detach()), rel=1e-5)
    jax.tree.map(lambda g, t: np.testing.assert_allclose(g / ROWS, t.grad, rtol=1e-4, atol=1e-6), grads, online)


def change(rows, **arrays):
    return {**rows, **arrays}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda rows: {k: x for k, x in rows.items() if k != "reward"}, "has no array reward"),
        (lambda rows: change(rows, action=rows["action"] + 1), "has actions 1 to 2, not 0 to 1"),
        (lambda rows: change(rows, observation=rows["observation"][:, :3]), r"observation is \[120, 3\]"),
        (lambda rows: change(rows, terminated=rows["terminated"][:-1]), r"terminated is \[119\]"),
        (lambda rows: change(rows, reward=np.where(np.arange(120) == 7, np.nan, rows["reward"])), "first in row 7"),
    ],
)
def test_a_file_that_cannot_be_is_named(spoil, message, tmp_path):
    path = tmp_path / "random.npz"
    write_transitions(path)
    with np.load(path) as stored:
        rows = dict(stored)
    np.savez(path, **spoil(rows))
    with pytest.raises(BadInput, match=message):
        RecordedTransitions(path=str(path), environment=CartPole()).check(QNetwork(2))


def test_a_file_that_is_no_npz_is_named(tmp_path):
    for path in (tmp_path / "missing.npz", tmp_path / "text.npz"):
        if path.name == "text.npz":
            np.savez_compressed(path, observation=np.arange(300))
            content = bytearray(path.read_bytes())
            content[len(content) // 3] ^= 255
            path.write_bytes(content)
        with pytest.raises(BadInput, match="cannot be read as an .npz of transitions"):
            RecordedTransitions(path=str(path), environment=CartPole()).check(QNetwork(2))


def test_numbers_that_cannot_be_are_refused():
    with pytest.raises(BadInput, match="alpha a finite number of at least 0"):
        CQL(alpha=-1.0)
    assert jnp.isfinite(CQL().discount)
