"""Translate the same texts in batches of several sizes and widths, and count the answers that differ in any byte.

    python scripts/translation_invariance.py RUN [--texts 1000] [--batches 1 2 7 32] [--widths 48 64]

RUN is a run of `experiments/translation.py`, and the texts are the sources of its evaluation. All answers are compared
with those of the largest batch in the widths of the run; `--widths` pads every row to one width. Texts that are too
long are left out. The exit code is 1 where an answer differs.
"""

import argparse
import dataclasses
import sys
import time
from collections.abc import Sequence
from typing import Any

from jaxlm.errors import BadInput
from jaxlm.predict import answer_all
from jaxlm.predict.load import load_run
from jaxlm.runs.directory import RunDirectory


def main(words: Sequence[str] | None = None) -> int:
    """Parse, translate, compare; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="RUN", help="a run directory")
    parser.add_argument("--texts", type=int, default=1000, help="how many texts of the evaluation (default 1000)")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 7, 32], help="rows at a time")
    parser.add_argument("--widths", type=int, nargs="*", default=[], help="one width for all rows, each at a time")
    options = parser.parse_args(words)
    loaded, data = load_run(options.run, None), RunDirectory.existing(options.run).config().data
    own = data.widths
    texts = list(data.loaded().eval.sources)[: options.texts]
    kept = [text for text in texts if not isinstance(next(loaded.predictor.preprocess([text])), BadInput)]
    largest, *others = sorted(set(options.batches), reverse=True)
    cases = [(size, own) for size in others] + [(largest, (width,)) for width in options.widths]
    expected = translate(loaded.predictor, loaded.variables, kept, largest, own)
    print(f"{len(kept)} texts, compared with batches of {largest} in the widths {own}")
    differing = [compare(expected, translate(loaded.predictor, loaded.variables, kept, *case), case) for case in cases]
    return int(any(differing))


def translate(predictor: Any, variables: Any, texts: list[str], size: int, widths: tuple[int, ...]) -> list[str]:
    """Return the translations of texts in batches of a size, in rows of some widths."""
    begun = time.perf_counter()
    changed = dataclasses.replace(predictor, preprocess=dataclasses.replace(predictor.preprocess, widths=widths))
    found: list[Any] = list(answer_all(changed, variables, texts, batch=size))
    answers = [answer["text"] for answer in found]
    print(f"batches of {size}, widths {widths}: {time.perf_counter() - begun:.0f} s", flush=True)
    return answers


def compare(expected: list[str], found: list[str], case: Any) -> int:
    """Print how many answers differ, and the first of them; return their number."""
    pairs = [(a, b) for a, b in zip(expected, found, strict=True) if a.encode() != b.encode()]
    print(f"  {len(pairs)} of {len(expected)} differ")
    if pairs:
        print(f"  {pairs[0][0]}\n  {pairs[0][1]}")
    return len(pairs)


if __name__ == "__main__":
    sys.exit(main())
