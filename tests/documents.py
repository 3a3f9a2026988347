"""Read the commands and Python blocks of README.md and docs, and check what can be checked without running them."""

import contextlib
import io
import re
import shlex
import tomllib
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from jaxlm import cli, verbs
from jaxlm.runs.shipped import find_both
from jaxlm.train.config import fields, load_config, override, to_json
from whole_path import ROOT

DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")
PROGRAMS = ("python", "python3", "jaxlm", "pip", "pytest")


@dataclass(frozen=True)
class Block:
    """A fenced block: its document, the line on which it begins, its language and its text."""

    document: Path
    line: int
    language: str
    text: str


@dataclass(frozen=True)
class Command:
    """A command: where it is, its words without `python3 scripts/env.py`, its comment, and whether it is in a block."""

    document: Path
    line: int
    words: tuple[str, ...]
    comment: str = ""
    in_block: bool = True

    def __str__(self) -> str:
        return " ".join(self.words)

    @property
    def place(self) -> str:
        """The document and line, for the name of a test."""
        return f"{self.document.name}:{self.line}"


def blocks(document: Path) -> list[Block]:
    """Return the fenced blocks of a document."""
    text = document.read_text()
    return [Block(document, text[: m.start()].count("\n") + 1, m[1], m[2]) for m in FENCE.finditer(text)]


def commands(document: Path) -> list[Command]:
    """Return every command of a document: the lines of its shell blocks, and the spans of code that are commands."""
    found = []
    for block in blocks(document):
        if block.language == "sh":
            for number, line in enumerate(block.text.replace("\\\n", "  ").splitlines(), block.line + 1):
                command, _, comment = line.partition(" #")
                found.append(Command(document, number, plain(shlex.split(command)), comment.strip()))
    prose = FENCE.sub(lambda match: "\n" * match[0].count("\n"), document.read_text())
    for number, line in enumerate(prose.splitlines(), 1):
        for span in SPAN.findall(line):
            first, _, rest = span.partition(" ")
            if (first in PROGRAMS and rest) or (re.fullmatch(r"(configs|experiments|scripts)/\w+\.py", first)):
                found.append(Command(document, number, plain(shlex.split(span)), in_block=False))
    return found


def plain(words: list[str]) -> tuple[str, ...]:
    """Return a command without the script that prepares an environment for it; the extras asked for must exist."""
    if words[:2] != ["python3", "scripts/env.py"]:
        return tuple(words)
    if words[2:3] == ["--extras"]:
        check_extras(words[3])
        return tuple(words[4:])
    return tuple(words[2:])


def check_extras(names: str) -> None:
    """Assert that pyproject.toml has these extras, such as "dev,parity"."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(names.split(",")) <= set(extras), names


def check(words: tuple[str, ...]) -> None:
    """Assert that a command can be read: its files exist, and each of its options and overrides is one."""
    match words:
        case [] | ["python"]:
            pass
        case ["pip", "install", *packages]:
            for package in packages:
                if extra := re.search(r"\[(.*)\]", package):
                    check_extras(extra[1])
        case ["pytest", *rest]:
            assert all((ROOT / word).exists() for word in rest if "/" in word), words
        case ["jaxlm", "train", *rest]:
            check_training(list(rest))
        case ["jaxlm", verb, *rest]:
            check_verb(verb, list(rest))
        case ["python" | "python3", file, *rest] if file.startswith("experiments/"):
            check_training([file, *rest])
        case ["python" | "python3", file, *rest]:
            check_script(file, list(rest))
        case [file, *rest] if file.startswith("scripts/"):
            check_script(file, list(rest))
        case [file, *_] if file.startswith(("configs/", "experiments/")):
            check_training(list(words))
        case _:
            raise AssertionError(f"no rule reads {' '.join(words)}")


def check_training(words: list[str]) -> None:
    """Assert that experiment and config exist and fit, and that every override is one and makes a valid run."""
    names = list(takewhile(lambda word: not word.startswith("-"), words))
    if names[-1:] and names[-1].startswith("experiments/"):  # an experiment alone, in a sentence
        assert (ROOT / names[-1]).is_file(), words
        return
    check_overrides(names, words[len(names) :])


def check_overrides(names: list[str], overrides: list[str]) -> None:
    """Assert that each override is one of the config."""
    with contextlib.chdir(ROOT):
        config = load_config(find_both(names)[1])
        if "--help" in overrides:
            with contextlib.redirect_stdout(io.StringIO()) as told, contextlib.suppress(SystemExit):
                override(config, overrides)
            assert "--run.steps" in told.getvalue()
            return
        override(config, overrides).run.validate()


def check_verb(verb: str, rest: list[str]) -> None:
    """Assert that a verb takes these options; a verb alone, in a sentence, must only exist."""
    assert verb in verbs.VERBS or verb == "VERB", verb
    if not rest:
        return
    with contextlib.redirect_stderr(io.StringIO()) as told:
        try:
            args, overrides = cli.parser().parse_known_args([verb, *rest])
        except SystemExit:
            raise AssertionError(told.getvalue()) from None
    assert not overrides or verb in verbs.TAKE_OVERRIDES, overrides
    if hasattr(args, "config") and hasattr(args, "experiment") and args.config:
        check_overrides([args.experiment, args.config], overrides)


def check_script(file: str, rest: list[str]) -> None:
    """Assert that a script exists and has these options."""
    source = (ROOT / file).read_text()
    assert all(f'"{word}"' in source for word in rest if word.startswith("--")), (file, rest)


def known_options() -> set[str]:
    """Return every option of every verb, script and config."""
    found = {
        option
        for parser in cli.parser()._subparsers._group_actions[0].choices.values()
        for option in parser._option_string_actions
    }
    for file in (ROOT / "scripts").glob("*.py"):
        found |= set(re.findall(r'"(--[\w-]+)"', file.read_text()))
    for file in (ROOT / "configs").glob("*.py"):
        found |= {f"--{name.replace('_', '-')}" for name in fields(to_json(load_config(file)))}
    return found
