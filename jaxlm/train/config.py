"""The parts that every experiment's config has, how they are read from a file, and how a command line changes them."""

import contextlib
import dataclasses
import difflib
import io
import itertools
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxlm.errors import BadInput
from jaxlm.parallel import PlacementSpec
from jaxlm.privacy import Privacy
from jaxlm.runs.load import load_module
from jaxlm.runs.serialise import TYPE, to_json
from jaxlm.runs.settings import Run
from jaxlm.runs.shipped import check_fits, find_file
from jaxlm.train.init_from import InitFrom


@dataclass(frozen=True)
class Config:
    """What an experiment is built from.

    Attributes:
        model: a Linen module.
        data: a data spec, such as `jaxlm.data.images.sources.Digits`.
        optim: an optimizer spec, such as `jaxlm.optim.AdamW`.
        loss: a loss spec, for an experiment with a choice of losses.
        decode: how answers are searched for, for an experiment whose model writes texts.
        init: the run or the pretrained weights to start from.
        run: how long the run is, how often it reports and saves, and its seeds.
        place: the devices that it runs on.
        privacy: differential privacy of the training examples, or None.
    """

    model: Any
    data: Any
    optim: Any
    loss: Any = None
    decode: Any = None
    init: InitFrom = field(default_factory=InitFrom)
    run: Run = field(default_factory=Run)
    place: PlacementSpec = field(default_factory=PlacementSpec)
    privacy: Privacy | None = None


def load_config(path: str | Path) -> Any:
    """Return the value named `config` of a Python file.

    Raises:
        BadInput: there is no such file, an error in it, or no config in it.
    """
    module = load_module(path)
    if not dataclasses.is_dataclass(getattr(module, "config", None)):
        raise BadInput(f"{path} defines no `config`: write `config = Config(...)` in it")
    return module.config


def override(config: Any, words: Sequence[str], program: str = "") -> Any:
    """Change fields of a config by words of a command line, as `--model.depth 6`.

    Args:
        config: the config to begin with.
        words: the overrides; `--help` among them prints the fields and exits with 0.
        program: what was typed before them, for `--help`.

    Raises:
        BadInput: a field that is not there, with the nearest one, or a value of the wrong type.
    """
    import tyro

    if any(word.startswith("--privacy.") for word in words) and getattr(config, "privacy", ...) is None:
        config = dataclasses.replace(config, privacy=Privacy())
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            return tyro.cli(
                type(config),
                default=config,
                args=list(words),
                prog=program or None,
                description="The fields of the config. The defaults are the values in the config file.",
                config=(tyro.conf.AvoidSubcommands,),
            )
    except SystemExit as stop:
        if not stop.code:
            raise
    known = fields(to_json(config))
    for word in words:
        field = word[2:].partition("=")[0].replace("-", "_")
        if word.startswith("--") and field not in known and field.replace(".no_", ".") not in known:
            raise BadInput(unknown_field(field, known))
    message = _one_line(errors.getvalue()).removeprefix("Error parsing ")
    if message.startswith("Unrecognized options: --"):
        option = message.split()[2].strip(",")
        raise BadInput(
            f"{option} has no value that a word could change: set it in the config file, where it is written"
        )
    raise BadInput(message)


def _one_line(message: str) -> str:
    """Return the first paragraph of an error of tyro, which has a title, rules between paragraphs, and often a box."""
    _, *lines = (line.strip(" │╭╮╰╯") for line in message.splitlines())
    paragraphs = itertools.groupby(lines, key=lambda line: bool(line.strip("─-")))
    return next((" ".join(paragraph) for is_text, paragraph in paragraphs if is_text), "")


def unknown_field(field: str, known: Iterable[str]) -> str:
    """Return the line that says that there is no such field, with the option of the nearest one."""
    last = field.rpartition(".")[2]
    near = [name for name in known if name.startswith(f"{field}.")]
    near = near or difflib.get_close_matches(field, known, n=1, cutoff=0.5)
    near = near or [name for name in known if last in name.rpartition(".")[2].split("_")]
    meant = f"did you mean --{near[0].replace('_', '-')}?" if near else "`jaxlm train CONFIG --help` lists the fields"
    return f"there is no field {field}: {meant}"


def fields(value: Any, path: str = "") -> dict[str, Any]:
    """Return every field of a JSON config that a command line can set: {"model.depth": 4, "data.augment.0.size": 8}."""
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        value = dict(enumerate(value))
    if not isinstance(value, dict):
        return {path: value}
    found: dict[str, Any] = {}
    for key, item in value.items():
        if key != TYPE:
            found |= fields(item, f"{path}.{key}" if path else str(key))
    return found


def parse_command(argv: list[str], program: str, experiment: Path) -> tuple[Path, Any]:
    """Return the config file that a command line names, and its config with the overrides applied.

    Args:
        argv: the config's path or name, and the overrides, as `--optim.peak-lr 1e-3`.
        program: what was typed before them, for the messages.
        experiment: the experiment file, which the config must fit.
    """
    if not argv or argv[0].startswith("-"):
        print(f"usage: {program} CONFIG [--FIELD VALUE ...]\n\n`{program} CONFIG --help` lists the fields.")
        sys.exit(0 if argv and argv[0] in ("-h", "--help") else 2)
    file = find_file("config", argv[0])
    check_fits(experiment, file)
    before = load_config(file)
    return file, shorten_warmup(override(before, argv[1:], f"{program} {argv[0]}"), before, argv[1:])


def names_warmup(words: Sequence[str]) -> bool:
    """Return whether override words set the warm-up."""
    return any(word.partition("=")[0] == "--optim.warmup" for word in words)


def shorten_warmup(config: Any, before: Any, words: Sequence[str]) -> Any:
    """Shorten the warm-up in proportion where a shorter run would spend more than half of its updates on it.

    A run that is shortened by less keeps its warm-up, so that a longer one can go on in the same directory.

    Args:
        config: after the overrides.
        before: the config before them.
        words: the overrides; a warm-up among them is kept.
    """
    warmup, steps = getattr(config.optim, "warmup", 0), before.run.steps
    if names_warmup(words) or not 0 < config.run.steps < steps or 2 * warmup <= config.run.steps:
        return config
    shorter = max(warmup * config.run.steps // steps, 1)
    print(f"run.steps {steps} is now {config.run.steps}: optim.warmup {warmup} becomes {shorter}, in proportion")
    return dataclasses.replace(config, optim=dataclasses.replace(config.optim, warmup=shorter))
