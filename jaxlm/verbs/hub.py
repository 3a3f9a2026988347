"""Pretrained models in and out: `jaxlm import` makes a run of one, `jaxlm export` writes one from a run."""

import argparse
import contextlib
import dataclasses
import functools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxlm.errors import BadInput
from jaxlm.hub import pretrained
from jaxlm.hub.fetch import folder_of
from jaxlm.hub.placing import unrolled
from jaxlm.train.config import Config, Run, load, load_module, override
from jaxlm.train.run_directory import RunDirectory
from jaxlm.train.source import config_source
from jaxlm.train.start import Start, read_leaves, read_run

FINE_TUNE = "fine_tune.py"  # the config of a run that was imported, beside it
TOKENIZER = "tokenizer.json"


def bring(words: argparse.Namespace, rest: list[str]) -> int:
    """Make a run of pretrained weights: no update, an evaluation, a sealed checkpoint, and a config to go on with."""
    from jaxlm.train.main import keep_compiled_programs, train

    keep_compiled_programs()
    folder = folder_of(words.source).absolute()
    model = pretrained.read_model(folder)
    config = _task_config(model, folder, words.config) if words.config else _language_config(model, folder, words)
    fresh = "" if getattr(model, "classes", 0) else config.start.fresh  # a classifier's head comes with it
    start = dataclasses.replace(config.start, path=str(folder), fresh=fresh)
    config = override(dataclasses.replace(config, start=start), rest, "jaxlm import")
    if not Path(words.experiment).is_file():
        raise BadInput(f"there is no experiment file {words.experiment}: give one with --experiment")
    build = load_module(words.experiment).build
    again = f"{words.source}, imported.\n\n    python {words.experiment} {FINE_TUNE}\n"
    text = config_source(again, config)

    @functools.wraps(build)
    def with_config(config: Any, place: Any) -> Any:
        experiment = build(config, place)
        return dataclasses.replace(experiment, artefacts={**experiment.artefacts, FINE_TUNE: text})

    directory = Path(words.directory or Path("runs") / folder.name)
    train(with_config, config, directory, stop=lambda records: f"imported from {folder}, and not trained")
    print(f"to fine-tune it: python {words.experiment} {directory / FINE_TUNE}")
    return 0


def _task_config(model: Any, folder: Path, path: str) -> Any:
    """A config of a task with its model replaced, or the encoder of its model."""
    config = load(path)
    if "encoder" in pretrained.own_fields(type(config.model)) and type(model) is not type(config.model):
        model = config.model.clone(encoder=model)
    if hasattr(model, "classes") != hasattr(config.model, "classes"):
        raise BadInput(f"{folder} holds a {type(model).__name__}, which {path} is not for: give another one")
    return dataclasses.replace(config, model=model)


def _language_config(model: Any, folder: Path, words: argparse.Namespace) -> Config:
    """A config for a decoder-only transformer; others need one of their task."""
    from jaxlm.data import Pretrained, Text
    from jaxlm.models.gpt import GPT
    from jaxlm.optim import AdamW

    if not isinstance(model, GPT):
        raise BadInput(
            f"{folder} holds a {type(model).__name__}, which needs data of its task: give a config of it with --config "
            "and its experiment with --experiment"
        )
    tokenizer = Pretrained(str(Path(words.tokenizer).absolute()) if words.tokenizer else str(folder))
    data = Text(path=None, tokenizer=tokenizer, batch=8, length=min(model.context, 256), eval_share=0.002)
    optim = AdamW(peak=2e-5, warmup=50, decay=0.1, clip=1.0)
    return Config(model, data, optim, start=Start(), run=Run(steps=500, eval_every=100, save_every=100))


def export(words: argparse.Namespace) -> int:
    """Write a run's model, or its adapters alone, into a folder that other programs load."""
    home, out = RunDirectory.existing(words.run), Path(words.out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadInput(f"{out} is there and not an empty folder: give another one")
    with _whole(out) as partial:
        told = {"hf": _write_model, "peft": _write_adapters}[words.to](partial, home, words.step)
    print(f"{told} written to {out}")
    return 0


@contextlib.contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """A folder beside `out` that takes its place when all is written."""
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        if out.exists():
            out.rmdir()
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write_model(folder: Path, home: RunDirectory, step: int | None) -> str:
    """Write the model as transformers loads it."""
    from jaxlm.data import load_tokenizer
    from jaxlm.data.tokenizer_files import library_files

    model, leaves = home.config().model, read_leaves(str(home.path), step)
    model = getattr(model, "base", model)  # adapters are merged by now
    if getattr(model, "scan", False):
        model, leaves = model.clone(scan=False), unrolled(leaves)
    kept = home.path / TOKENIZER
    tokenizer = load_tokenizer(kept.read_text()) if kept.is_file() else None
    files = library_files(tokenizer) if tokenizer else {}
    pretrained.write(folder, model, leaves, dataclasses.asdict(tokenizer.special) if tokenizer else {})
    for name, text in files.items():
        (folder / name).write_text(text)
    if tokenizer and not files:
        print("its tokenizer has no form that transformers knows, and is left out")
    return f"{len(leaves)} arrays"


def _write_adapters(folder: Path, home: RunDirectory, step: int | None) -> str:
    """Write the adapters as PEFT loads them."""
    from jaxlm.hub import peft

    variables, model = read_run(home, step), home.config().model
    if "base" not in variables:
        raise BadInput(f"{home.path} has no adapters: its model is no Adapted(...); export it with --to hf")
    leaves = pretrained.by_path({"params": variables["params"]})
    base = model.base
    if getattr(base, "scan", False):
        base, leaves = base.clone(scan=False), unrolled(leaves)
    peft.write(folder, base, model.lora, pretrained.nested(leaves)["params"])
    return f"{len(leaves)} arrays of adapters"
