"""`jaxlm feedback`: make a training set of what a service stored, or compare two models on it."""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from jaxlm.errors import BadInput
from jaxlm.runs.files import whole_folder

TEXTS = ("label", "text", "answer")  # of an answer, what a label is compared with


def feedback(words: argparse.Namespace) -> int:
    """Write the last feedback to each input as a data set and count its labels, or compare two models on it."""
    try:
        from jaxlm.serve.feedback.dataset import write_dataset
        from jaxlm.serve.feedback.store import Store
    except ModuleNotFoundError as error:
        raise BadInput(f"{error.name} is not installed: pip install 'jaxlm[serve]'") from None

    if "://" not in words.db and not Path(words.db).expanduser().is_file():
        raise BadInput(f"there is no {words.db}: give the file of `jaxlm serve --feedback`")
    if words.last is not None and not words.compare:
        raise BadInput("--last is for --compare: leave it out")
    store = Store(words.db)
    try:
        if words.compare:
            return _compare(words, list(store.told(words.model)))
        with whole_folder(Path(words.to)) as partial:
            counts = write_dataset(partial, store.told(words.model))
    finally:
        store.close()
    for label, count in sorted(counts.items()):
        print(f"{label} {count}")
    print(f"data set: {words.to}")
    return 0


def _compare(words: argparse.Namespace, rows: list[Any]) -> int:
    """Print how two models do on the same labelled inputs, and whether the second is better by more than chance."""
    from jaxlm.ablate.report.statistics import LEVEL, sign_flip

    if words.last is not None and words.last < 1:
        raise BadInput(f"--last is {words.last}: it must be at least 1")
    labelled = [one for one in rows if one.label is not None][-(words.last or 0) :]
    if not labelled:
        raise BadInput("no feedback has a label and its input: nothing to compare on")
    found = [_answers(path, labelled) for path in words.compare]
    both = [row for row in zip(*found, labelled, strict=True) if not any(isinstance(one, BadInput) for one in row)]
    if len(both) < len(labelled):
        print(f"left out: {len(labelled) - len(both)} inputs that not both models read", file=sys.stderr)
    if not both:
        raise BadInput("no labelled input is one that both models read: compare models of the kind that was served")
    old, new = (np.array([score_answer(row[model], row[2].label) for row in both]) for model in (0, 1))
    p = sign_flip(new - old)
    print(f"old {old.mean():.4f}, new {new.mean():.4f} on {len(both)} inputs, p {p:.4f} (paired)")
    better = new.mean() > old.mean() and p < LEVEL
    print(f"{words.compare[1]} is {'better' if better else 'not better by more than chance'}")
    return 0


def _answers(path: str, rows: list[Any]) -> list[Any]:
    """Return a model's answer to the input of each row, or why there is none; an input never names a file."""
    from jaxlm.export.load import load_model
    from jaxlm.predict.predictor import answer_all
    from jaxlm.serve.form import form_of

    model = load_model(path)
    read = form_of(model.predictor).read(one.input for one in rows)
    good = [given for given in read if not isinstance(given, BadInput)]
    answers = answer_all(model.predictor, model.variables, good)
    return [given if isinstance(given, BadInput) else next(answers) for given in read]


def score_answer(answer: dict[str, Any], label: str) -> float:
    """Return how good an answer is: minus the error of a number; 1 for the right class or text, and 0 otherwise.

    Raises:
        BadInput: the answer has nothing that a label could be.
    """
    if "value" in answer:
        try:
            return -abs(answer["value"] - float(label))
        except ValueError:
            raise BadInput(
                f"the label {label[:60]!r} is not a number, and the answers are: correct the feedback"
            ) from None
    for name in TEXTS:
        if isinstance(answer.get(name), str):
            return float(answer[name] == label)
    raise BadInput(f"answers of {', '.join(answer)} cannot be compared with a label")
