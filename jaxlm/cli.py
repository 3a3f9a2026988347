"""`jaxlm VERB`: train, and look at runs. The command line is read before anything heavy is imported."""

import argparse
import os
import sys
from typing import Any, NoReturn

from jaxlm import verbs
from jaxlm.errors import BadInput, is_out_of_memory, one_line
from jaxlm.interrupt import run_process
from jaxlm.runs.settings import check_seed
from jaxlm.verbs import options
from jaxlm.verbs.deploy import options as deploy


def run() -> None:
    """Run `jaxlm` as the command of this process."""
    run_process(main)


def main() -> None:
    """Parse the command line, do what it says, and exit with the verb's code: 2 and one line on bad input."""
    # On some processors XLA logs pages of features, as errors, whenever it loads a compiled program that was kept.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    args, overrides = parser().parse_known_args()
    if overrides and args.verb not in verbs.TAKE_OVERRIDES:
        parser().error(f"unrecognized arguments: {' '.join(overrides)}")
    try:
        check_seed(getattr(args, "seed", None) or 0, "--seed")
        sys.exit(verbs.dispatch(args, overrides))
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        raise
    except OSError as error:
        print(f"error: {one_line(error)}: fix that and run the same command again", file=sys.stderr)
        sys.exit(2)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        print(f"error: out of memory ({one_line(error)}): take a smaller batch, or more memory", file=sys.stderr)
        sys.exit(2)


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Print what is wrong and where to read more, and exit with 2."""
        self.exit(2, f"error: {message}: see `{self.prog} --help`\n")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the verbs and their options."""
    root = Parser(
        prog="jaxlm",
        description="Train models in JAX; look at, evaluate, predict with, compare, tune and verify their runs.",
        epilog="Begin with: jaxlm list; jaxlm train cnn_digits",
    )
    choices = root.add_subparsers(dest="verb", required=True, metavar="VERB")
    options.add_first(choices)
    options.add_look(choices)
    options.add_apply(choices)
    options.add_harness(choices)
    _predict(choices)
    options.add_hub(choices)
    deploy.add_deploy(choices)
    options.add_crossval(choices)
    _ablate(choices)
    _tune(choices)
    options.add_trace(choices)
    options.add_verify_resume(choices)
    return root


def _predict(verbs: Any) -> None:
    """`predict`."""
    predict = verbs.add_parser("predict", help="answer for texts, images, questions, chats or rows with a run's model")
    predict.add_argument("run", metavar="RUN", help="a run directory")
    predict.add_argument(
        "inputs", metavar="INPUT", nargs="*", help="texts, or files of images or tables; - is the standard input"
    )
    predict.add_argument(
        "--user", action="append", default=[], metavar="NAME", help="a user to recommend items to; again for another"
    )
    predict.add_argument("--file", default=None, help="inputs in a .csv, .tsv or .jsonl file, or one on each line")
    predict.add_argument(
        "--column", action="append", default=[], metavar="NAME", help="of --file; twice for pairs of texts"
    )
    predict.add_argument("--json", action="store_true", help="JSON lines, one an input, instead of a table")
    predict.add_argument("--proba", action="store_true", help="the probability of every class in the table")
    predict.add_argument(
        "--top", type=int, default=None, metavar="K", help="the K likeliest classes, words or items alone"
    )
    predict.add_argument("--length", type=int, default=None, help="new tokens of a continuation at most")
    predict.add_argument("--temperature", type=float, default=None, help="of a continuation (default: 0, greedy)")
    predict.add_argument("--top-p", type=float, default=None, help="sample among the likeliest tokens of mass P")
    predict.add_argument("--seed", type=int, default=None, help="of the draws (default 0)")
    predict.add_argument("--speaker", default=None, help="the voice of texts that are spoken")
    predict.add_argument("--speed", type=float, default=None, help="of speech; 2 is twice as fast (default 1)")
    predict.add_argument(
        "--vocoder", default=None, metavar="RUN", help="the run of a vocoder, for texts that are spoken"
    )
    predict.add_argument("--skip-rows", type=int, default=None, metavar="N", help="first lines of a table to leave out")
    predict.add_argument(
        "--guidance", type=float, default=None, help="of pictures: how much the text counts; 1 is as trained"
    )
    predict.add_argument("--steps", type=int, default=None, help="of pictures: from noise to picture")
    predict.add_argument("--score", type=float, default=None, help="the least score of a box (default 0.3)")
    predict.add_argument(
        "--output",
        default=None,
        metavar="FOLDER",
        help="where sound and pictures are written (default: here), or images with boxes drawn on them",
    )
    predict.add_argument(
        "--batch", type=int, default=None, metavar="N", help="inputs at a time (default: as in the evaluation)"
    )
    predict.add_argument("--skip-broken", action="store_true", help="go on past inputs that cannot be read")
    predict.add_argument("--step", type=options.step, default=None, help=options.STEP)


