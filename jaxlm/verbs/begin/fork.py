"""`jaxlm fork`: go on from a checkpoint of a run in another directory, with other settings."""

import argparse
import dataclasses
from pathlib import Path

from jaxlm.errors import BadInput
from jaxlm.runs.directory import RunDirectory
from jaxlm.runs.lineage import forked_from
from jaxlm.runs.weights import open_checkpoints


def fork(args: argparse.Namespace, overrides: list[str]) -> int:
    """Make a run of a checkpoint and of overrides, and train it; the same command again goes on with it."""
    from jaxlm.runs.load import load_module
    from jaxlm.train.config import override
    from jaxlm.train.main import keep_compiled_programs, train_directory
    from jaxlm.train.replay.fork import fork_run

    keep_compiled_programs()
    new = RunDirectory(args.new)
    if new.started:
        check_origin(new, args)
    source = new if new.started else RunDirectory.existing(args.run)
    config = override(source.config(), overrides, f"jaxlm fork {args.run} {args.new}")
    config = dataclasses.replace(config, run=dataclasses.replace(config.run, directory=args.new))
    if not new.started:
        step = open_checkpoints(source, source.config().run).choose(args.step)
        print("\n".join(fork_run(source, step, config, new.path)), flush=True)
    train_directory(load_module(new.experiment).build, config, new.path)
    return 0


def check_origin(new: RunDirectory, args: argparse.Namespace) -> None:
    """Raise BadInput where a run is not the fork that a command line asks for."""
    origin = forked_from(new.lineage())
    if origin is None:
        raise BadInput(f"{new.path} is a run of its own, and not a fork of {args.run}: give another directory")
    same_step = args.step in (None, "best", origin["step"])
    if not same_step or Path(origin["run"]).resolve() != Path(args.run).resolve():
        raise BadInput(
            f"{new.path} was forked from {origin['run']} at update {origin['step']}: give these, or another directory"
        )
