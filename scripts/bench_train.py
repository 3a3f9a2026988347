"""Two comparisons, the peers of each alternating in one process.

    python scripts/bench_train.py [--repeats 9] [--steps 40] [--only loop|torch] [--threads N] [--plain]

loop: `fit` with its meter, loader and hooks, on the standard library's source, against the bare compiled step
    on batches that are on the device: a transformer, and an MLP on digits with `--steps` times 20 updates a turn. To
    hold: at most 2 % slower for steps of 50 ms, and at most 50 microseconds slower for steps of 1 ms.
torch: tokens per second of the whole step (gradient, clipping, AdamW, skip_nonfinite), alone and ten in one program,
    against eager PyTorch (torch_gpt.py) in float32 at the CPU Shakespeare setting. To hold: 1.0x; the aim is 1.3x.

Both peers run with glibc's huge pages, and with an allocator that keeps large blocks and does not hand them back after
every step, for which the script starts itself again (`--plain`: without). On two cores that took 15 % off single steps
of jaxlm and nothing off PyTorch. Where other work takes cores, PyTorch's threads are told to sleep rather than to spin:
there that makes it three times faster, and on a quiet machine slower. So only a quiet machine gives a result, and the
script says what share of the cores others had.
"""

import argparse
import importlib.util
import os
import statistics
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench import BUSY, Bare, Others, Peer, Times, alternate, machine, prepare_environment, report


def main() -> None:
    """Parse, set the environment, run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9, help="turns of every peer")
    parser.add_argument("--steps", type=int, default=40, help="steps a turn, a multiple of 10")
    parser.add_argument("--only", choices=("loop", "torch"))
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="cores for either peer")
    parser.add_argument("--plain", action="store_true", help="leave the environment as it is")
    options = parser.parse_args()
    if options.steps < 10 or options.steps % 10 or options.repeats < 1:
        parser.error("--steps is a multiple of 10 and --repeats at least 1")
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    if not options.plain:
        prepare_environment()
    print(machine(options.threads), flush=True)
    others = Others()
    if options.only != "torch":
        for name, made, amount, unit in (
            ("transformer", transformer, 16 * 128, "tokens"),
            ("MLP", perceptron, 128, "images"),
        ):
            many = options.steps * (1 if name == "transformer" else 20)
            times = bench_loop(made(), options.repeats, many)
            report(f"the loop against the bare step, {name}", (times, amount), unit)
            pairs = zip(times["bare step"], times["loop"], strict=True)
            extra = statistics.median(loop[0] - bare[0] for bare, loop in pairs)
            print(f"the loop adds {extra * 1e6:.0f} microseconds a step (median)")
    if options.only != "loop":
        report("jaxlm against PyTorch", bench_torch(options.repeats, options.steps, options.threads), "tokens")
    share = others.share()
    print(f"\nother processes had {share:.0%} of the cores" + (": too much for a result" if share > BUSY else ""))


def compose(model: Any, repeat: int = 1) -> tuple[Callable[..., Any], Callable[..., Any], Any]:
    """Return the initialiser and the step of experiments/language_model.py, and the loss."""
    import numpy as np

    from jaxlm import steps
    from jaxlm.losses import next_token
    from jaxlm.optim import AdamW
    from jaxlm.steps import transforms

    tx = AdamW(peak_lr=1e-3, warmup=100)(2000)
    loss = next_token(model)
    step = transforms.skip_nonfinite(steps.update(steps.grad(loss), tx))
    example = np.zeros((1, model.context), np.int32)
    step = transforms.repeat(step, repeat) if repeat > 1 else step
    return lambda key: steps.init(model, tx, example, key), step, loss


def transformer() -> tuple[Callable[..., Any], Callable[..., Any], Any]:
    """Return the initialiser, the step and the data of a small transformer on the standard library's source."""
    from jaxlm.data import Bytes, Text
    from jaxlm.models.gpt import GPT

    init, step, _ = compose(GPT(vocab=256, depth=2, width=128, heads=4, context=128))
    return init, step, Text(path=None, tokenizer=Bytes(), batch=16, length=128).train(seed=0)


def perceptron() -> tuple[Callable[..., Any], Callable[..., Any], Any]:
    """Return the same of an MLP of about a millisecond an update, on scikit-learn's digits."""
    from jaxlm import parallel
    from jaxlm.data.images.sources import Digits
    from jaxlm.losses import Classification
    from jaxlm.models.mlp import MLP
    from jaxlm.optim import AdamW
    from jaxlm.train import Config, Run
    from jaxlm.train.compose import supervised

    model, loss = MLP(classes=10, hidden=(256, 256)), Classification()
    config = Config(model=model, data=Digits(batch=128), loss=loss, optim=AdamW(), run=Run(steps=2000))

    def loss_of(config: Any) -> Any:
        from jaxlm.steps import transforms

        return transforms.prepare(config.loss(config.model), config.data.prepare)

    experiment = supervised(loss_of, config, parallel.local())
    return experiment.init, experiment.step, experiment.train_data


