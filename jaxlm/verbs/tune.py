"""`jaxlm tune`: from a command line to the table of a search and the command of its best trial."""

import argparse
import shlex
from pathlib import Path

from jaxlm.errors import BadInput


def tune(words: argparse.Namespace, rest: list[str]) -> int:
    """Run what is not done yet of a search, write its table, and print it with the command line of the best trial.

    Returns 0, 1 where no trial has a value, or 130 where a signal stopped a run: the same command goes on there.
    """
    from jaxlm.ablate.arms import parse
    from jaxlm.ablate.space import declared, read_space
    from jaxlm.ablate.trials import text
    from jaxlm.ablate.tune import default_directory, search
    from jaxlm.train.checkpoint import reason
    from jaxlm.train.config import load, load_module
    from jaxlm.train.main import keep_compiled_programs

    for path in (words.experiment, words.config):
        if not Path(path).is_file():
            raise BadInput(f"there is no file {path}")
    keep_compiled_programs()
    base = parse(load(words.config), rest, words.config)
    space = read_space(base, [*declared(getattr(load_module(words.config), "space", {}), words.config), *words.space])
    directory = words.directory or default_directory(Path(words.config), base, space, words.seed)
    larger = {"larger": True, "smaller": False, None: None}[words.better]
    build, chosen = load_module(words.experiment).build, {"metric": words.metric, "maximize": larger}
    try:
        table = search(build, base, space, words.trials, directory, seed=words.seed, prune=words.prune, **chosen)
    except KeyboardInterrupt:
        print(f"stopped: the same command goes on in {directory}", flush=True)
        return 130
    except OSError as error:
        raise BadInput(
            f"{directory} cannot be written ({reason(error)}): mend that and run the same command"
        ) from error
    print(text(table), end="")
    print(f"table: {directory}/trials.txt, .csv and .json")
    if table["best"] is None:
        return 1
    best = table["trials"][table["best"]]["words"]
    print(f"best: {shlex.join(['python', words.experiment, words.config, *rest, *best])}")
    return 0
