"""A private training step beside the plain one, alternating in one process, and the memory that each is planned with.

    python scripts/bench_privacy.py [--repeats 7] [--steps 3] [--batch 1024] [--chunks 1 4 16] [--plain]
    python scripts/bench_privacy.py --encoder --steps 1 --batch 32 --chunks 1 8

The step is that of configs/dp_mnist.py: gradient of the cross entropy and SGD with momentum; the private one clips the
gradient of each example and adds noise. With --encoder all weights of a classifier of MiniLM's shape are trained, on 48
random tokens a row. Chunks are micro-batches (`run.accumulate`): the gradients of the examples of one of them are in
memory together; "ghost" is `privacy.norms ghost`. To hold: the best private step takes at most 2.5 times the plain one.
Only a quiet machine gives a result; the ratio is the median over turns that alternate.
"""

import argparse
import os
from collections.abc import Callable
from typing import Any

from bench import BUSY, Bare, Others, Peer, alternate, machine, prepare_environment, report


def main() -> None:
    """Parse, set the environment, run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7, help="turns of every step")
    parser.add_argument("--steps", type=int, default=3, help="steps a turn")
    parser.add_argument("--batch", type=int, default=1024, help="images or rows of text a step")
    parser.add_argument("--encoder", action="store_true", help="a text encoder in the place of a small CNN")
    parser.add_argument("--chunks", type=int, nargs="+", default=[1, 4, 16], help="micro-batches of the private step")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="cores")
    parser.add_argument("--plain", action="store_true", help="leave the environment as it is")
    options = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    if not options.plain:
        prepare_environment()
    print(machine(options.threads), flush=True)
    others, peers = Others(), compose(options.batch, options.chunks, options.encoder)
    times = alternate(peers, options.repeats, options.steps)
    report("private against plain", (times, options.batch), "rows" if options.encoder else "images")
    share = others.share()
    print(f"\nother processes had {share:.0%} of the cores" + (": too much for a result" if share > BUSY else ""))


def example(batch: int, encoder: bool) -> tuple[Any, tuple[str, ...], dict[str, Any]]:
    """Return the model, the names of its inputs, and a batch."""
    import numpy as np

    from jaxlm.losses import IMAGE, TEXT
    from jaxlm.models.bert_shapes import MINILM_L6
    from jaxlm.models.heads import Classifier
    from jaxlm.runs.load import load_module

    random = np.random.default_rng(0)
    rows = {"label": random.integers(0, 2, batch).astype(np.int32), "mask": np.ones(batch, np.float32)}
    if encoder:
        model = Classifier(encoder=MINILM_L6, classes=2, pool="mean")
        return model, TEXT, rows | {"tokens": random.integers(1000, 20000, (batch, 48)).astype(np.int32)}
    model = load_module("configs/dp_mnist.py").config.model
    return model, IMAGE, rows | {"image": random.random((batch, 28, 28, 1)).astype(np.float32)}


def compose(batch: int, chunks: list[int], encoder: bool) -> dict[str, Peer]:
    """Return the plain step and the private ones in several numbers of chunks; prints the memory of each."""
    import jax

    from jaxlm import steps
    from jaxlm.losses import classification
    from jaxlm.optim import SGD
    from jaxlm.privacy.ghost import clip_each_by_ghost_norms

    model, inputs, rows = example(batch, encoder)
    tx = SGD(peak_lr=1e-3, momentum=0.9, schedule="constant")(1000)
    loss = classification(model, inputs=inputs)

    def peer(name: str, grad: Callable[..., Any]) -> Peer:
        def init(key: Any) -> Any:
            return steps.init(model, tx, rows[inputs[0]][:1], key)

        step = steps.update(grad, tx)
        planned: Any = jax.jit(step).lower(init(jax.random.key(0)), rows).compile().memory_analysis()
        print(f"{name}: {planned.temp_size_in_bytes / 1e6:,.1f} MB besides state and batch", flush=True)
        return Bare(init, step, [rows])

    peers = {"plain": peer("plain", steps.grad(loss))}
    for kind, clip in {"private": steps.clip_each, "ghost": clip_each_by_ghost_norms}.items():
        for parts in chunks:
            name = f"{kind}, {parts} chunks"
            grad = steps.accumulate(clip(loss, 0.1), parts)
            peers[name] = peer(name, steps.add_noise(grad, 0.1, batch))
    return peers


if __name__ == "__main__":
    main()
