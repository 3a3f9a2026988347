"""The script that counts translations that differ between batches and widths translates, and sees differences."""

from pathlib import Path

import pytest

from jaxlm.data.pairs import PairFiles
from jaxlm.data.tokenizers.specs import Symbols
from jaxlm.decode.seq2seq import BeamSearch
from jaxlm.losses import SequenceToSequence
from jaxlm.models.transformer import Transformer
from jaxlm.optim import AdamW
from jaxlm.runs.load import load_module
from jaxlm.train import Config, Run, train

ROOT = Path(__file__).parents[2]


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    import translation_invariance

    return translation_invariance


def test_a_difference_is_counted_and_shown(script, capsys):
    assert script.compare(["a", "ö", "c"], ["a", "o", "c"], None) == 1
    assert capsys.readouterr().out == "  1 of 3 differ\n  ö\n  o\n"
    assert script.compare(["a"], ["a"], None) == 0


@pytest.mark.slow
def test_a_run_writes_the_same_in_batches_and_rows_of_any_size(script, tmp_path, capsys):
    lines = [" ".join("abcdefgh"[(start + place) % 8] for place in range(1 + start % 9)) for start in range(45)]
    file = tmp_path / "pairs.tsv"
    file.write_text("source\ttarget\n" + "".join(f"{line}\t{line[::-1]}\n" for line in lines))
    config = Config(
        model=Transformer(vocab=9, depth=1, width=16, heads=2, hidden=16),
        data=PairFiles(train_file=str(file), eval_file=str(file), tokenizer=Symbols(), batch=16, widths=(6, 10)),
        loss=SequenceToSequence(),
        decode=BeamSearch(beams=3, ratio=1.0, extra=4),
        optim=AdamW(peak_lr=1e-2, warmup=2),
        run=Run(steps=40),
    )
    train(load_module(ROOT / "experiments" / "translation.py").build, config, tmp_path / "run")
    capsys.readouterr()
    assert script.main([str(tmp_path / "run"), "--batches", "1", "2", "7", "32", "--widths", "12", "16"]) == 0
    assert capsys.readouterr().out.count("0 of 45 differ") == 5
