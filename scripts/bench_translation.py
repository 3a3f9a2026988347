"""Two comparisons on the same weights, the peers of each alternating in one process.

    python scripts/bench_translation.py [--repeats 5] [--steps 10] [--only train|beam] [--threads N] [--plain]

train: tokens (of sources and targets) per second of the whole step (gradient, clipping, AdamW, skip_nonfinite) of
    configs/transformer_multi30k.py on rows of 24 tokens, against eager PyTorch with its own layers and the same rates
    of dropout (torch_translation.py). To hold: 1.0x.
beam: written tokens per second of beam search with five beams, with a small T5 of random weights, against
    transformers' `generate(num_beams=5)`, which writes the same tokens. To hold: 2x.

Allocator, threads and the share of other processes are as in bench_train.py.
"""

import argparse
import os
import tempfile
from collections.abc import Iterator
from typing import Any

from bench import BUSY, Bare, Others, Times, alternate, machine, prepare_environment, report


def main() -> None:
    """Parse, set the environment, run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="turns of every peer")
    parser.add_argument("--steps", type=int, default=10, help="steps, or searches, a turn")
    parser.add_argument("--only", choices=("train", "beam"))
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="cores for either peer")
    parser.add_argument("--plain", action="store_true", help="leave the environment as it is")
    options = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    if not options.plain:
        prepare_environment()
    import torch

    torch.set_num_threads(options.threads)
    print(machine(options.threads), flush=True)
    others = Others()
    if options.only != "beam":
        report("training against PyTorch", bench_training(options.repeats, options.steps), "tokens")
    if options.only != "train":
        report("beam search against transformers", bench_beams(options.repeats, options.steps), "tokens")
    share = others.share()
    print(f"\nother processes had {share:.0%} of the cores" + (": too much for a result" if share > BUSY else ""))


def bench_training(repeats: int, steps: int, rows: int = 128, length: int = 24) -> tuple[Times, int]:
    """Time the update of the config, once both were seen to compute the same loss without dropout."""
    import jax

    from jaxlm import steps as algebra
    from jaxlm.runs.shipped import find_file
    from jaxlm.steps import transforms
    from jaxlm.train.config import load_config
    from torch_translation import TorchTransformer, training_step

    config = load_config(find_file("config", "transformer_multi30k"))
    model, smoothing = config.model, config.loss.smoothing
    batches = list(random_pairs(4, rows, length, model.vocab))
    tx, loss = config.optim(config.run.steps), config.loss(model, 0)
    step = transforms.skip_nonfinite(algebra.update(algebra.grad(loss), tx))
    example = batches[0]["tokens"][:1], batches[0]["targets"][:1]
    ours = Bare(lambda key: algebra.init(model, tx, example, key), step, batches)
    shape = (model.vocab, model.depth, model.width, model.heads, model.hidden)
    tensors = [as_tensors(batch) for batch in batches]
    plain = TorchTransformer(*shape, 0.0).load(ours.state.params)
    metrics = jax.jit(lambda *words: loss(*words, train=False)[0])(ours.state.params, {}, batches[0], ours.state.key)
    check(metrics["loss"].compute(), plain(*tensors[0], 0.0).item())
    train = training_step(TorchTransformer(*shape, model.dropout), config.optim.peak_lr, smoothing, 1.0)

    def theirs(count: int) -> None:
        for number in range(count):
            train(*tensors[number % len(tensors)])

    tokens = sum(int((batches[0][name] > 0).sum()) for name in ("source_segments", "target_segments"))
    return alternate({"PyTorch eager": theirs, "jaxlm": ours}, repeats, steps), tokens


def random_pairs(count: int, rows: int, length: int, vocab: int) -> Iterator[dict[str, Any]]:
    """Yield batches of pairs of random tokens, of two thirds of the length to all of it."""
    import numpy as np

    draw = np.random.default_rng(0)
    for _ in range(count):
        batch = {name: draw.integers(1, vocab, (rows, length), dtype=np.int32) for name in ("tokens", "targets")}
        for name in ("source_segments", "target_segments"):
            sizes = draw.integers(2 * length // 3, length + 1, (rows, 1))
            batch[name] = (np.arange(length) < sizes).astype(np.int32)
        yield batch


def as_tensors(batch: dict[str, Any]) -> tuple[Any, ...]:
    """Return sources, targets behind the start token 0, targets, and where both are padding."""
    import numpy as np
    import torch

    given = np.pad(batch["targets"][:, :-1], ((0, 0), (1, 0)))
    ids = [torch.from_numpy(x).long() for x in (batch["tokens"], given, batch["targets"])]
    return (*ids, *(torch.from_numpy(batch[name] == 0) for name in ("source_segments", "target_segments")))


def check(ours: float, theirs: float) -> None:
    """Refuse to compare what does not compute the same."""
    print(f"\nloss on the same weights and batch: jaxlm {ours:.6f}, PyTorch {theirs:.6f}", flush=True)
    if abs(ours - theirs) > 1e-4 * abs(theirs):
        raise SystemExit("error: the losses differ, so the two do not compute the same")


def bench_beams(
    repeats: int, steps: int, rows: int = 8, source: int = 16, length: int = 32, beams: int = 5
) -> tuple[Times, int]:
    """Time searches of a fixed length, once both were seen to find the same tokens."""
    import jax
    import numpy as np
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    from jaxlm.decode.generate import NO_STOP
    from jaxlm.decode.seq2seq import beam_tokens
    from jaxlm.hub import pretrained

    shape: dict[str, Any] = {"vocab_size": 4000, "d_model": 128, "d_kv": 32, "d_ff": 256, "num_layers": 4}
    shape |= {"num_heads": 4, "decoder_start_token_id": 0, "eos_token_id": None}
    torch.manual_seed(0)
    peer = T5ForConditionalGeneration(T5Config(**shape)).eval()
    with tempfile.TemporaryDirectory() as folder:
        peer.save_pretrained(folder)
        found = pretrained.load_pretrained(folder)
    tokens = np.random.default_rng(0).integers(1, 4000, (rows, source), dtype=np.int32)
    options = {"num_beams": beams, "max_new_tokens": length, "do_sample": False, "length_penalty": 1.0}

    def search() -> Any:
        sizes = {"beams": beams, "slots": length}
        return beam_tokens(found.model, found.variables, tokens, np.ones_like(tokens), 0, length, NO_STOP, **sizes)

    def generate() -> Any:
        with torch.no_grad():
            return peer.generate(torch.from_numpy(tokens).long(), **options)

    same = np.asarray(search().tokens)[:, 0] == generate().numpy()[:, 1 : length + 1]
    print(f"\n{same.mean():.1%} of the written tokens are the same", flush=True)
    if not same.all(1).mean() > 0.5:
        raise SystemExit("error: most answers differ, so the two do not search alike")
    peers = {
        "transformers generate": lambda count: [generate() for _ in range(count)],
        "jaxlm": lambda count: jax.block_until_ready([search().tokens for _ in range(count)]),
    }
    return alternate(peers, repeats, steps), rows * length


if __name__ == "__main__":
    main()