def bench_loop(made: tuple[Callable[..., Any], Callable[..., Any], Any], repeats: int, steps: int) -> Times:
    """Time the loop as `jaxlm.train` drives it, against the bare step of the same program."""
    import jax

    from jaxlm.data import batches
    from jaxlm.interrupt import Interrupt
    from jaxlm.parallel import local
    from jaxlm.runs.checkpoint import Checkpoints
    from jaxlm.runs.directory import RunDirectory
    from jaxlm.steps import Metrics, compute
    from jaxlm.train.loop import every, fit
    from jaxlm.train.meter import Meter

    init, step, data = made
    total = (repeats + 1) * steps
    bare = Bare(init, step, [data[i] for i in range(8)])
    place, program = local(), bare.step
    state = place.init(init, jax.random.key(0))
    stream = batches(data, 0, total, put=place.put)
    done = 0

    with tempfile.TemporaryDirectory() as folder, Interrupt() as interrupt:
        run_dir, checkpoints = RunDirectory(folder), Checkpoints(Path(folder) / "checkpoints")
        hooks = [
            every(total + 1, lambda state, completed: None),
            every(total + 1, lambda state, completed: None),
            lambda state, completed: checkpoints.check(),
            lambda state, completed: interrupt.check(),
        ]

        def record(completed: int, sums: Metrics, times: dict[str, float]) -> None:
            run_dir.append_metrics(completed, compute(sums, "train/") | times)

        def loop(count: int) -> None:
            nonlocal state, done
            meter = Meter(record, 50, done, (128, "examples"))
            state, done, _ = fit(program, state, stream, meter, start=done, stop=done + count, hooks=hooks)

        return alternate({"bare step": bare, "loop": loop}, repeats, steps)


def bench_torch(repeats: int, steps: int, threads: int) -> tuple[Times, int] | None:
    """One step of jaxlm and ten in a program, against eager PyTorch, once both were seen to compute the same loss."""
    if importlib.util.find_spec("torch") is None:
        print("PyTorch is not installed, so there is nothing to compare with: pip install torch")
        return None
    import torch

    from jaxlm.models.gpt import GPT
    from torch_gpt import TorchGPT, training_step

    torch.set_num_threads(threads)
    model, rows = GPT(vocab=65, depth=4, width=128, heads=4, context=64), 12
    prepared = list(random_batches(10, rows, model.context, model.vocab))
    init, step, loss = compose(model)
    alone = Bare(init, step, prepared)
    ten = Bare(init, compose(model, repeat=10)[1], [tuple(prepared)], stride=10)
    peer = TorchGPT(model.vocab, model.depth, model.width, model.heads, model.context).load(alone.state.params)
    tensors = [tuple(torch.from_numpy(batch[name]).long() for name in ("tokens", "targets")) for batch in prepared]
    check_losses(loss, alone.state, prepared[0], peer(*tensors[0]).item())
    train = training_step(peer, peak=1e-3, b1=0.9, b2=0.95, decay=0.1, clip=1.0)

    def run(count: int) -> None:
        for i in range(count):
            train(*tensors[i % len(tensors)])

    peers: dict[str, Peer] = {"PyTorch eager": run, "jaxlm, single steps": alone, "jaxlm, repeat(step, 10)": ten}
    return alternate(peers, repeats, steps), rows * model.context


def check_losses(loss: Callable[..., Any], state: Any, batch: Any, theirs: float) -> None:
    """Refuse to compare what does not compute the same."""
    metrics, _ = loss(state.params, state.variables, batch, state.key, train=False)
    ours = metrics["loss"].compute()
    print(f"\nloss on the same weights and batch: jaxlm {ours:.6f}, PyTorch {theirs:.6f}", flush=True)
    if abs(ours - theirs) > 1e-4:
        raise SystemExit("error: the losses differ by more than 1e-4, so the two do not compute the same")


def random_batches(count: int, rows: int, length: int, vocab: int) -> Iterator[dict[str, Any]]:
    """Batches of random tokens: the time of a step does not depend on them."""
    import numpy as np

    random = np.random.default_rng(0)
    for _ in range(count):
        text = random.integers(0, vocab, (rows, length + 1), dtype=np.int32)
        yield {"tokens": text[:, :-1], "targets": text[:, 1:]}


if __name__ == "__main__":
    main()
