"""The benchmark: that it compares like with like, and that it runs."""

import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    import bench_train

    return bench_train


def test_peers_take_turns_and_the_first_turn_is_not_counted(bench):
    calls = []
    times = bench.alternate({"a": lambda n: calls.append("a"), "b": lambda n: calls.append("b")}, repeats=3, steps=10)

    assert "".join(calls) == "abbaabba"
    assert {name: len(pairs) for name, pairs in times.items()} == {"a": 3, "b": 3}


def test_ratios_are_speeds_against_the_first_peer(bench, capsys):
    times = {"base": [(0.2, 0.1), (0.4, 0.1)], "fast": [(0.1, 0.1), (0.1, 0.1)]}

    bench.report("title", (times, 100), "tokens")

    words = capsys.readouterr().out.splitlines()[-1].split()
    assert words == ["fast", "100.00", "100.00", "100.00", "1000", "2.000", "3.000"]


def test_the_peer_computes_the_same_gradient(bench):
    torch = pytest.importorskip("torch")
    from jaxlm import steps
    from jaxlm.losses import next_token
    from jaxlm.models.gpt import GPT
    from torch_gpt import TorchGPT

    model = GPT(vocab=11, depth=2, width=8, heads=2, context=6)
    (batch,) = bench.random_batches(1, 3, 6, 11)
    params = jax.jit(model.init)(jax.random.key(0), batch["tokens"])["params"]
    params = jax.tree.map(lambda x: x + 0.1 * jax.random.normal(jax.random.key(x.size), x.shape), params)
    grads, metrics, _ = jax.jit(steps.grad(next_token(model)))(params, {}, batch, jax.random.key(0))
    peer = TorchGPT(11, 2, 8, 2, 6).load(params)

    loss = peer(*(torch.from_numpy(batch[name].copy()).long() for name in ("tokens", "targets")))
    loss.backward()

    assert loss.item() == pytest.approx(metrics["loss"].compute(), abs=1e-5)
    expected = TorchGPT(11, 2, 8, 2, 6).load(jax.tree.map(lambda g: g / metrics["loss"].weight, grads))
    for (name, ours), theirs in zip(expected.named_parameters(), peer.parameters(), strict=True):
        np.testing.assert_allclose(ours.detach().numpy(), theirs.grad.numpy(), atol=1e-6, err_msg=name)


@pytest.mark.slow
def test_the_loop_is_measured():
    words = [sys.executable, SCRIPTS / "bench_train.py", "--only", "loop", "--repeats", "1", "--steps", "10", "--plain"]

    run = subprocess.run(words, capture_output=True, text=True, timeout=300)

    assert run.returncode == 0, run.stderr
    assert "bare step" in run.stdout
