"""Compare the layers' own products and attention with the plain ways to write them, which alternate in one process.

    python scripts/bench_layers.py [--repeats 9] [--steps 5]

products: the gradient of a kernel for rows of tokens, by `nn.linear.matmul` and by `@`.
attention: the gradient of `nn.attention.attend` and of `jax.nn.dot_product_attention`; and one token of each of
    several texts that reads a cache, with heads before places and behind them.

All of it is computed in float32, and is the same to 1e-3 before it is timed.
"""

import argparse
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bench import BUSY, Others, alternate, machine, prepare_environment, report
from jaxlm.nn.attention import attend, attend_by_head
from jaxlm.nn.linear import matmul


def main() -> None:
    """Parse and run all comparisons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9, help="turns of every peer")
    parser.add_argument("--steps", type=int, default=5, help="calls a turn")
    options = parser.parse_args()
    prepare_environment()
    print(machine(len(os.sched_getaffinity(0))), flush=True)
    others = Others()
    for outputs in (256, 6000):
        compare(f"256 rows of 18 tokens, 128 -> {outputs}", products(outputs), options.repeats, options.steps)
    for shape in ((256, 15, 4, 32), (16, 128, 12, 32)):
        name = "gradient of attention, (rows, tokens, heads, width) " + str(shape)
        compare(name, gradients(*shape), options.repeats, options.steps)
    for shape in ((16, 128, 12, 64), (40, 32, 4, 32)):
        name = "one token and a cache, (texts, places, heads, width) " + str(shape)
        compare(name, caches(*shape), options.repeats, options.steps)
    share = others.share()
    print(f"\nother processes had {share:.0%} of the cores" + (": too much for a result" if share > BUSY else ""))


def compare(title: str, peers: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]], repeats: int, steps: int) -> None:
    """Check that compiled functions agree on their arguments, and time them."""
    compiled = {name: jax.jit(function) for name, (function, _) in peers.items()}
    found = [jax.tree.leaves(compiled[name](*peers[name][1])) for name in peers]
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3)

    def turns(name: str) -> Callable[[int], None]:
        def run(count: int) -> None:
            for _ in range(count):
                jax.block_until_ready(compiled[name](*peers[name][1]))

        return run

    report(title, (alternate({name: turns(name) for name in peers}, repeats, steps), 1), "calls")


def normal(*shapes: tuple[int, ...]) -> list[jax.Array]:
    """Return arrays of random numbers."""
    return [jax.random.normal(jax.random.key(number), shape) for number, shape in enumerate(shapes)]


def products(outputs: int, rows: int = 256, tokens: int = 18, width: int = 128) -> dict[str, Any]:
    """Return the gradients of a kernel for the gradient of its outputs."""
    x_BTI, slope_BTO, kernel_IO = normal((rows, tokens, width), (rows, tokens, outputs), (width, outputs))

    def gradient(multiply: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
        return lambda x, slope: jax.vjp(lambda kernel: multiply(x, kernel), kernel_IO)[1](slope)[0]

    return {name: (gradient(f), (x_BTI, slope_BTO)) for name, f in (("plain @", jnp.matmul), ("matmul", matmul))}


def gradients(*shape: int) -> dict[str, Any]:
    """Return the gradients of causal attention."""
    arrays = normal(shape, shape, shape)

    def gradient(attention: Callable[..., jax.Array]) -> Callable[..., Any]:
        return jax.grad(lambda *given: jnp.square(attention(*given)).sum(), (0, 1, 2))

    def plain(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
        return jax.nn.dot_product_attention(query, key, value, is_causal=True)

    return {name: (gradient(f), tuple(arrays)) for name, f in (("dot_product_attention", plain), ("attend", attend))}


def caches(texts: int, places: int, heads: int, width: int) -> dict[str, Any]:
    """Return attention of one token a text to a cache that is half full."""
    query, key, value = normal((texts, 1, heads, width), *[(texts, places, heads, width)] * 2)
    mask = jnp.broadcast_to(jnp.arange(places) < places // 2, (texts, 1, 1, places))

    def plain(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
        return jax.nn.dot_product_attention(query, key, value, mask=mask)

    def by_head(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
        return attend_by_head(query, key, value, mask)

    moved = query, key.swapaxes(1, 2), value.swapaxes(1, 2)
    return {"heads behind places": (plain, (query, key, value)), "heads before places": (by_head, moved)}


if __name__ == "__main__":
    main()
