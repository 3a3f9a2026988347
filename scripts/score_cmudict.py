"""Tell how many words a run reads wrong: the word and the phone error rate of letters to sounds.

    python scripts/score_cmudict.py RUN CMUDICT/test.tsv [--beams 1] [--step 5000] [--show 20]

A word is right if what is written is any of its pronunciations. Phone errors are edits to the nearest one.
"""

import argparse
import csv
import dataclasses
from pathlib import Path

from jaxlm.metrics.speech import sequence_errors
from jaxlm.predict.load import LoadedModel
from jaxlm.runs.directory import RunDirectory
from jaxlm.runs.load import load_module
from jaxlm.runs.weights import read_run


def main() -> None:
    """Read the command line and print one line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("table", type=Path, help="with the columns source and target, as prepare_cmudict.py writes it")
    parser.add_argument("--beams", type=int, help="1 is greedy; that of the run where it is not given")
    parser.add_argument("--step", type=int, help="of the checkpoint; the newest where it is not given")
    parser.add_argument("--show", type=int, default=0, help="so many of the wrong words")
    words = parser.parse_args()
    references = read(words.table)
    answers = [answer["text"] for answer in opened(words.run, words.beams, words.step)(list(references))]
    found = sequence_errors(answers, list(references.values()))
    triples = zip(references.items(), answers, strict=True)
    wrong = [(word, right, answer) for (word, right), answer in triples if answer not in right]
    for word, right, answer in wrong[: words.show]:
        print(f"{word.replace(' ', '')}: {answer} for {' | '.join(right)}")
    errors, phones = (100 * found[name].compute() for name in ("sequence_error", "symbol_error"))
    print(f"{len(references)} words: {errors:.2f} % wrong, phone error rate {phones:.2f} %")


def read(table: Path) -> dict[str, list[str]]:
    """Return the pronunciations of each word, by its letters."""
    found: dict[str, list[str]] = {}
    with table.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            found.setdefault(row["source"], []).append(row["target"])
    return found


def opened(folder: Path, beams: int | None, step: int | None) -> LoadedModel:
    """Return the model of a run as a function, with another number of beams where one is given."""
    run = RunDirectory.existing(folder)
    config = run.config()
    if beams is not None:
        config = dataclasses.replace(config, decode=dataclasses.replace(config.decode, beams=beams))
    return LoadedModel(load_module(run.experiment).predictor(config, run), read_run(run, step))


if __name__ == "__main__":
    main()
