"""The CTC loss and its gradient are those of PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm.losses.ctc import ctc_nats

pytestmark = pytest.mark.slow
torch = pytest.importorskip("torch")


def test_loss_and_gradient_are_those_of_torch():
    draw = np.random.default_rng(0)
    batch, time, size, width = 16, 40, 11, 12
    logits = draw.normal(size=(batch, time, size)).astype(np.float32) * 3
    outputs, lengths = draw.integers(20, time + 1, batch).astype(np.int32), draw.integers(0, 9, batch).astype(np.int32)
    targets = draw.integers(0, size - 1, (batch, width)).astype(np.int32)
    blank = size - 1

    def total(logits):
        return ctc_nats(logits, outputs, targets, lengths, blank)[0].sum()

    given = torch.tensor(logits, requires_grad=True)
    theirs = torch.nn.functional.ctc_loss(
        given.log_softmax(-1).transpose(0, 1),
        torch.tensor(targets, dtype=torch.long),
        torch.tensor(outputs, dtype=torch.long),
        torch.tensor(lengths, dtype=torch.long),
        blank=blank,
        reduction="none",
    )
    theirs.sum().backward()
    nats, possible = ctc_nats(logits, outputs, targets, lengths, blank)
    assert possible.all()
    np.testing.assert_allclose(nats, theirs.detach().numpy(), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(jax.grad(total)(jnp.asarray(logits)), given.grad.numpy(), atol=1e-4)
