"""`jaxlm ablate`: from a command line to the table of an ablation."""

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any

from jaxlm.errors import BadInput


def ablate(words: argparse.Namespace, rest: list[str]) -> int:
    """Run what is not done yet of an ablation, write its table in every form, and print it.

    Returns 0, or 130 where a signal stopped a run, or 1 where workers died too often: the same command goes on there.
    """
    from jaxlm.ablate.arms import combine, declared, parse, varied
    from jaxlm.ablate.executors import OpenCells
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
    directory = words.directory or default_directory(Path(words.config), base, arms, words.vary_seed)
    where, shares = executor(words)
    larger = {"larger": True, "smaller": False, None: None}[words.better]
    build = load_module(words.experiment).build
    options = {
        "metric": words.metric,
        "maximize": larger,
        "packing": words.packing,
        "executor": where,
        "shares": shares,
        "vary": words.vary_seed,
        "command": ("python", words.experiment, words.config, *rest),
    }
    try:
        table = run(build, base, arms, words.seeds, directory, **options)
    except KeyboardInterrupt:
        print(f"stopped: the same command goes on in {directory}", flush=True)
        return 130
    except OpenCells as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    except OSError as error:
        raise BadInput(
            f"{directory} cannot be written ({reason(error)}): mend that and run the same command"
        ) from error
    print(text(table), end="")
    print(f"table: {directory}/table.txt, .csv, .md, .tex, .html and .json")
    return 0


def executor(words: argparse.Namespace) -> tuple[Any, int]:
    """Where the cells run, and how many units do so at a time. Raises BadInput for options that do not go together."""
    from jaxlm.ablate.executors import pool, serial

    if words.processes < 1 or words.num_cpus <= 0 or words.num_gpus < 0:
        raise BadInput("--processes must be at least 1, --num-cpus above 0 and --num-gpus 0 or more")
    if words.on == "local":
        if words.address is not None or words.num_cpus != 1 or words.num_gpus:
            raise BadInput("--address, --num-cpus and --num-gpus are for Ray: give --on ray, or leave them out")
        return serial if words.processes == 1 else partial(pool, processes=words.processes), words.processes
    from jaxlm.ablate.on_ray import connect, on_ray, slots

    ray = connect(words.address, words.processes * words.num_cpus, words.processes * words.num_gpus)
    needs = {"num_cpus": words.num_cpus, "num_gpus": words.num_gpus}
    return partial(on_ray, ray=ray, **needs), slots(ray, **needs)
