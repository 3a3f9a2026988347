"""`jaxlm lm-eval`: the tasks of lm-evaluation-harness with a run's language model."""

import argparse
import hashlib
import importlib.metadata
import json
import os
from pathlib import Path
from typing import Any

from jaxlm.errors import BadInput
from jaxlm.runs.directory import RunDirectory
from jaxlm.runs.files import write_atomic

SCORES = "lm_eval.json"
RESAMPLES = 1000  # for the standard error of what has no formula for it


def lm_eval(words: argparse.Namespace) -> int:
    """Evaluate a checkpoint on tasks, print the scores, and keep them in the run's lm_eval.json.

    Raises BadInput where the harness is not installed, and for tasks that it does not know or cannot load.
    """
    home = RunDirectory.existing(words.run)
    if words.batch < 1 or (words.limit is not None and words.limit < 1):
        raise BadInput("--batch and --limit must be at least 1")
    os.environ.setdefault("DISABLE_MULTIPROC", "1")  # the harness would fork for its resamples, and jax has threads
    try:
        from lm_eval.evaluator import simple_evaluate
    except ImportError:
        raise BadInput("lm-eval is not installed: install it with: pip install lm-eval") from None
    manager = task_manager(words.tasks, words.include_path)
    model, step = harness_model(home, words)
    try:
        results = simple_evaluate(
            model,
            tasks=words.tasks,
            num_fewshot=words.fewshot,
            limit=words.limit,
            bootstrap_iters=RESAMPLES,
            task_manager=manager,
        )
    except OSError as error:  # data that lies nowhere here and cannot be fetched
        line = str(error).strip().splitlines()[0]
        raise BadInput(f"a task cannot be loaded ({line}): fetch its data, or name a task over files") from error
    assert results is not None
    made = [score_of(results, task, step, words) for task in results["samples"]]
    keep(home.path / SCORES, made)
    for score in made:
        for name, value in score["scores"].items():
            print(f"{score['task']} {name} {value:.6g} (update {step}, {score['documents']} documents)")
    print(f"scores: {home.path / SCORES}")
    return 0


def task_manager(tasks: list[str], folder: str | None) -> Any:
    """Return the harness's tasks, with those of a folder; raise BadInput for an unknown name."""
    from lm_eval.tasks import TaskManager

    if folder is not None and not Path(folder).is_dir():
        raise BadInput(f"there is no folder {folder}: give the one with the tasks as --include-path")
    manager = TaskManager(include_path=folder)
    unknown = [task for task in tasks if not manager.match_tasks([task])]
    if unknown:
        raise BadInput(f"lm-eval has no task {unknown[0]}: `lm-eval ls tasks` lists them, --include-path adds yours")
    return manager


def harness_model(home: RunDirectory, words: argparse.Namespace) -> tuple[Any, int]:
    """Return a run's model at a checkpoint as the harness calls it, and the update of the checkpoint."""
    from jaxlm.decode.lm_eval import LMEvalModel
    from jaxlm.verbs.runs import language_model

    model, variables, tokenizer, step = language_model(home, words.step)
    return LMEvalModel(model, variables, tokenizer, batch=words.batch, begin=words.begin), step


def score_of(results: Any, task: str, step: int, words: argparse.Namespace) -> dict[str, Any]:
    """Return the results of a task, and what they depend on beside the run: harness, task, prompts.

    scores: by metric and filter of answers, "acc,none".
    prompts: SHA-256 over the number and the arguments of every request, few-shot examples included.
    """
    samples = results["samples"][task]
    asked = [(sample["doc_id"], sample["arguments"]) for sample in samples]
    found = results["results"][task]
    return {
        "task": task,
        "task_version": results["versions"].get(task),
        "harness": importlib.metadata.version("lm_eval"),
        "prompts": hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest(),
        "documents": len({sample["doc_id"] for sample in samples}),
        "fewshot": results["n-shot"].get(task),
        "limit": words.limit,
        "begin": words.begin,
        "step": step,
        "scores": {name: value for name, value in found.items() if "," in name and isinstance(value, (int, float))},
    }


def keep(path: Path, made: list[dict[str, Any]]) -> None:
    """Add scores to those of a run; a score of equal harness, task, prompts and checkpoint is replaced."""
    old = json.loads(path.read_text("utf-8")) if path.is_file() else []
    names = [name for name in made[0] if name != "scores"] if made else []
    fresh = [[score[name] for name in names] for score in made]
    kept = [score for score in old if [score.get(name) for name in names] not in fresh]
    write_atomic(path, json.dumps([*kept, *made], indent=1) + "\n")
