"""The options of the verbs, except those of `predict`, `ablate` and `tune`, which `jaxlm.cli` has."""

import argparse
from typing import Any

EXPERIMENT = "an experiment: a name that `jaxlm list` shows, or the path of a Python file"
CONFIG = "a config: a name that `jaxlm list` shows, or the path of a Python file"
RUN = "a run directory"
STEP = "the update of the checkpoint, or `best` by the metric of the run (default: the newest)"
OVERRIDES = "Further words are overrides of the config, as --run.steps 100."


def step(text: str) -> int | str:
    """Parse the value of --step: "best", or a number of updates."""
    if text != "best" and not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}: give the number of updates at the checkpoint, or best")
    return text if text == "best" else int(text)


def add_first(verbs: Any) -> None:
    """Add the verbs that a first hour needs."""
    listed = verbs.add_parser("list", help="list the experiments and configs, or the runs in a folder")
    listed.add_argument("folder", metavar="FOLDER", nargs="?", help="list the runs in this folder, as runs/")

    train = verbs.add_parser("train", help="train a config, or go on with its run", add_help=False)
    train.add_argument("words", nargs=argparse.REMAINDER)

    fork = verbs.add_parser(
        "fork",
        help="go on from a checkpoint of a run in a new directory, with other settings",
        epilog="Further words change the config, as --optim.peak-lr 1e-4 --run.steps 2000: whatever keeps the shape of "
        "the state. The same command again goes on where it stopped.",
    )
    fork.add_argument("run", metavar="RUN", help=RUN)
    fork.add_argument("new", metavar="NEW", help="the directory of the new run")
    fork.add_argument("--step", type=step, default=None, help=STEP)

    average = verbs.add_parser("average", help="make a run of the mean of the weights of a run's checkpoints")
    average.add_argument("run", metavar="RUN", help=RUN)
    average.add_argument("new", metavar="NEW", help="the directory of the new run")
    which = average.add_mutually_exclusive_group()
    which.add_argument("--last", type=int, default=5, metavar="N", help="average the N newest checkpoints (default 5)")
    which.add_argument("--step", type=step, nargs="+", default=None, help="the updates of the checkpoints to average")

    new = verbs.add_parser("new", help="write an experiment and a config for data of your own")
    new.add_argument("name", metavar="NAME", help="what to call it: NAME.py and NAME_config.py are written here")
    new.add_argument(
        "--data",
        nargs=2,
        required=True,
        metavar=("KIND", "PATH"),
        help="csv or jsonl and a file of labelled texts; table and a file (CSV, JSON lines or Parquet) of which one "
        "column is predicted from all others; images and a folder with a sub-folder for each class; text and a file or "
        "folder",
    )
    new.add_argument("--text", default=None, metavar="COLUMN", help="the column or key of the text (default: text)")
    new.add_argument("--label", default=None, metavar="COLUMN", help="the column to predict (default: label)")

    find = verbs.add_parser("lr-find", help="suggest a learning rate: train while it rises", epilog=OVERRIDES)
    find.add_argument("names", metavar="[EXPERIMENT] CONFIG", nargs="+", help="names that `jaxlm list` shows, or paths")
    find.add_argument("--updates", type=int, default=100, help="how many updates to train (default 100)")
    find.add_argument("--low", type=float, default=1e-6, help="the first learning rate (default 1e-6)")
    find.add_argument("--high", type=float, default=1.0, help="the last learning rate (default 1)")
    find.add_argument("--csv", default=None, metavar="FILE", help="where to write the curve (default: in runs/)")


def add_look(verbs: Any) -> None:
    """Add the verbs that show what is there."""
    verbs.add_parser("doctor", help="check this machine: versions, devices, what is missing and how to get it")

    info = verbs.add_parser("info", help="show where a run comes from, its parameters and its last metrics")
    info.add_argument("run", metavar="RUN", help=RUN)


