"""`jaxlm train`: an experiment and a config by name or path."""

import argparse
from itertools import takewhile

from jaxlm.runs.shipped import find_both

USAGE = """usage: jaxlm train [EXPERIMENT] CONFIG [--FIELD VALUE ...]

Train a config, or go on with its run. EXPERIMENT and CONFIG are names that `jaxlm list` shows, or paths of Python
files. Without EXPERIMENT, the config's own is taken. `jaxlm train CONFIG --help` lists the fields of the config."""


def train_by_name(args: argparse.Namespace, rest: list[str]) -> int:
    """Train the config of a command line with the overrides that follow it."""
    typed = [*args.words, *rest]
    names = list(takewhile(lambda word: not word.startswith("-"), typed))
    if not 1 <= len(names) <= 2:
        print(USAGE)
        return 0 if typed in (["-h"], ["--help"]) else 2
    experiment, _ = find_both(names)

    from jaxlm.runs.load import load_module
    from jaxlm.train.main import train_command

    train_command(load_module(experiment).build, typed[len(names) - 1 :], " ".join(["jaxlm train", *names[:-1]]))
    return 0
