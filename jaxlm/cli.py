"""`jaxlm VERB`: verbs over run directories. The command line is read before anything heavy is imported."""

import argparse
import os
import sys


def main() -> None:
    """Parse the verb, run it, exit with its code: 2 and one line on bad input."""
    words, rest = parser().parse_known_args()
    if rest and words.verb != "verify-resume":
        parser().error(f"unrecognized arguments: {' '.join(rest)}")
    from jaxlm import verbs
    from jaxlm.errors import BadInput

    try:
        sys.exit(verbs.run(words, rest))
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # the reader has seen enough, as in `jaxlm info RUN | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def parser() -> argparse.ArgumentParser:
    """The verbs and their options."""
    root = argparse.ArgumentParser(prog="jaxlm", description="Look at, sample from, evaluate and verify runs.")
    verbs = root.add_subparsers(dest="verb", required=True, metavar="VERB")

    verbs.add_parser("doctor", help="tell versions and devices, what is missing and how to get it")

    info = verbs.add_parser("info", help="tell where a run comes from, its parameters and its last metrics")
    info.add_argument("run", metavar="RUN", help="a run directory")

    sample = verbs.add_parser("sample", help="continue prompts with a run's language model")
    sample.add_argument("run", metavar="RUN", help="a run directory")
    sample.add_argument("--prompt", action="append", help="text to continue; may be given again (default: a new text)")
    sample.add_argument("--length", type=int, default=200, help="tokens to add (default 200)")
    sample.add_argument("--temperature", type=float, default=0.8, help="0 is greedy (default 0.8)")
    sample.add_argument("--top-k", type=int, default=None, help="sample among the K likeliest tokens")
    sample.add_argument("--top-p", type=float, default=1.0, help="sample among the likeliest tokens of mass P")
    sample.add_argument("--seed", type=int, default=0, help="of the draws (default 0)")
    sample.add_argument("--step", type=int, default=None, help="the checkpoint (default: the newest)")

    evaluate = verbs.add_parser("eval", help="evaluate a run's checkpoint on all of its evaluation data")
    evaluate.add_argument("run", metavar="RUN", help="a run directory")
    evaluate.add_argument("--step", type=int, default=None, help="the checkpoint (default: the newest)")

    verify = verbs.add_parser(
        "verify-resume",
        help="train, kill with SIGKILL, resume, and compare every bit of the final state",
        epilog="Further words are overrides of the config, as --run.steps 100.",
    )
    verify.add_argument("experiment", metavar="EXPERIMENT", help="an experiment file")
    verify.add_argument("config", metavar="CONFIG", help="a config file")
    verify.add_argument("--kills", type=int, default=1, help="random moments at which the run is killed (default 1)")
    verify.add_argument("--seed", type=int, default=0, help="of the moments (default 0)")
    verify.add_argument("--directory", default=None, help="keep both runs here (default: a folder that is removed)")
    return root


if __name__ == "__main__":
    main()
