"""Every optimizer against its published equations, written in NumPy in double precision."""

from dataclasses import replace

import numpy as np
import pytest
from optim_helpers import assert_close, flat, run, tree

from jaxlm.optim import SGD, Adafactor, Adam, AdamW, Lion, Muon, RMSProp

STEPS = 5
GRADIENTS = [tree(seed) for seed in range(1, STEPS + 1)]


def sgd(spec, path, g, s, t):
    v = s["v"] = spec.momentum * s.get("v", 0) + g
    return g + spec.momentum * v if spec.nesterov else v


def rms_prop(spec, path, g, s, t):
    s["n"] = spec.b2 * s.get("n", 0) + (1 - spec.b2) * g**2
    s["v"] = spec.momentum * s.get("v", 0) + g / (np.sqrt(s["n"]) + spec.eps)
    return s["v"]


def adam(spec, path, g, s, t):
    s["m"] = spec.b1 * s.get("m", 0) + (1 - spec.b1) * g
    s["n"] = spec.b2 * s.get("n", 0) + (1 - spec.b2) * g**2
    return s["m"] / (1 - spec.b1**t) / (np.sqrt(s["n"] / (1 - spec.b2**t)) + spec.eps)


def lion(spec, path, g, s, t):
    m = s.get("m", 0)
    s["m"] = spec.b2 * m + (1 - spec.b2) * g
    return np.sign(spec.b1 * m + (1 - spec.b1) * g)


def adafactor(spec, path, g, s, t):
    keep = 1 - t**-spec.forgetting
    if g.ndim == 2 and min(g.shape) >= spec.factor_from:
        s["r"] = keep * s.get("r", 0) + (1 - keep) * (g**2).mean(axis=1)
        s["c"] = keep * s.get("c", 0) + (1 - keep) * (g**2).mean(axis=0)
        square = np.outer(s["r"], s["c"]) / s["r"].mean()
    else:
        square = s["v"] = keep * s.get("v", 0) + (1 - keep) * g**2
    u = g / np.sqrt(square)
    u = u / max(1, np.sqrt((u**2).mean()) / spec.block_clip)
    u = u * max(1e-3, np.sqrt((s["p"] ** 2).mean())) if spec.by_scale else u
    s["u"] = spec.momentum * s.get("u", 0) + (1 - spec.momentum) * u
    return s["u"]


def muon(spec, path, g, s, t):
    if not path.endswith("kernel"):
        return adam(spec, path, g, s, t)
    b = spec.momentum
    s["m"] = b * s.get("m", 0) + g
    x = g + b * s["m"] if spec.nesterov else s["m"]  # Jordan 2024
    x = x / np.linalg.norm(x)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    rows, columns = g.shape
    return x * (
        spec.consistent_rms * max(rows, columns) ** 0.5 if spec.consistent_rms else max(1, columns / rows) ** 0.5
    )


def reference(direction, spec, params, gradients):
    """Clipping, penalties, the direction, decay and the scheduled rate, one parameter at a time."""
    p = flat(params)
    states = {path: {} for path in p}
    for t, gradient in enumerate(gradients, start=1):
        rate = spec.peak_lr * t / (spec.warmup + 1) if t <= spec.warmup + 1 else spec.peak_lr
        g = flat(gradient)
        norm = np.sqrt(sum((x**2).sum() for x in g.values()))
        for path in p:
            one = 0 if path.endswith("bias") else 1
            clipped = g[path] * min(1, spec.clip_norm / norm) if spec.clip_norm else g[path]
            clipped = clipped + one * (spec.l1 * np.sign(p[path]) + spec.l2 * p[path])
            states[path]["p"] = p[path]
            u = direction(spec, path, clipped, states[path], t)
            p[path] = p[path] - rate * (u + one * spec.weight_decay * p[path])
    return p


CASES = [
    (sgd, SGD()),
    (sgd, SGD(momentum=0.9)),
    (sgd, SGD(momentum=0.9, nesterov=True)),
    (rms_prop, RMSProp(peak_lr=0.1)),
    (rms_prop, RMSProp(peak_lr=0.1, momentum=0.5)),
    (adam, Adam(peak_lr=0.1)),
    (adam, AdamW(peak_lr=0.1)),
    (lion, Lion(peak_lr=0.1)),
    (adafactor, Adafactor(peak_lr=0.1)),
    (adafactor, Adafactor(peak_lr=0.1, factor_from=4, momentum=0.5, by_scale=False)),
    (muon, Muon(peak_lr=0.1)),
    (muon, Muon(peak_lr=0.1, nesterov=False, consistent_rms=None)),
]
NAMES = [f"{type(spec).__name__}-{number}" for number, (_, spec) in enumerate(CASES)]
EXTRAS = {"weight_decay": 0.3, "clip_norm": 1.5, "l1": 0.05, "l2": 0.2}


@pytest.mark.parametrize(("direction", "spec"), CASES, ids=NAMES)
def test_an_optimizer_follows_its_published_equations(direction, spec):
    spec = replace(spec, schedule="constant", warmup=2, **EXTRAS)
    actual, _ = run(spec(STEPS), tree(), GRADIENTS)
    for path, expected in reference(direction, spec, tree(), GRADIENTS).items():
        np.testing.assert_allclose(flat(actual)[path], expected, rtol=2e-4, atol=2e-5, err_msg=path)


def test_muon_treats_stacked_layers_as_it_treats_them_apart():
    spec = Muon(peak_lr=0.1, schedule="constant")
    draw = (
        np.random.default_rng(0).normal(size=(4, 3, 4, 6)).astype(np.float32)
    )  # updates and start, layers, rows, columns
    together, _ = run(spec(9), {"blocks": {"up": draw[0]}}, [{"blocks": {"up": g}} for g in draw[1:]])
    names = ("block_0", "block_1", "block_2")
    split = [dict(zip(names, layers, strict=True)) for layers in draw]
    apart, _ = run(spec(9), split[0], split[1:])
    assert_close({name: together["blocks"]["up"][i] for i, name in enumerate(names)}, apart, 2e-5)


def test_muon_keeps_embeddings_heads_and_biases_for_adam():
    params = {name: {"kernel": np.ones((3, 4), np.float32)} for name in ("embed", "head", "position_embed", "header")}
    params["blocks"] = {"norm": {"bias": np.ones((3, 4), np.float32)}, "up": {"kernel": np.ones((2, 3, 4), np.float32)}}
    state = Muon()(10).init(params).inner_state[1].inner_states
    assert set(flat(state["muon"].inner_state[0].trace)) == {"header/kernel", "blocks/up/kernel"}
    assert set(flat(state["adam"].inner_state.mu)) == {
        "embed/kernel",
        "head/kernel",
        "position_embed/kernel",
        "blocks/norm/bias",
    }
