"""The optimizers that PyTorch has too, against PyTorch."""

from dataclasses import replace

import numpy as np
import pytest
from optim_helpers import flat, run, tree

from jaxlm.optim import SGD, Adafactor, Adam, AdamW, RMSProp

torch = pytest.importorskip("torch")
GRADIENTS = [tree(seed) for seed in range(1, 7)]


def by_torch(optimizer, weight_decay, clip, **fields):
    """The same run with torch: no decay on biases, gradients clipped before it is added."""
    tensors = {
        path: torch.nn.Parameter(torch.tensor(value, dtype=torch.float32)) for path, value in flat(tree()).items()
    }
    biases = [x for path, x in tensors.items() if path.endswith("bias")]
    others = [x for path, x in tensors.items() if not path.endswith("bias")]
    groups = [{"params": biases, "weight_decay": 0.0}, {"params": others, "weight_decay": weight_decay}]
    stepper = optimizer(groups, **fields)
    for gradient in GRADIENTS:
        for path, value in flat(gradient).items():
            tensors[path].grad = torch.tensor(value, dtype=torch.float32)
        torch.nn.utils.clip_grad_norm_(tensors.values(), clip)
        stepper.step()
    return {path: x.detach().numpy() for path, x in tensors.items()}


@pytest.mark.parametrize(
    ("spec", "name", "fields"),
    [
        (SGD(peak_lr=0.1, l2=0.2), "SGD", {"lr": 0.1}),
        (SGD(peak_lr=0.1, l2=0.2, momentum=0.9), "SGD", {"lr": 0.1, "momentum": 0.9}),
        (
            SGD(peak_lr=0.1, l2=0.2, momentum=0.9, nesterov=True),
            "SGD",
            {"lr": 0.1, "momentum": 0.9, "nesterov": True},
        ),
        (RMSProp(peak_lr=0.1, l2=0.2, momentum=0.5), "RMSprop", {"lr": 0.1, "alpha": 0.9, "momentum": 0.5}),
        (Adam(peak_lr=0.1, l2=0.2), "Adam", {"lr": 0.1}),
        (AdamW(peak_lr=0.1, weight_decay=0.2), "AdamW", {"lr": 0.1, "betas": (0.9, 0.95)}),
        (Adafactor(peak_lr=0.1, weight_decay=0.2, factor_from=1), "Adafactor", {"lr": 0.1, "eps": (1e-15, 1e-3)}),
    ],
)
def test_an_optimizer_equals_the_one_of_torch(spec, name, fields):
    actual, _ = run(replace(spec, schedule="constant", clip_norm=1.5)(6), tree(), GRADIENTS)
    expected = by_torch(getattr(torch.optim, name), 0.2, 1.5, **fields)
    for path, value in expected.items():
        np.testing.assert_allclose(flat(actual)[path], value, rtol=1e-4, atol=1e-5, err_msg=path)
