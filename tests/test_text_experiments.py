"""Experiments of texts as whole runs: a head on GPT, batches of several widths, and resuming among them."""

import pytest

from jaxlm.runs.directory import RunDirectory
from whole_path import ROOT, final_bits, losses, run_main

CONFIG = """
from jaxlm.data import Words
from jaxlm.data.labelled_text.sources import SentenceFiles
from jaxlm.losses import Classification
from jaxlm.models.gpt import GPT
from jaxlm.models.heads import Classifier
from jaxlm.optim import AdamW
from jaxlm.train import Config, Run

config = Config(
    model=Classifier(encoder=GPT(vocab=400, depth=1, width=16, heads=2, context=16), classes=2, pool="last"),
    data=SentenceFiles(
        train_file="{folder}/texts.csv",
        eval_file="{folder}/texts.csv",
        tokenizer=Words(400),
        batch=8,
        widths=(4, 8, 16),
    ),
    loss=Classification(),
    optim=AdamW(peak_lr=1e-2, schedule="constant"),
    run=Run(steps=24, log_every=1, eval_every=8, save_every=8),
)
"""


@pytest.fixture
def config(tmp_path):
    """A config of texts of 1 to 12 words; whether one is long is the class."""
    words = (ROOT / "LICENSE").read_text().replace('"', "").replace(",", "").split()
    texts = [words[start : start + 1 + start % 12] for start in range(0, 480, 10)]
    rows = [f"{' '.join(text)},{'long' if len(text) > 6 else 'short'}" for text in texts]
    (tmp_path / "texts.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    path = tmp_path / "config.py"
    path.write_text(CONFIG.replace("{folder}", str(tmp_path)))
    return path


@pytest.mark.slow
def test_a_run_over_several_widths_learns_and_resumes_to_the_bit(config, tmp_path, monkeypatch, capsys):
    def run(name, *words):
        run_main(monkeypatch, "text_classification.py", config, *words, "--run.directory", str(tmp_path / name))
        return capsys.readouterr().out

    told = run("whole")
    assert "train data: 48 texts" in told
    assert told.count("compiled in") == 3
    found = losses(tmp_path / "whole")
    assert sum(found[-6:]) < 0.5 * sum(found[:6])
    run("parts", "--run.steps", "8")
    run("parts", "--run.steps", "24")
    assert final_bits(tmp_path / "parts") == final_bits(tmp_path / "whole")
    assert losses(tmp_path / "parts") == found
    assert RunDirectory(tmp_path / "whole").config().data.widths == (4, 8, 16)


@pytest.mark.slow
def test_a_model_of_other_classes_is_told_before_anything_is_written(config, tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit) as stop:
        run_main(
            monkeypatch, "text_classification.py", config, "--model.classes", "3", "--run.directory", f"{tmp_path}/run"
        )
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error == "error: the data has 2 classes (long, short) and the model 3: set --model.classes 2\n"
    assert not (tmp_path / "run").exists()
