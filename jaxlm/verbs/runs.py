"""Look at runs: info, sample, eval, importance, verify-resume."""

import argparse
import math
from functools import partial
from typing import Any

from tabulate import tabulate

from jaxlm.errors import BadInput
from jaxlm.runs.checkpoint import Checkpoints, CheckpointStep
from jaxlm.runs.directory import RunDirectory
from jaxlm.runs.lineage import describe_fork
from jaxlm.runs.seal import read_seal

EVALUATED = ("data", "decode", "place")  # the parts of a config that an evaluation may have otherwise than the training


def info(words: argparse.Namespace) -> int:
    """Print lineage, parameters and last metrics of a run."""
    home = RunDirectory.existing(words.run)
    sessions = home.lineage()["sessions"]
    for number, session in enumerate(sessions):
        machine, git = session["fingerprint"], session["git"]
        print(f"session {number}: {session['time']}  seed {session['seed']}  {session['command']}")
        if origin := session.get("forked"):
            print(f"  {describe_fork(origin)}")
        commit = (
            f"{git['commit'][:12]}{' with uncommitted changes' if git['diff'] else ''}" if git else "no git checkout"
        )
        print(
            f"  code {commit}; jax {machine['jax']}; {machine['devices']} x {machine['chip']}; {machine['placement']}"
        )
    steps = Checkpoints(home.checkpoints).steps()
    print(f"checkpoints: {', '.join(map(str, steps)) or 'none'}")
    for step in reversed(steps):
        try:
            print(parameter_table(read_seal(home.checkpoints / str(step))["leaves"]))
            break
        except ValueError as error:
            print(f"checkpoint {step} is damaged: {error}")
    last: dict[str, Any] = {}
    for record in home.metrics():
        last |= {name: (record["step"], value) for name, value in record.items() if name != "step"}
    for name, (step, value) in last.items():
        print(f"{name} {value} (update {step})")
    return 0


def parameter_table(leaves: dict[str, str]) -> str:
    """Return a table of every parameter with its shape and size, and their sum.

    Args:
        leaves: Names of the leaves of a state with their kind, {"params/Dense_0/kernel": "float32[16,10]"}.
    """
    sizes = {}
    for name, kind in leaves.items():
        if name.startswith("params/"):
            shape = kind.partition("[")[2].rstrip("]").split(",")
            sizes[name] = math.prod(int(axis) for axis in shape if axis)
    rows = [(name, leaves[name], f"{size:,}") for name, size in sizes.items()]
    rows.append(("parameters", "", f"{sum(sizes.values()):,}"))
    return tabulate(rows, tablefmt="plain", disable_numparse=True, colalign=("left", "right", "right"))


# options of `sample` that are for texts, and their defaults
CONTINUING: dict[str, Any] = {"length": 200, "temperature": 0.8, "top_k": None, "top_p": 1.0}


def sample(words: argparse.Namespace) -> int:
    """Print each prompt and its continuation; of a run that makes pictures a sheet of them, of an agent an episode."""
    from jaxlm.verbs.pictures import PICTURE_OPTIONS, is_agent, is_painter, sample_episode, sample_pictures

    if is_agent(words.run):
        if given := [name for name in (*CONTINUING, *PICTURE_OPTIONS[:-1], "prompt") if getattr(words, name)]:
            raise BadInput(f"--{given[0].replace('_', '-')} is given, and {words.run} is of an agent: leave it out")
        return sample_episode(words)
    paints = is_painter(words.run)
    if given := [name for name in (CONTINUING if paints else PICTURE_OPTIONS) if getattr(words, name) is not None]:
        kinds = ("continue texts", "makes pictures") if paints else ("make pictures", "does not")
        option = given[0].replace("_", "-")
        raise BadInput(f"--{option} is for runs that {kinds[0]}, and {words.run} {kinds[1]}: leave it out")
    if paints:
        return sample_pictures(words)
    import jax

    from jaxlm.decode import continue_text

    model, variables, tokenizer, _ = language_model(RunDirectory.existing(words.run), words.step)
    prompts = words.prompt or [""]
    texts = continue_text(
        model,
        variables,
        tokenizer,
        prompts,
        jax.random.key(words.seed),
        **{name: usual if getattr(words, name) is None else getattr(words, name) for name, usual in CONTINUING.items()},
    )
    for prompt, text in zip(prompts, texts, strict=True):
        print(prompt + text)
    return 0


