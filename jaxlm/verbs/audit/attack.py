"""Attack a run: does the loss reveal which examples it was trained on?"""

import argparse
import json

import numpy as np

from jaxlm.errors import BadInput
from jaxlm.runs.files import write_atomic


def attack(words: argparse.Namespace) -> int:
    """Print how well membership in the training data is inferred from losses, and write audit.json in the run.

    The attack of Yeom et al. 2018, arXiv:1709.01604: an example with a low loss is called a member. With runs that were
    trained on other data, the loss is compared with theirs on the same example, so that examples that are easy for all
    are no evidence (Watson et al. 2022, arXiv:2111.08440).

    Raises:
        BadInput: the run cannot be audited.
    """
    from jaxlm.metrics.membership import CONFIDENT, measure_membership
    from jaxlm.train.recorder import Recorder
    from jaxlm.verbs.audit.losses import losses_of, members_and_others

    if words.examples < 2:
        raise BadInput(f"--examples is {words.examples}: give at least 2")
    recorder = Recorder.existing(words.run)
    step = recorder.checkpoints.choose(words.step)
    parts, scores = members_and_others(recorder), []
    state = recorder.restore(step)
    for source in parts:
        scores.append(-losses_of(recorder, state, source, words.examples))
    for path in words.reference:
        other = Recorder.existing(path)
        state = other.restore(other.checkpoints.choose(None))
        for number, source in enumerate(parts):
            scores[number] = scores[number] + losses_of(other, state, source, words.examples) / len(words.reference)
    if min(map(len, scores)) < 2 or not all(np.isfinite(part).all() for part in scores):
        raise BadInput(f"{words.run}: fewer than two examples, or a loss that is not finite: nothing can be measured")
    found = measure_membership(*scores)
    counts = f"{len(scores[0]):,} members and {len(scores[1]):,} others"
    print(f"membership: AUC {found.auc:.4f}, 95 % interval {found.low:.4f} to {found.high:.4f} (at {step}, {counts})")
    for share, value in zip(CONFIDENT, found.found, strict=True):
        print(f"with {share:.1%} wrong alarms {value:.1%} of the members are found")
    result = {"step": step, "auc": found.auc, "interval": [found.low, found.high], "references": words.reference}
    result |= {"members": len(scores[0]), "others": len(scores[1])}
    result |= {"found": dict(zip(CONFIDENT, found.found, strict=True))}
    write_atomic(recorder.run_dir.path / "audit.json", json.dumps(result, indent=1) + "\n")
    return 0
