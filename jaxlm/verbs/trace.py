"""Follow a number back: `jaxlm explain`, `jaxlm verify`, `jaxlm bisect`."""

import argparse

from jaxlm.interrupt import exit_code


def run_explain(args: argparse.Namespace) -> int:
    """Print where a cell of a table, or a run, comes from."""
    from jaxlm.ablate.audit.explain import explain_path

    print(explain_path(args.path, args.cell), end="")
    return 0


def run_verify(args: argparse.Namespace) -> int:
    """Run cells of a table again and compare them with their records; 128 + its number where a signal stopped it."""
    from jaxlm.ablate.audit.verify import verify_table

    try:
        return verify_table(args.table, args.cell, args.sample, args.seed, args.tolerance, args.anyway)
    except KeyboardInterrupt as stopped:
        print("stopped", flush=True)
        return exit_code(stopped)


def run_bisect(args: argparse.Namespace) -> int:
    """Print the update at which two runs begin to differ, and in what; return 1 if they do."""
    from jaxlm.train.main import keep_compiled_programs
    from jaxlm.train.replay.bisect import bisect as bisect_runs

    keep_compiled_programs()
    return bisect_runs(args.first, args.second)
