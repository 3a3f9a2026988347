"""`jaxlm ablate`: from a command line to the table of an ablation."""

import argparse
from pathlib import Path

from jaxlm.errors import BadInput


def ablate(words: argparse.Namespace, rest: list[str]) -> int:
    """Run what is not done yet of an ablation, write its table in every form, and print it.

    Returns 0, or 130 where a signal stopped a run: the same command goes on there.
    """
    from jaxlm.ablate.arms import combine, declared, parse, varied
    from jaxlm.ablate.forms import text
    from jaxlm.ablate.run import ablate as run
    from jaxlm.ablate.run import default_directory
    from jaxlm.train.checkpoint import reason
    from jaxlm.train.config import load, load_module
    from jaxlm.train.main import keep_compiled_programs

    for path in (words.experiment, words.config):
        if not Path(path).is_file():
            raise BadInput(f"there is no file {path}")
    keep_compiled_programs()
    base = parse(load(words.config), rest, words.config)
    changes = declared(getattr(load_module(words.config), "ablations", {}), words.config)
    arms = combine(base, words.mode, changes, varied(base, words.vary))
    directory = words.directory or default_directory(Path(words.config), base, arms)
    larger = {"larger": True, "smaller": False, None: None}[words.better]
    build = load_module(words.experiment).build
    command = ("python", words.experiment, words.config, *rest)
    try:
        table = run(build, base, arms, words.seeds, directory, metric=words.metric, maximize=larger, command=command)
    except KeyboardInterrupt:
        print(f"stopped: the same command goes on in {directory}", flush=True)
        return 130
    except OSError as error:
        raise BadInput(
            f"{directory} cannot be written ({reason(error)}): mend that and run the same command"
        ) from error
    print(text(table), end="")
    print(f"table: {directory}/table.txt, .csv, .md, .tex, .html and .json")
    return 0
