"""`jaxlm feedback`: write a training set of the feedback that a service stored."""

import argparse
from pathlib import Path

from jaxlm.errors import BadInput
from jaxlm.runs.files import whole_folder


def feedback(words: argparse.Namespace) -> int:
    """Write the last feedback to each input as a data set, and say how many examples of which label it has."""
    try:
        from jaxlm.serve.feedback.dataset import write_dataset
        from jaxlm.serve.feedback.store import Store
    except ModuleNotFoundError as error:
        raise BadInput(f"{error.name} is not installed: pip install 'jaxlm[serve]'") from None

    if "://" not in words.db and not Path(words.db).expanduser().is_file():
        raise BadInput(f"there is no {words.db}: give the file of `jaxlm serve --feedback`")
    store = Store(words.db)
    try:
        with whole_folder(Path(words.to)) as partial:
            counts = write_dataset(partial, store.told(words.model))
    finally:
        store.close()
    for label, count in sorted(counts.items()):
        print(f"{label} {count}")
    print(f"data set: {words.to}")
    return 0
