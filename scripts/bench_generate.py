"""Compare continuous batching with one request after another, and with transformers' generate on the same weights.

    python scripts/bench_generate.py LLAMA
    python scripts/bench_generate.py LLAMA --rounds 7 --length 100

LLAMA is a folder of a small Llama in Hugging Face's layout. Greedy texts of one length, from prompts of 8 random
tokens. All ways alternate in one process on one machine, each as often; medians are printed, and texts are compared.
transformers is left out where it is not installed.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxlm.decode.slots import ModelSlots
from jaxlm.hub import pretrained
from jaxlm.serve.engine import Engine, TextRequest

PROMPT, MANY = 8, 16


def through(engine: Engine, prompts: list[list[int]], length: int, together: bool) -> list[list[int]]:
    """Return the texts of prompts, asked for at once or one after another."""

    async def one(prompt: list[int]) -> list[int]:
        return [token async for token in engine.write(TextRequest(prompt, length))]

    async def run() -> list[list[int]]:
        if together:
            return await asyncio.gather(*map(one, prompts))
        return [await one(prompt) for prompt in prompts]

    return asyncio.run(run())


def peer(folder: str) -> Callable[[list[list[int]], int], list[list[int]]] | None:
    """Return greedy generation by transformers, or None where it is not installed."""
    try:
        import torch
        from transformers import AutoModelForCausalLM
    except ModuleNotFoundError:
        return None
    model = AutoModelForCausalLM.from_pretrained(folder).eval()

    def run(prompts: list[list[int]], length: int) -> list[list[int]]:
        tokens = torch.tensor(prompts)
        options = {"do_sample": False, "max_new_tokens": length, "min_new_tokens": length, "pad_token_id": 0}
        with torch.inference_mode():
            found = model.generate(tokens, attention_mask=torch.ones_like(tokens), **options)
        return found[:, tokens.shape[1] :].tolist()

    return run


def main() -> None:
    """Print tokens a second of each way, and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="LLAMA")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--length", type=int, default=100)
    options = parser.parse_args()
    loaded = pretrained.load_pretrained(options.folder)
    model: Any = loaded.model
    engine = Engine(ModelSlots(model), loaded.variables, slots=MANY)
    engine.start()
    single = Engine(ModelSlots(model), loaded.variables, slots=1)
    single.start()
    rng = np.random.default_rng(0)
    prompts = rng.integers(3, model.vocab, (MANY, PROMPT)).tolist()
    length, theirs = options.length, peer(options.folder)
    ways: dict[str, tuple[int, Callable[[], list[list[int]]]]] = {
        "16 at once": (MANY, lambda: through(engine, prompts, length, True)),
        "16 one after another": (MANY, lambda: through(engine, prompts, length, False)),
        "1, with one slot": (1, lambda: through(single, prompts[:1], length, False)),
    }
    if theirs is not None:
        ways["16, transformers"] = MANY, lambda: theirs(prompts, length)
        ways["1, transformers"] = 1, lambda: theirs(prompts[:1], length)
    texts = {name: run() for name, (_, run) in ways.items()}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, (_, run) in ways.items():
            began = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - began)
    speed = {name: count * length / statistics.median(times[name]) for name, (count, _) in ways.items()}
    for name, found in speed.items():
        same = sum(a == b for a, b in zip(texts[name], texts["16 at once"], strict=False))
        print(f"{name:22} {found:9.0f} tokens/s   {same} of {len(texts[name])} texts equal")
    print(f"at once / one after another: {speed['16 at once'] / speed['16 one after another']:.2f}")
    print(f"at once / one with one slot: {speed['16 at once'] / speed['1, with one slot']:.2f}")
    if theirs is not None:
        print(f"at once / transformers: {speed['16 at once'] / speed['16, transformers']:.2f}")
        print(f"one / transformers: {speed['1, with one slot'] / speed['1, transformers']:.2f}")
    engine.close()
    single.close()


if __name__ == "__main__":
    main()
