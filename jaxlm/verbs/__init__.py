"""What the verbs of the command line do."""

import argparse
from collections.abc import Callable


def run(words: argparse.Namespace, rest: list[str]) -> int:
    """Do what a parsed command line says and return the exit code."""
    from jaxlm.verbs import runs, trace
    from jaxlm.verbs.ablate import ablate
    from jaxlm.verbs.crossval import crossval
    from jaxlm.verbs.harness import lm_eval
    from jaxlm.verbs.hub import bring, export
    from jaxlm.verbs.predict import predict
    from jaxlm.verbs.tune import tune

    verbs: dict[str, Callable[[], int]] = {
        "doctor": runs.doctor,
        "info": lambda: runs.info(words.run),
        "sample": lambda: runs.sample(words),
        "eval": lambda: runs.evaluate(words),
        "lm-eval": lambda: lm_eval(words),
        "predict": lambda: predict(words),
        "import": lambda: bring(words, rest),
        "export": lambda: export(words),
        "ablate": lambda: ablate(words, rest),
        "crossval": lambda: crossval(words, rest),
        "tune": lambda: tune(words, rest),
        "explain": lambda: trace.explain(words),
        "verify": lambda: trace.verify(words),
        "bisect": lambda: trace.bisect(words),
        "verify-resume": lambda: runs.verify(words, rest),
    }
    return verbs[words.verb]()
