"""Follow a number back: `jaxlm explain`, `jaxlm verify`, `jaxlm bisect`."""

import argparse


def explain(words: argparse.Namespace) -> int:
    """Print all that a cell of a table, or a run, came from."""
    from jaxlm.ablate.explain import explain as told

    print(told(words.path, words.cell), end="")
    return 0


def verify(words: argparse.Namespace) -> int:
    """Run cells of a table again and compare them with their records; 130 where a signal stopped it."""
    from jaxlm.ablate.verify import verify_table

    try:
        return verify_table(words.table, words.cell, words.sample, words.seed, words.tolerance, words.anyway)
    except KeyboardInterrupt:
        print("stopped", flush=True)
        return 130


def bisect(words: argparse.Namespace) -> int:
    """Print at which update two runs part, and in what; 1 if they do."""
    from jaxlm.train.bisect import bisect as part
    from jaxlm.train.main import keep_compiled_programs

    keep_compiled_programs()
    return part(words.first, words.second)