def add_apply(verbs: Any) -> None:
    """Add the verbs that apply a run's model."""
    sample = verbs.add_parser("sample", help="continue prompts, make pictures of them, or play an episode")
    sample.add_argument("run", metavar="RUN", help=RUN)
    sample.add_argument(
        "--prompt",
        action="append",
        help="the text to continue, or of a picture; may be given several times (default: a new text, any picture)",
    )
    sample.add_argument("--length", type=int, default=None, help="how many tokens to add (default 200)")
    sample.add_argument("--temperature", type=float, default=None, help="0 takes the likeliest token (default 0.8)")
    sample.add_argument("--top-k", type=int, default=None, help="draw among the K likeliest tokens")
    sample.add_argument(
        "--top-p", type=float, default=None, help="draw among the likeliest tokens of total probability P"
    )
    sample.add_argument("--seed", type=int, default=0, help="the seed of the random draws (default 0)")
    sample.add_argument("--count", type=int, default=None, metavar="N", help="pictures of each prompt (default 16)")
    sample.add_argument(
        "--guidance", type=float, default=None, help="of pictures: how much the text counts; 1 is as trained"
    )
    sample.add_argument("--steps", type=int, default=None, help="of pictures: from noise to picture")
    sample.add_argument(
        "--output", default=None, metavar="FILE", help="a .png of pictures or .gif of an episode (default: in the run)"
    )
    sample.add_argument("--step", type=step, default=None, help=STEP)

    evaluate = verbs.add_parser(
        "eval",
        help="evaluate a run's checkpoint on all of its evaluation data, or on others",
        epilog="Fields of data, decode and place of the run's config may follow, as --data.eval-file NEW.",
    )
    evaluate.add_argument("run", metavar="RUN", help=RUN)
    evaluate.add_argument("--step", type=step, default=None, help=STEP)
    evaluate.add_argument(
        "--params", action="store_true", help="measure the parameters where the run keeps their average (run.ema)"
    )
    evaluate.add_argument("--report", action="store_true", help="also print precision, recall and F1 of each class")

    audit = verbs.add_parser("audit", help="attack a run: are its training examples told from others by their loss?")
    audit.add_argument("run", metavar="RUN", help=RUN)
    audit.add_argument("--examples", type=int, default=10_000, help="the most of each kind (default 10,000)")
    audit.add_argument(
        "--reference",
        action="append",
        default=[],
        metavar="RUN",
        help="a run of the same kind on other data, whose loss is subtracted; may be given several times",
    )
    audit.add_argument("--step", type=step, default=None, help=STEP)

    importance = verbs.add_parser(
        "importance", help="show what a metric of a run on a table loses where each of its columns is permuted"
    )
    importance.add_argument("run", metavar="RUN", help=RUN)
    importance.add_argument("--metric", default=None, help="the metric (default: the config's run.metric)")
    importance.add_argument("--repeats", type=int, default=5, help="permutations of each column (default 5)")
    importance.add_argument("--seed", type=int, default=0, help="the seed of the permutations (default 0)")
    importance.add_argument("--step", type=step, default=None, help=STEP)


def add_harness(verbs: Any) -> None:
    """`lm-eval`."""
    harness = verbs.add_parser("lm-eval", help="evaluate a run's language model on tasks of lm-evaluation-harness")
    harness.add_argument("run", metavar="RUN", help=RUN)
    harness.add_argument(
        "--tasks", nargs="+", required=True, metavar="TASK", help="names of tasks; `lm-eval ls tasks` lists them"
    )
    harness.add_argument("--include-path", default=None, metavar="DIR", help="a folder with further tasks")
    harness.add_argument(
        "--fewshot", type=int, default=None, help="how many examples precede each document (default: the task's)"
    )
    harness.add_argument(
        "--limit", type=int, default=None, help="use only the first documents of a task (default: all)"
    )
    harness.add_argument("--batch", type=int, default=8, help="how many rows are evaluated at a time (default 8)")
    harness.add_argument(
        "--begin",
        default="",
        metavar="TEXT",
        help="the text that precedes a document without context (default: the token that begins or separates texts)",
    )
    harness.add_argument("--step", type=step, default=None, help=STEP)


