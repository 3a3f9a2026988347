"""Look at runs: doctor, info, sample, eval, verify-resume."""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
from pathlib import Path
from typing import Any

from jaxlm.errors import BadInput
from jaxlm.train.checkpoint import Checkpoints
from jaxlm.train.run_directory import EXPERIMENT, RunDirectory
from jaxlm.train.seal import read_seal

OPTIONAL = {
    "tensorboardX": ("TensorBoard events beside a run", "pip install 'jaxlm[tensorboard]'"),
    "optuna": ("`jaxlm tune`", "pip install 'jaxlm[tune]'"),
    "lm_eval": ("`jaxlm lm-eval`", "pip install 'jaxlm[lm-eval]'"),
    "tensorflow": ("preparing TFDS datasets (reading prepared ones needs none)", "pip install 'jaxlm[prepare]'"),
    "pytest": ("the tests", "pip install 'jaxlm[dev]'"),
}


def doctor() -> int:
    """Print versions, devices and what is missing; 1 if a required package is."""
    import jax

    print(f"python {platform.python_version()} on {platform.platform()}")
    missing = 0
    for name in ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "tensorflow-datasets", "tokenizers"):
        try:
            print(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing = 1
            print(f"{name} MISSING: pip install {name}")
    for device in jax.devices():
        print(f"device {device.id}: {device.platform} {device.device_kind}")
    if jax.default_backend() == "cpu":
        print("no accelerator: for NVIDIA GPUs pip install 'jax[cuda13]', for TPUs 'jax[tpu]'")
        if "hugetlb" not in os.environ.get("GLIBC_TUNABLES", ""):
            print("slow memory: start commands through scripts/env.py, which sets GLIBC_TUNABLES for training on CPUs")
    for name, (purpose, remedy) in OPTIONAL.items():
        if importlib.util.find_spec(name) is None:
            print(f"optional {name} is not installed, for {purpose}: {remedy}")
    data = os.environ.get("TFDS_DATA_DIR")
    print(f"TFDS_DATA_DIR {data}" if data else "TFDS_DATA_DIR is not set: TFDS looks in ~/tensorflow_datasets")
    return missing


def info(path: str) -> int:
    """Print lineage, parameters and last metrics of a run."""
    home = RunDirectory.existing(path)
    sessions = home.lineage()["sessions"]
    for number, session in enumerate(sessions):
        machine, git = session["fingerprint"], session["git"]
        print(f"session {number}: {session['time']}  seed {session['seed']}  {session['command']}")
        commit = (
            f"{git['commit'][:12]}{' with uncommitted changes' if git['diff'] else ''}" if git else "no git checkout"
        )
        print(
            f"  code {commit}; jax {machine['jax']}; {machine['devices']} x {machine['chip']}; {machine['placement']}"
        )
    steps = Checkpoints(home.checkpoints).steps()
    print(f"checkpoints: {', '.join(map(str, steps)) or 'none'}")
    if steps:
        parameter_table(read_seal(home.checkpoints / str(steps[-1]))["leaves"])
    last: dict[str, Any] = {}
    for record in home.metrics():
        last |= {name: (record["step"], value) for name, value in record.items() if name != "step"}
    for name, (step, value) in last.items():
        print(f"{name} {value} (update {step})")
    return 0


def parameter_table(leaves: dict[str, str]) -> None:
    """Print every parameter with its shape and size, and their sum."""
    sizes = {}
    for name, kind in leaves.items():
        if name.startswith("params/"):
            sizes[name] = 1
            for axis in filter(None, kind.partition("[")[2].rstrip("]").split(",")):
                sizes[name] *= int(axis)
    width = max(map(len, sizes), default=0)
    for name, size in sizes.items():
        print(f"{name:{width}}  {leaves[name]:>20}  {size:>13,}")
    print(f"{'parameters':{width}}  {'':>20}  {sum(sizes.values()):>13,}")


def sample(words: argparse.Namespace) -> int:
    """Print each prompt and its continuation."""
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
        length=words.length,
        temperature=words.temperature,
        top_k=words.top_k,
        top_p=words.top_p,
    )
    for prompt, text in zip(prompts, texts, strict=True):
        print(prompt + text)
    return 0


