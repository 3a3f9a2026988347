"""The benchmark of layers refuses to time what is not the same."""

from pathlib import Path

import jax.numpy as jnp
import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


def test_peers_that_agree_are_timed_and_others_refused(monkeypatch, capsys):
    monkeypatch.syspath_prepend(SCRIPTS)
    import bench_layers

    for peers in (
        bench_layers.products(6, 2, 3, 4),
        bench_layers.gradients(2, 5, 2, 4),
        bench_layers.caches(2, 6, 2, 4),
    ):
        bench_layers.compare("small", peers, 1, 1)
        printed = capsys.readouterr().out
        assert all(name in printed for name in peers)
    x = jnp.ones(3)
    with pytest.raises(AssertionError):
        bench_layers.compare("other", {"one": (jnp.sin, (x,)), "two": (jnp.cos, (x,))}, 1, 1)
