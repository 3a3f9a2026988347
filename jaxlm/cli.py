"""`jaxlm VERB`: verbs over run directories. The command line is read before anything heavy is imported."""

import argparse
import os
import sys
from typing import Any


def main() -> None:
    """Parse the verb, run it, exit with its code: 2 and one line on bad input."""
    words, rest = parser().parse_known_args()
    if rest and words.verb not in ("verify-resume", "crossval", "ablate", "tune", "import"):
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
    root = argparse.ArgumentParser(
        prog="jaxlm",
        description="Look at, sample from, predict with, evaluate, ablate, tune, trace and verify runs.",
    )
    verbs = root.add_subparsers(dest="verb", required=True, metavar="VERB")
    for add in (_look, _harness, _predict, _hub, _crossval, _ablate, _tune, _trace, _verify_resume):
        add(verbs)
    return root


def _look(verbs: Any) -> None:
    """The verbs that tell what is there."""
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
    evaluate.add_argument("--report", action="store_true", help="also precision, recall and F1 of each class")


def _harness(verbs: Any) -> None:
    """`lm-eval`."""
    harness = verbs.add_parser("lm-eval", help="evaluate a run's language model on tasks of lm-evaluation-harness")
    harness.add_argument("run", metavar="RUN", help="a run directory")
    harness.add_argument("--tasks", nargs="+", required=True, metavar="TASK", help="as `lm-eval ls tasks` lists them")
    harness.add_argument("--include-path", default=None, metavar="DIR", help="a folder of further tasks")
    harness.add_argument(
        "--fewshot", type=int, default=None, help="examples before each document (default: the task's)"
    )
    harness.add_argument("--limit", type=int, default=None, help="documents of each task (default: all)")
    harness.add_argument("--batch", type=int, default=8, help="rows at a time (default 8)")
    harness.add_argument(
        "--begin",
        default="",
        metavar="TEXT",
        help="what a text without context comes after (default: the token that begins or parts texts)",
    )
    harness.add_argument("--step", type=int, default=None, help="the checkpoint (default: the newest)")


def _predict(verbs: Any) -> None:
    """`predict`."""
    predict = verbs.add_parser("predict", help="tell what image files show, with a run's classifier")
    predict.add_argument("run", metavar="RUN", help="a run directory")
    predict.add_argument("files", metavar="FILE", nargs="+", help="image files")
    predict.add_argument("--top", type=int, default=1, help="classes told for each file (default 1)")
    predict.add_argument("--json", action="store_true", help="JSON lines instead of a table")
    predict.add_argument("--skip-broken", action="store_true", help="go on past files that cannot be read")
    predict.add_argument("--step", type=int, default=None, help="the checkpoint (default: the newest)")


def _crossval(verbs: Any) -> None:
    """`crossval`."""
    crossval = verbs.add_parser(
        "crossval",
        help="train on all folds but one, for every fold, and tell a metric's mean",
        epilog="Further words are overrides of the config, as --run.steps 100.",
    )
    crossval.add_argument("experiment", metavar="EXPERIMENT", help="an experiment file")
    crossval.add_argument("config", metavar="CONFIG", help="a config file")
    crossval.add_argument("--folds", type=int, default=5, help="stratified by class (default 5)")
    crossval.add_argument("--metric", default=None, help="the metric told (default: the config's run.metric)")
    crossval.add_argument("--directory", default=None, help="where the folds' runs live (default: under runs/)")


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
        "--vary-seed",
        choices=("all", "init", "data", "noise"),
        default="all",
        help="the source that follows the seed: initialisation, order of the data, or dropout and augmentation; the "
        "others stay at the config's (default all)",
    )
    mode = ablate.add_mutually_exclusive_group()
    for name, told in (
        ("one-at-a-time", "every value alone against the base (default)"),
        ("grid", "every combination of the fields of --vary"),
        ("leave-one-out", "all changes at once, and all but one"),
    ):
        mode.add_argument(f"--{name}", dest="mode", action="store_const", const=name, help=told)
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
        choices=("auto", "alone", "unrolled", "mapped", "vmapped"),
        default="auto",
        help="how cells share a program that differ only in seed and in numbers such as optim.peak and rates "
        "of dropout: auto is the fastest that a trial proves equal to runs alone in every bit (default); vmapped is "
        "faster and not equal",
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


def _verify_resume(verbs: Any) -> None:
    """`verify-resume`."""
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


def _hub(verbs: Any) -> None:
    """The verbs for pretrained models."""
    bring = verbs.add_parser(
        "import",
        help="make a run of pretrained weights in Hugging Face's layout",
        epilog="Further words are overrides of the config, as --data.path FILE.",
    )
    bring.add_argument("source", metavar="DIR", help="a folder with config.json and safetensors, or a name on the hub")
    bring.add_argument("--directory", default=None, help="of the run (default: runs/<name of the folder>)")
    bring.add_argument("--tokenizer", default=None, help="a folder or file, where DIR has none")
    bring.add_argument(
        "--experiment",
        default="experiments/language_model.py",
        help="the experiment file of the run (default: experiments/language_model.py)",
    )
    bring.add_argument("--config", default=None, help="a config whose model is replaced (default: one for text)")

    export = verbs.add_parser("export", help="write a run's model for other programs")
    export.add_argument("run", metavar="RUN", help="a run directory")
    export.add_argument("out", metavar="DIR", help="a new folder")
    export.add_argument(
        "--to",
        choices=("hf", "peft"),
        required=True,
        help="hf: as transformers loads it, in safetensors; peft: the adapters alone, as PEFT loads them",
    )
    export.add_argument("--step", type=int, default=None, help="the checkpoint (default: the newest)")


def _trace(verbs: Any) -> None:
    """The verbs that follow a number back."""
    explain = verbs.add_parser("explain", help="tell all that a number of a table, or a run, came from")
    explain.add_argument("path", metavar="TABLE|RUN", help="the directory or table.json of an ablation, or a run")
    explain.add_argument(
        "cell", metavar="CELL", nargs="?", help="of a table: ARM:SEED, or how its identity or its directory begins"
    )

    verify = verbs.add_parser("verify", help="run cells of a table again and compare every bit with what is recorded")
    verify.add_argument("table", metavar="TABLE", help="the directory or table.json of an ablation")
    verify.add_argument("--cell", action="append", default=[], metavar="ARM:SEED", help="a cell; may be given again")
    verify.add_argument("--sample", type=int, default=None, metavar="K", help="K cells at random (default: all)")
    verify.add_argument("--seed", type=int, default=0, help="of the sample (default 0)")
    verify.add_argument(
        "--tolerance", type=float, default=1e-3, help="relative, on another platform or packages (default 1e-3)"
    )
    verify.add_argument("--anyway", action="store_true", help="also run cells whose code, data or config has changed")

    bisect = verbs.add_parser("bisect", help="find the first update, and the first array, at which two runs part")
    bisect.add_argument("first", metavar="RUN_A", help="a run directory")
    bisect.add_argument("second", metavar="RUN_B", help="a run directory")


if __name__ == "__main__":
    main()
