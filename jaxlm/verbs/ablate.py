"""`jaxlm ablate`: from a command line to the table of an ablation."""

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any

from jaxlm.errors import BadInput, MachineError
from jaxlm.interrupt import exit_code


def run_ablate(args: argparse.Namespace, overrides: list[str]) -> int:
    """Train the cells of an ablation that are not done yet, write its table in every form, and print it.

    Returns:
        0; 128 + its number where a signal stopped a run, and 1 where workers died too often. The same command goes on
        there.
    """
    from jaxlm.ablate.execute.pool import OpenCells
    from jaxlm.ablate.report.formats import as_text
    from jaxlm.ablate.run import ablate
    from jaxlm.runs.files import reason
    from jaxlm.runs.load import load_module
    from jaxlm.runs.shipped import find_both
    from jaxlm.train.main import keep_compiled_programs

    args.experiment, args.config = map(str, find_both([args.experiment, args.config]))
    keep_compiled_programs()
    base, arms, directory = read_arms(args, overrides)
    options = read_options(args, overrides)
    try:
        table = ablate(load_module(args.experiment).build, base, arms, args.seeds, directory, **options)
    except KeyboardInterrupt as stopped:
        print(f"stopped: the same command goes on in {directory}", flush=True)
        return exit_code(stopped)
    except OpenCells as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    except OSError as error:
        raise MachineError(
            f"{directory} cannot be written ({reason(error)}): fix that and run the same command again"
        ) from error
    print(as_text(table), end="")
    print(f"table: {directory}/table.txt, .csv, .md, .tex, .html and .json")
    return 0


def read_arms(args: argparse.Namespace, overrides: list[str]) -> tuple[Any, list[Any], Path]:
    """Return the base config, its arms, and the directory of the ablation.

    Raises:
        BadInput: a config, an arm or a field that cannot be.
    """
    from jaxlm.ablate.arms import choose_arms, combine, declared_arms, parse, varied
    from jaxlm.ablate.run import ablation_directory
    from jaxlm.runs.load import load_module
    from jaxlm.train.config import load_config, shorten_warmup

    given = load_config(args.config)
    base = shorten_warmup(parse(given, overrides, args.config), given, overrides)
    changes = declared_arms(getattr(load_module(args.config), "ablations", {}), args.config)
    arms = combine(base, args.mode, changes, varied(base, args.vary))
    directory = args.directory or ablation_directory(Path(args.config), base, arms, args.vary_seed)
    return base, choose_arms(arms, args.only), Path(directory)


def read_options(args: argparse.Namespace, overrides: list[str]) -> dict[str, Any]:
    """Return the options of `ablate` that a command line gives, by name."""
    where, workers = executor(args)
    return {
        "metric": args.metric,
        "maximize": {"larger": True, "smaller": False, None: None}[args.better],
        "packing": args.packing,
        "executor": where,
        "workers": workers,
        "vary": args.vary_seed,
        "command": ("python", args.experiment, args.config, *overrides),
    }


def executor(args: argparse.Namespace) -> tuple[Any, int]:
    """Return what runs the cells, and how many workers it has.

    Raises:
        BadInput: options that do not go together.
    """
    from jaxlm.ablate.execute.pool import pool, serial

    if args.processes < 1 or args.num_cpus <= 0 or args.num_gpus < 0:
        raise BadInput("--processes must be at least 1, --num-cpus above 0 and --num-gpus 0 or more")
    if args.on == "local":
        if args.address is not None or args.num_cpus != 1 or args.num_gpus:
            raise BadInput("--address, --num-cpus and --num-gpus are for Ray: give --on ray, or leave them out")
        return serial if args.processes == 1 else partial(pool, processes=args.processes), args.processes
    from jaxlm.ablate.execute.ray import connect, on_ray, slots

    ray = connect(args.address, args.processes * args.num_cpus, args.processes * args.num_gpus)
    needs = {"num_cpus": args.num_cpus, "num_gpus": args.num_gpus}
    return partial(on_ray, ray=ray, **needs), slots(ray, **needs)