def language_model(home: RunDirectory, step: int | None) -> tuple[Any, Any, Any, int]:
    """A run's language model, what an evaluation applies of it, its tokenizer, and the update of the checkpoint."""
    from jaxlm.data import load_tokenizer
    from jaxlm.steps import evaluated

    if not (home.path / "tokenizer.json").is_file():
        raise BadInput(f"{home.path} has no tokenizer.json: it is no run of a language model")
    tokenizer = load_tokenizer((home.path / "tokenizer.json").read_text())
    checkpoints = Checkpoints(home.checkpoints)
    chosen = choose(checkpoints, step, home)
    state = checkpoints.restore_raw(chosen)
    variables = evaluated(state["params"], state.get("variables"), state.get("ema"))
    return home.config().model, variables, tokenizer, chosen


def evaluate(words: argparse.Namespace) -> int:
    """Evaluate a checkpoint with the experiment file that the run kept, and print its metrics."""
    import jax

    from jaxlm.data.loader import batches
    from jaxlm.steps import compute
    from jaxlm.train.config import load_module
    from jaxlm.train.loop import ahead, measure

    home = RunDirectory.existing(words.run)
    config = home.config()
    place = config.place.build()
    experiment = load_module(home.path / EXPERIMENT).build(config, place)
    checkpoints = Checkpoints(home.checkpoints)
    step = choose(checkpoints, words.step, home)
    template = place.layout(jax.eval_shape(experiment.init, jax.random.key(config.run.seed)))
    state = checkpoints.restore(step, template)
    data = experiment.eval_data
    program = place.compile(experiment.evaluate, donate=False)
    metrics = measure(program, state, ahead(batches(data, 0, len(data)), place.put))
    for name, value in compute(metrics, "eval/").items():
        print(f"{name} {value:.6g} (update {step})")
    if words.report:
        print(class_report(metrics, home))
    return 0


def class_report(metrics: Any, home: RunDirectory) -> str:
    """Precision, recall and F1 of each class, or type of entities, as scikit-learn and seqeval print them."""
    from jaxlm.steps import Tags, classification, entities

    if "entities" in metrics:
        return "\n" + entities.report(metrics["entities"], Tags(tuple(read_classes(home)["names"])).types, digits=4)
    if "confusion" not in metrics:
        raise BadInput(f"{home.path} is no run of a classifier: leave --report out")
    return "\n" + classification.report(metrics["confusion"].counts, read_classes(home)["names"], digits=4)


def read_classes(home: RunDirectory) -> dict[str, Any]:
    """What a run of a classifier tells of its classes, and of its images where it has any."""
    path = home.path / "classes.json"
    if not path.is_file():
        raise BadInput(f"{home.path} has no classes.json: it is no run of a classifier")
    return json.loads(path.read_text())


def choose(checkpoints: Checkpoints, step: int | None, home: RunDirectory) -> int:
    """The checkpoint asked for, or the newest whole one."""
    if step is not None and step not in checkpoints.steps():
        known = ", ".join(map(str, checkpoints.steps())) or "none"
        raise BadInput(f"{home.path} has no checkpoint at update {step}: it has {known}")
    chosen = checkpoints.newest_whole() if step is None else step
    if chosen is None:
        raise BadInput(f"{home.path} has no checkpoint yet: let it train until its first save")
    return chosen


def verify(words: argparse.Namespace, rest: list[str]) -> int:
    """Prove that killing and resuming leaves no trace."""
    from jaxlm.train.verify import verify_resume

    for path in (words.experiment, words.config):
        if not Path(path).is_file():
            raise BadInput(f"there is no file {path}")
    return verify_resume(words.experiment, words.config, rest, words.kills, words.seed, words.directory)
