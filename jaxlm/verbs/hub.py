"""Pretrained models in and out: `jaxlm import` makes a run of one, `jaxlm export` writes one from a run."""

import argparse
import dataclasses
import functools
from pathlib import Path
from typing import Any

from jaxlm.errors import BadInput
from jaxlm.hub import pretrained
from jaxlm.hub.fetch import fetch_folder
from jaxlm.hub.whisper import feature_options, generation_options
from jaxlm.runs.load import load_module
from jaxlm.runs.serialise import config_source
from jaxlm.runs.settings import Run
from jaxlm.runs.shipped import find_file
from jaxlm.train.config import Config, load_config, override
from jaxlm.train.init_from import InitFrom

FINE_TUNE = "fine_tune.py"  # the config of a run that was imported, beside it
TOKENIZER_CONFIG = "tokenizer_config.json"


def import_run(words: argparse.Namespace, rest: list[str]) -> int:
    """Make a run of pretrained weights: no update, an evaluation, a sealed checkpoint, and a config to go on with."""
    from jaxlm.train.main import keep_compiled_programs, train

    keep_compiled_programs()
    folder = fetch_folder(words.source).absolute()
    model = pretrained.read_model(folder)
    config = _task_config(model, folder, words.config) if words.config else _language_config(model, folder, words)
    has_head = config.model is model and getattr(model, "classes", None) != 0
    fresh = "" if has_head else config.init.fresh
    start = dataclasses.replace(config.init, path=str(folder), fresh=fresh)
    config = override(dataclasses.replace(config, init=start), rest, "jaxlm import")
    file = find_file("experiment", words.experiment)
    build = load_module(file).build
    directory = Path(words.directory or Path("runs") / folder.name)
    again = f"{words.source}, imported.\n\n    python {file} {directory / FINE_TUNE}\n"
    text = config_source(again, config)

    @functools.wraps(build)
    def with_config(config: Any, place: Any) -> Any:
        experiment = build(config, place)
        return dataclasses.replace(experiment, artefacts={**experiment.artefacts, FINE_TUNE: text})

    train(
        with_config, config, directory, stop=lambda records: f"imported from {folder}, and not trained"
    ).raise_stopped()
    print(f"to fine-tune it: python {file} {directory / FINE_TUNE}")
    return 0


def _task_config(model: Any, folder: Path, path: str) -> Any:
    """Return a config of a task with its model replaced, or the encoder of its model."""
    config = load_config(find_file("config", path))
    if "encoder" in pretrained.module_fields(type(config.model)) and type(model) is not type(config.model):
        model = config.model.clone(encoder=model)
    of_sound = hasattr(model, "source_context")
    if hasattr(model, "classes") != hasattr(config.model, "classes") or of_sound != hasattr(
        config.model, "source_context"
    ):
        raise BadInput(f"{folder} holds a {type(model).__name__}, which {path} is not for: give another one")
    config = dataclasses.replace(config, model=model)
    return _of_whisper(config, folder) if of_sound else config


def _of_whisper(config: Any, folder: Path) -> Any:
    """Return a config with the window, the tokenizer and the rules of writing of a folder with a Whisper."""
    features = dataclasses.replace(config.data.features, bands=config.model.bands, **feature_options(folder))
    window = 2 * config.model.source_context * features.hop
    tokenizer = dataclasses.replace(config.data.tokenizer, path=str(folder))
    data = dataclasses.replace(config.data, features=features, widths=(window,), tokenizer=tokenizer)
    decode = dataclasses.replace(config.decode, **generation_options(folder))
    return dataclasses.replace(config, data=data, decode=decode)


def _language_config(model: Any, folder: Path, words: argparse.Namespace) -> Config:
    """Return a config for a decoder-only transformer; others need one of their task."""
    from jaxlm.data import Pretrained, Text
    from jaxlm.models.gpt import GPT
    from jaxlm.optim import AdamW

    if not isinstance(model, GPT):
        raise BadInput(
            f"{folder} holds a {type(model).__name__}, which needs data of its task: give a config of it with --config "
            "and its experiment with --experiment"
        )
    tokenizer = Pretrained(str(Path(words.tokenizer).absolute()) if words.tokenizer else str(folder))
    data = Text(path=None, tokenizer=tokenizer, batch=8, length=min(model.context, 256), eval_fraction=0.002)
    optim = AdamW(peak_lr=2e-5, warmup=50, weight_decay=0.1, clip_norm=1.0)
    return Config(model, data, optim, init=InitFrom(), run=Run(steps=500, eval_every=100, save_every=100))
