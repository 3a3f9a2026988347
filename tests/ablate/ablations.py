"""What the tests of whole ablations share: a config with two changes, the command, and what it leaves behind."""

import contextlib
import io
import json
import sys

import pytest

from jaxlm import cli
from jaxlm.ablate import Arm
from jaxlm.ablate.audit.find import find, read_table, read_whole
from jaxlm.ablate.execute import runner
from jaxlm.ablate.report.table import ablation_table
from jaxlm.runs.serialise import digest
from whole_path import ROOT

EXPERIMENT = ROOT / "experiments" / "image_classification.py"
CONFIG = """
from jaxlm.data.images.sources import Digits
from jaxlm.losses import Classification
from jaxlm.models.mlp import MLP
from jaxlm.optim import AdamW
from jaxlm.train import Config, Run

config = Config(
    model=MLP(classes=10, hidden=(16,)),
    data=Digits(batch=32, eval_batch=360),
    loss=Classification(),
    optim=AdamW(peak_lr=1e-2, warmup=2, schedule="constant"),
    run=Run(steps=12, seed=5, log_every=1, eval_every=6, save_every=4, skip_limit=1, metric="eval/accuracy",
            maximize=True),
)
ablations = {"slow": ("--optim.peak-lr", "1e-3"), "too fast": ("--optim.peak-lr", "1e30")}
"""
FILES = ("table.txt", "table.csv", "table.md", "table.tex", "table.json")
SEEDS = (5, 6, 7)
DIVERGED = "training stopped: too many updates in a row were not finite"


def command(config, directory, *words):
    options = ("--seeds", 3, "--directory", directory)
    return ["ablate", *map(str, (EXPERIMENT, config, *options, *words))]


def jaxlm(*words):
    """Run a command line in this process: (exit code, output, error)."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(sys, "argv", ["jaxlm", *words])
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as stop:
            cli.main()
    return stop.value.code, out.getvalue(), err.getvalue()


class Killed(BaseException):
    """Ends a process as a kill would: nothing catches it."""


def dies(*words):
    """Run a command line that `Killed` ends."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(sys, "argv", ["jaxlm", *words])
        with pytest.raises(Killed):
            cli.main()


def tables(directory):
    return {name: (directory / name).read_bytes() for name in (*FILES, "table.html")}


def records(directory, arm=""):
    """{(arm, seed): record} of the cells on disk."""
    found = [json.loads(path.read_text()) for path in directory.glob(f"cells/{arm}*/cell.json")]
    return {(record["arm"], record["seed"]): record for record in found}


def no_training(monkeypatch):
    """Let a cell that is trained be an error."""

    def refuse(*_):
        raise Killed("a cell was trained")

    monkeypatch.setattr(runner, "train", refuse)


def forge(directory, arm, seed, change, tabulated=True):
    """Change a record and hide it: identity, seal, run directory and table are made to fit (or not the table)."""
    table, entries = read_table(directory)
    folder = find(entries, f"{arm}:{seed}").folder
    record = read_whole(folder)
    change(record)
    record["identity"] = digest(record["parts"])
    (folder / "cell.json").write_text(json.dumps({**record, "seal": digest(record)}))
    folder.rename(folder.with_name(f"{arm}-seed{seed}-{record['identity'][:10]}"))
    if not tabulated:
        return
    arms = [Arm(row["name"], tuple(row["words"])) for row in table["arms"]]
    made = ablation_table(
        arms, table["seeds"], records(directory), table["metric"], table["better"] == "larger", table["kept"]
    )
    (directory / "table.json").write_text(json.dumps(made))
