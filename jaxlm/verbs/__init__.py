"""What the verbs of the command line do."""

import argparse
from importlib import import_module

VERBS = {
    "train": "begin.train:train_by_name",
    "fork": "begin.fork:fork",
    "average": "begin.average:average_checkpoints",
    "list": "begin.list:list_all",
    "new": "begin.new:new",
    "lr-find": "begin.lr_find:lr_find",
    "doctor": "doctor:doctor",
    "info": "runs:info",
    "sample": "runs:sample",
    "eval": "runs:evaluate_run",
    "importance": "runs:importance",
    "audit": "audit.attack:attack",
    "lm-eval": "harness:lm_eval",
    "predict": "predict:predict",
    "import": "hub:import_run",
    "export": "deploy.export:export",
    "compress": "deploy.compress:compress",
    "serve": "deploy.serve:serve",
    "feedback": "deploy.feedback:feedback",
    "monitor": "deploy.monitor:monitor",
    "ablate": "ablate:run_ablate",
    "crossval": "crossval:crossval",
    "tune": "tune:tune",
    "explain": "trace:run_explain",
    "verify": "trace:run_verify",
    "bisect": "trace:run_bisect",
    "verify-resume": "runs:verify_resumes",
}
TAKE_OVERRIDES = {
    "train",
    "fork",
    "lr-find",
    "eval",
    "import",
    "compress",
    "ablate",
    "crossval",
    "tune",
    "verify-resume",
}  # of a config, as --run.steps 100


def dispatch(args: argparse.Namespace, overrides: list[str]) -> int:
    """Do what a parsed command line says and return the exit code. Only the verb's own module is imported."""
    module, _, name = VERBS[args.verb].partition(":")
    verb = getattr(import_module(f"jaxlm.verbs.{module}"), name)
    return verb(args, overrides) if args.verb in TAKE_OVERRIDES else verb(args)
