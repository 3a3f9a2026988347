"""`jaxlm tune`: from a command line to the table of a search and the command of its best trial."""

import argparse
import shlex
from pathlib import Path

from jaxlm.errors import MachineError
from jaxlm.interrupt import exit_code


def tune(args: argparse.Namespace, overrides: list[str]) -> int:
    """Train the trials of a search that are not done yet, write its table, and print it and the command of the best.

    Returns:
        0; 1 where no trial has a value; 128 + its number where a signal stopped a run. The same command goes on there.
    """
    from jaxlm.ablate.arms import Arm, parse, typed
    from jaxlm.ablate.report.trials import trials_text
    from jaxlm.ablate.space import declared_space, read_space
    from jaxlm.ablate.tune import search, search_directory
    from jaxlm.runs.files import reason
    from jaxlm.runs.load import load_module
    from jaxlm.runs.shipped import find_both
    from jaxlm.train.config import load_config, shorten_warmup
    from jaxlm.train.main import keep_compiled_programs

    args.experiment, args.config = map(str, find_both([args.experiment, args.config]))
    keep_compiled_programs()
    given = load_config(args.config)
    base = shorten_warmup(parse(given, overrides, args.config), given, overrides)
    space = read_space(
        base, [*declared_space(getattr(load_module(args.config), "space", {}), args.config), *args.space]
    )
    directory = args.directory or search_directory(Path(args.config), base, space, args.seed)
    larger = {"larger": True, "smaller": False, None: None}[args.better]
    build, chosen = load_module(args.experiment).build, {"metric": args.metric, "maximize": larger}
    try:
        table = search(build, base, space, args.trials, directory, seed=args.seed, prune=args.prune, **chosen)
    except KeyboardInterrupt as stopped:
        print(f"stopped: the same command goes on in {directory}", flush=True)
        return exit_code(stopped)
    except OSError as error:
        raise MachineError(
            f"{directory} cannot be written ({reason(error)}): fix that and run the same command again"
        ) from error
    print(trials_text(table), end="")
    print(f"table: {directory}/trials.txt, .csv and .json")
    if table["best"] is None:
        return 1
    best = table["trials"][table["best"]]["words"]
    words = typed([*overrides, *best], getattr(Arm("best", tuple(best)).config(base).optim, "warmup", None))
    print(f"best: {shlex.join(['python', args.experiment, args.config, *words])}")
    return 0
