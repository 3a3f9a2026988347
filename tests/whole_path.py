"""What the tests of whole runs share: shrunk configs, the real `main`, the bits of a final state."""

import json
import sys
from pathlib import Path

import pytest

from jaxlm.train import main
from jaxlm.train.checkpoint import Checkpoints, digests
from jaxlm.train.config import load_module

ROOT = Path(__file__).resolve().parent.parent
TEXT = ROOT / "LICENSE"  # a real text that does not change

TINY = "--model.depth 1 --model.width 16 --model.heads 2 --model.context 16 --data.length 16 --data.batch 8".split()
SHORT = "--optim.warmup 2 --run.steps 20 --run.log-every 1 --run.eval-every 10 --run.save-every 5".split()


def shrunk(text: Path | str | None = TEXT) -> list[str]:
    """Override words that make a language model's config tiny, on a given text."""
    return [*TINY, *SHORT, *(() if text is None else ("--data.path", str(text)))]


def run_main(monkeypatch: pytest.MonkeyPatch, experiment: str, config: str | Path, *words: str) -> None:
    """What `python experiments/EXPERIMENT CONFIG WORDS` does, in this process."""
    path = ROOT / "experiments" / experiment
    monkeypatch.setattr(sys, "argv", [str(path), str(config), *words])
    main(load_module(path).build)


def run_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, *words: str) -> str:
    """Run the stdlib config with words that cannot work; return the one line of the error."""
    with pytest.raises(SystemExit) as stop:
        run_main(monkeypatch, "language_model.py", ROOT / "configs" / "gpt_stdlib.py", *words)
    error = capsys.readouterr().err
    assert stop.value.code == 2, error
    return error


def final_bits(directory: Path) -> dict[str, str]:
    """SHA-256 of every group of leaves of a run's last checkpoint."""
    checkpoints = Checkpoints(directory / "checkpoints")
    return digests(checkpoints.restore_raw(checkpoints.steps()[-1]))


def losses(directory: Path) -> list[float]:
    """The training losses that a run recorded."""
    lines = (directory / "metrics.jsonl").read_text().splitlines()
    return [record["train/loss"] for record in map(json.loads, lines) if "train/loss" in record]
