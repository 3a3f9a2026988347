"""`jaxlm average`: make a run of the mean of checkpoints."""

import argparse
from pathlib import Path

from jaxlm.errors import BadInput
from jaxlm.runs.checkpoint import Checkpoints, CheckpointStep
from jaxlm.runs.directory import RunDirectory
from jaxlm.runs.weights import open_checkpoints


def average_checkpoints(args: argparse.Namespace) -> int:
    """Average checkpoints of a run into a new run directory, and say how to measure it."""
    from jaxlm.train.main import keep_compiled_programs
    from jaxlm.train.replay.average import average_run

    keep_compiled_programs()
    source = RunDirectory.existing(args.run)
    steps = chosen_steps(open_checkpoints(source, source.config().run), args.last, args.step)
    print("\n".join(average_run(source, steps, Path(args.new))))
    print(f"run: {args.new}; measure it with: jaxlm eval {args.new}")
    return 0


def chosen_steps(checkpoints: Checkpoints, last: int, given: list[CheckpointStep] | None) -> list[int]:
    """Return the updates of the checkpoints to average, ascending.

    Args:
        checkpoints: of the run.
        last: how many of the newest, where none are given.
        given: the checkpoints, see `Checkpoints.choose`.

    Raises:
        BadInput: there are fewer, one is given twice, or one is damaged or not there.
    """
    if given is None:
        known = checkpoints.steps()
        if not 1 <= last <= len(known):
            told = f"it has {len(known)} ({', '.join(map(str, known)) or 'none'})"
            raise BadInput(
                f"--last {last} of the checkpoints of {checkpoints.directory.parent}: {told}; ask for these, or train "
                "with a larger --run.keep-last"
            )
    steps = [checkpoints.choose(step) for step in (known[-last:] if given is None else given)]
    if twice := sorted({step for step in steps if steps.count(step) > 1}):
        raise BadInput(f"the checkpoint at update {twice[0]} is given twice: give each one once")
    return sorted(steps)