def add_crossval(verbs: Any) -> None:
    """`crossval`."""
    crossval = verbs.add_parser(
        "crossval",
        help="cross-validate: train on all folds but one, for every fold, and print a metric's mean",
        epilog=OVERRIDES,
    )
    crossval.add_argument("experiment", metavar="EXPERIMENT", help=EXPERIMENT)
    crossval.add_argument("config", metavar="CONFIG", help=CONFIG)
    crossval.add_argument(
        "--folds", type=int, default=5, help="how many folds, by class, by article or of rows (default 5)"
    )
    crossval.add_argument("--metric", default=None, help="the metric to print (default: the config's run.metric)")
    crossval.add_argument("--directory", default=None, help="where to write the runs of the folds (default: in runs/)")


def add_verify_resume(verbs: Any) -> None:
    """`verify-resume`."""
    verify = verbs.add_parser(
        "verify-resume",
        help="train, kill with SIGKILL, resume, and compare every bit of the final state",
        epilog=OVERRIDES,
    )
    verify.add_argument("experiment", metavar="EXPERIMENT", help=EXPERIMENT)
    verify.add_argument("config", metavar="CONFIG", help=CONFIG)
    verify.add_argument("--kills", type=int, default=1, help="how often to kill the run, at random (default 1)")
    verify.add_argument("--seed", type=int, default=0, help="the seed of the random moments (default 0)")
    verify.add_argument("--directory", default=None, help="keep both runs here (default: remove them)")


def add_hub(verbs: Any) -> None:
    """Add the verbs for pretrained models."""
    importer = verbs.add_parser(
        "import",
        help="make a run of pretrained weights in Hugging Face's format",
        epilog="Further words are overrides of the config, as --data.path FILE.",
    )
    importer.add_argument(
        "source", metavar="DIR", help="a folder with config.json and safetensors, or a name on the hub"
    )
    importer.add_argument("--directory", default=None, help="the run directory (default: runs/<name of the folder>)")
    importer.add_argument("--tokenizer", default=None, help="the tokenizer's folder or file, if DIR has none")
    importer.add_argument(
        "--experiment", default="language_model", help="the experiment of the run (default: language_model)"
    )
    importer.add_argument(
        "--config", default=None, help="a config whose model the weights replace (default: a config for text)"
    )


def add_trace(verbs: Any) -> None:
    """Add the verbs that trace a number to its origin."""
    explain = verbs.add_parser("explain", help="show everything that a run, or a number of a table, came from")
    explain.add_argument("path", metavar="TABLE|RUN", help="the directory or table.json of an ablation, or a run")
    explain.add_argument(
        "cell",
        metavar="CELL",
        nargs="?",
        help="a cell of the table: ARM:SEED, or the start of its identity or directory",
    )

    verify = verbs.add_parser("verify", help="run cells of a table again and compare every bit with what is recorded")
    verify.add_argument("table", metavar="TABLE", help="the directory or table.json of an ablation")
    verify.add_argument(
        "--cell", action="append", default=[], metavar="ARM:SEED", help="a cell to run; may be given several times"
    )
    verify.add_argument("--sample", type=int, default=None, metavar="K", help="run K random cells (default: all)")
    verify.add_argument("--seed", type=int, default=0, help="the seed of the random cells (default 0)")
    verify.add_argument(
        "--tolerance",
        type=float,
        default=1e-3,
        help="the relative difference to accept on another platform or with other packages (default 1e-3)",
    )
    verify.add_argument("--anyway", action="store_true", help="also run cells whose code, data or config has changed")

    bisect = verbs.add_parser("bisect", help="find the first update, and the first array, in which two runs differ")
    bisect.add_argument("first", metavar="RUN_A", help=RUN)
    bisect.add_argument("second", metavar="RUN_B", help=RUN)
