"""A small transformer learns to copy and to reverse strings: every held-out string is written without an error."""

import json

import numpy as np
import pytest

import jaxlm
from jaxlm.data.pairs import PairFiles
from jaxlm.data.tokenizers.specs import Symbols
from jaxlm.decode.seq2seq import BeamSearch
from jaxlm.losses import SequenceToSequence
from jaxlm.models.transformer import Transformer
from jaxlm.optim import AdamW
from jaxlm.runs.load import load_module
from jaxlm.train import Config, Run, train
from whole_path import ROOT

HELD_OUT = 200
TASKS = {"copy": lambda text: text, "reverse": lambda text: text[::-1]}


def strings():
    """4,000 different strings of one to eight of eight letters."""
    draw = np.random.default_rng(0)
    return list(dict.fromkeys(" ".join(draw.choice(list("abcdefgh"), draw.integers(1, 9))) for _ in range(4400)))


def config_of(folder, turned, texts):
    """A config of two layers of width 32, whose evaluation has the last of these strings."""
    for name, part in (("train", texts[:-HELD_OUT]), ("eval", texts[-HELD_OUT:])):
        rows = "".join(f"{text}\t{turned(text)}\n" for text in part)
        (folder / f"{name}.tsv").write_text(f"source\ttarget\n{rows}")
    return Config(
        model=Transformer(vocab=9, depth=2, width=32, heads=4, hidden=64, dropout=0.0),
        data=PairFiles(
            train_file=str(folder / "train.tsv"),
            eval_file=str(folder / "eval.tsv"),
            tokenizer=Symbols(),
            batch=64,
            eval_batch=HELD_OUT,
            widths=(9,),
        ),
        loss=SequenceToSequence(smoothing=0.0),
        decode=BeamSearch(beams=1, ratio=1.0, extra=2),
        optim=AdamW(peak_lr=5e-3, warmup=80, b2=0.98, weight_decay=0.0, clip_norm=1.0),
        run=Run(steps=800, log_every=100),
    )


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_every_held_out_string_is_written_without_an_error(task, tmp_path):
    texts, turned = strings(), TASKS[task]
    config = config_of(tmp_path, turned, texts)
    train(load_module(ROOT / "experiments" / "translation.py").build, config, tmp_path / "run")
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["translation/ter"] == 0
    answers = jaxlm.load(tmp_path / "run")(texts[-HELD_OUT:])
    assert [answer["text"] for answer in answers] == [turned(text) for text in texts[-HELD_OUT:]]
