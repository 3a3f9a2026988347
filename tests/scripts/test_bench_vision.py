"""The image benchmark compares two steps that do the same."""

from pathlib import Path

import jax
import numpy as np
import pytest

from jaxlm.models.resnet import ResNet

SCRIPTS = Path(__file__).parents[2] / "scripts"


def test_after_two_steps_both_have_the_same_parameters(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.syspath_prepend(SCRIPTS)
    import bench_vision
    from torch_resnet import TorchResNet

    random = np.random.default_rng(0)
    images, labels = random.normal(size=(8, 8, 8, 3)).astype(np.float32), np.arange(8, dtype=np.int32)
    torch.manual_seed(0)
    peer = TorchResNet(10, (1, 1), 4)
    model = ResNet(10, (1, 1), width=4, stem="small", zero_residual=False)
    init, step, _ = bench_vision.compose(model, images, bench_vision.leaves_of(peer))
    state = init(jax.random.key(0))
    for _ in range(2):
        state, _ = jax.jit(step)(state, {"image": images, "label": labels})
    bench_vision.training(peer, torch.from_numpy(images.transpose(0, 3, 1, 2)), torch.from_numpy(labels).long())(2)
    expected = bench_vision.leaves_of(peer)
    for path, leaf in jax.tree_util.tree_leaves_with_path({"params": state.params}):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        np.testing.assert_allclose(leaf, expected[name], atol=2e-6, err_msg=name)
        assert np.abs(leaf).max() > 0
