import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxlm import parallel, steps

params = {"w": np.full((8, 16), 0.1, np.float32), "v": np.linspace(-1, 1, 16, dtype=np.float32)}


def loss(params, variables, batch, key, *, train):
    error = jnp.tanh(batch["x"] @ params["w"]) @ params["v"] - batch["y"]
    return {"loss": steps.Mean((error**2).sum(), error.size)}, variables


def batches(numbers):
    while True:
        x = numbers.normal(size=(32, 8)).astype(np.float32)
        yield {"x": x, "y": np.sin(x[:, 0])}


def train(place, updates=50):  # parallel.local(), parallel.pmap() or parallel.mesh(fsdp=2)
    tx = optax.adam(3e-2)
    state = place.init(lambda key: steps.start(params, tx, key), jax.random.key(0))
    step = place.compile(steps.update(place.reduce(steps.grad(loss)), tx))
    losses = []
    for _, batch in zip(range(updates), batches(np.random.default_rng(0)), strict=False):
        state, metrics = step(state, place.put(batch))
        losses.append(metrics["loss"].compute())
    return place.fetch(state.params), losses


trained, losses = train(parallel.local())