def _ablate(verbs: Any) -> None:
    """`ablate`: what is compared."""
    ablate = verbs.add_parser(
        "ablate",
        help="train a config and changes of it at the same seeds, and tell which is better",
        epilog="The changes are the `ablations` of the config file and those of --vary. Further words are overrides of "
        "the config, as --run.steps 100. The same command again goes on where it stopped.",
    )
    ablate.add_argument("experiment", metavar="EXPERIMENT", help="an experiment file")
    ablate.add_argument("config", metavar="CONFIG", help="a config file")
    ablate.add_argument("--seeds", type=int, required=True, help="of every arm, counted up from run.seed")
    ablate.add_argument(
        "--vary", action="append", default=[], metavar="FIELD=V,V", help="values of a field; may be given again"
    )
    ablate.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="ARM",
        help="the name of an arm that is trained with the base; may be given again (default: all)",
    )
    ablate.add_argument(
        "--vary-seed",
        choices=("all", "init", "data", "noise"),
        default="all",
        help="the source that follows the seed: initialisation, order of the data, or dropout and augmentation; the "
        "others stay at the config's (default all)",
    )
    mode = ablate.add_mutually_exclusive_group()
    for name, text in (
        ("one-at-a-time", "every value alone against the base (default)"),
        ("grid", "every combination of the fields of --vary"),
        ("leave-one-out", "all changes at once, and all but one"),
    ):
        mode.add_argument(f"--{name}", dest="mode", action="store_const", const=name, help=text)
    ablate.set_defaults(mode="one-at-a-time")
    ablate.add_argument("--metric", default=None, help="of the table (default: the config's run.metric)")
    ablate.add_argument(
        "--better", choices=("larger", "smaller"), help="which values are better (default: from the config or the name)"
    )
    _how_cells_run(ablate)


def _how_cells_run(ablate: argparse.ArgumentParser) -> None:
    """`ablate`: where and how its cells are trained."""
    ablate.add_argument("--directory", default=None, help="of cells and table (default: under runs/ablations/)")
    ablate.add_argument(
        "--packing",
        choices=("shared", "devices", "vmapped"),
        default="shared",
        help="how cells share a compiled program that differ only in seed and in numbers such as optim.peak_lr and "
        "rates of dropout: shared is one after another (default), devices one a device at the same time, both equal to "
        "runs alone in every bit; vmapped is all at the same time on one device, equal to rounding",
    )
    ablate.add_argument(
        "--processes", type=int, default=1, metavar="N", help="cells trained at a time on this machine (default 1)"
    )
    ablate.add_argument("--on", choices=("local", "ray"), default="local", help="what runs the cells (default local)")
    ablate.add_argument(
        "--address",
        default=None,
        help="of a Ray cluster, as auto or HOST:6379; all of its nodes must see the working directory and --directory "
        "at the same path (default: Ray on this machine)",
    )
    ablate.add_argument("--num-cpus", type=float, default=1, help="CPUs that Ray keeps for a cell (default 1)")
    ablate.add_argument("--num-gpus", type=float, default=0, help="GPUs that Ray keeps for a cell (default 0)")


def _tune(verbs: Any) -> None:
    """`tune`."""
    tune = verbs.add_parser(
        "tune",
        help="search a space of hyperparameters for the best metric",
        epilog="The space is the `space` of the config file and those of --space. Further words are overrides of the "
        "config, as --run.steps 100. The same command again goes on where it stopped.",
    )
    tune.add_argument("experiment", metavar="EXPERIMENT", help="an experiment file")
    tune.add_argument("config", metavar="CONFIG", help="a config file")
    tune.add_argument(
        "--space",
        action="append",
        default=[],
        metavar="FIELD=SPEC",
        help="a field with its range, as 1e-4..1e-1:log, or its values, as 64,128; may be given again",
    )
    tune.add_argument("--trials", type=int, required=True, help="runs in all")
    tune.add_argument("--seed", type=int, default=0, help="of the search; all trials have run.seed (default 0)")
    tune.add_argument("--metric", default=None, help="to be made best (default: the config's run.metric)")
    tune.add_argument(
        "--better", choices=("larger", "smaller"), help="which values are better (default: from the config or the name)"
    )
    tune.add_argument("--prune", action="store_true", help="end a run that is worse than the median at an evaluation")
    tune.add_argument("--directory", default=None, help="of cells and table (default: under runs/searches/)")