def language_model(home: RunDirectory, step: CheckpointStep) -> tuple[Any, Any, Any, int]:
    """Open a run of a language model.

    Returns:
        The model, the variables that an evaluation applies, the tokenizer, and the update of the checkpoint.

    Raises:
        BadInput: it is a run of another model, or has no such checkpoint.
    """
    from jaxlm.data import load_tokenizer
    from jaxlm.runs.weights import open_checkpoints
    from jaxlm.steps import eval_variables

    if not (home.path / "tokenizer.json").is_file():
        raise BadInput(f"{home.path} has no tokenizer.json: it is not a run of a language model")
    config = home.config()
    if not all(hasattr(config.model, name) for name in ("vocab", "context", "init_cache")):
        kind = type(config.model).__name__
        raise BadInput(f"{home.path} is not a run of a language model but of a {kind}: ask it with `jaxlm predict`")
    tokenizer = load_tokenizer(home.artefact("tokenizer.json"))
    checkpoints = open_checkpoints(home, config.run)
    chosen = checkpoints.choose(step)
    state = checkpoints.restore_raw(chosen)
    variables = eval_variables(state["params"], state.get("variables"), state.get("ema"))
    return config.model, variables, tokenizer, chosen


def evaluate_run(words: argparse.Namespace, overrides: list[str]) -> int:
    """Evaluate a checkpoint with the experiment file that the run kept, and print its metrics.

    Args:
        words: the run, and what of it.
        overrides: of the config's data, decoding and placement, as `--data.eval-file NEW --decode.beams 1`.

    Raises:
        BadInput: an override is of what was trained.
    """
    from jaxlm.steps import compute
    from jaxlm.train.config import override
    from jaxlm.train.recorder import Recorder

    for word in overrides:
        if word.startswith("--") and word[2:].partition(".")[0] not in EVALUATED:
            raise BadInput(
                f"{word} is not of an evaluation, which takes fields of data, decode and place: `jaxlm fork "
                f"{words.run} NEW {word} ...` trains on with other settings"
            )
    program = f"jaxlm eval {words.run}"
    recorder = Recorder.existing(words.run, partial(override, words=overrides, program=program) if overrides else None)
    step = recorder.checkpoints.choose(words.step)
    state = recorder.restore(step)
    if words.params and getattr(state, "ema", None) is not None:
        state = state.replace(ema=None)
    sums = recorder.sums(state)
    for evaluation, metrics in sums.items():
        for name, value in compute(metrics, f"{evaluation}/").items():
            print(f"{name} {value:.6g} (update {step})")
        for name, metric in metrics.items():
            if hasattr(metric, "signature"):  # that of sacreBLEU, without which its scores cannot be compared
                print(f"{evaluation}/{name} is {metric.signature()}")
    if words.report:
        print(class_report(sums.get("eval", {}), recorder.run_dir))
    return 0


def importance(words: argparse.Namespace) -> int:
    """Print how much a metric of a run on a table loses where each of its columns is permuted."""
    from jaxlm.predict.tables.importance import permutation_importance
    from jaxlm.train.recorder import Recorder

    if words.repeats < 1:
        raise BadInput(f"--repeats is {words.repeats}: it must be at least 1")
    recorder = Recorder.existing(words.run)
    step = recorder.checkpoints.choose(words.step)
    metric = words.metric or recorder.config.run.metric
    options = {"repeats": words.repeats, "seed": words.seed}
    whole, found = permutation_importance(recorder, recorder.restore(step), metric, **options)
    print(f"{metric} {whole:.6g} (update {step}); it changes so where a column is permuted:")
    rows = [(one.column, f"{-one.mean:+.4g}", f"{one.std:.2g}") for one in found]
    table = [("column", "change", f"deviation of {words.repeats}"), *rows]
    print(tabulate(table, tablefmt="plain", disable_numparse=True, colalign=("left", "right", "right")))
    return 0


def class_report(metrics: Any, home: RunDirectory) -> str:
    """Return precision, recall and F1 of each class or type of entities, as scikit-learn and seqeval print them."""
    from jaxlm.metrics import Tags
    from jaxlm.predict.classes import read_class_names
    from jaxlm.verbs.class_report import classification_report, entity_report

    if "entities" in metrics:
        return "\n" + entity_report(metrics["entities"], Tags(read_class_names(home)).types)
    if "confusion" not in metrics:
        raise BadInput(f"{home.path} is not a run of a classifier: leave --report out")
    return "\n" + classification_report(metrics["confusion"].counts, read_class_names(home))


def verify_resumes(words: argparse.Namespace, rest: list[str]) -> int:
    """Prove that killing and resuming leaves no trace."""
    from jaxlm.runs.shipped import find_both
    from jaxlm.train.replay.resume import verify_resume

    experiment, config = map(str, find_both([words.experiment, words.config]))
    return verify_resume(experiment, config, rest, words.kills, words.seed, words.directory)
