"""Runs trained at the same time leave what they leave alone: records, checkpoints, and what ended them.

One run a device does so bit for bit. Without LLVM's optimisations, as the default tests compile, other programs may
round otherwise, so most of this is slow, where the flags are those of a real run.
"""

import contextlib
import dataclasses
import io
import json
import signal

import numpy as np
import pytest

from jaxlm.data import Bytes, Episodes, Text
from jaxlm.data.images.augment import RandomCrop
from jaxlm.data.images.sources import Digits
from jaxlm.environments import CartPole, Gymnasium
from jaxlm.errors import BadInput
from jaxlm.interrupt import Stopped
from jaxlm.losses import Classification
from jaxlm.models.cnn import CNN
from jaxlm.models.gpt import GPT
from jaxlm.models.mlp import MLP
from jaxlm.optim import AdamW
from jaxlm.parallel import PlacementSpec
from jaxlm.runs.checkpoint import Checkpoints
from jaxlm.runs.load import load_module
from jaxlm.train import Config, InitFrom, Run, hyperparameters, train, with_hyperparameters
from jaxlm.train.packs import pack as pack_module
from jaxlm.train.packs.pack import Pack, train_pack
from jaxlm.train.packs.program import can_train_together, program_digest, share_compilation
from test_resume import records
from whole_path import ROOT, final_bits

IMAGES = load_module(ROOT / "experiments" / "image_classification.py").build
LANGUAGE = load_module(ROOT / "experiments" / "language_model.py").build
PERCEPTRON = Config(
    model=MLP(classes=10, hidden=(16,)),
    data=Digits(batch=32, eval_batch=360, augment=(RandomCrop(padding=1),)),
    loss=Classification(),
    optim=AdamW(peak_lr=1e-2, warmup=2),
    run=Run(steps=9, ema=0.9, log_every=2, eval_every=4, save_every=3, skip_limit=1, keep_last=9),
)


def at(config, seed, peak, **changes):
    optim = dataclasses.replace(config.optim, peak_lr=peak)
    return dataclasses.replace(config, optim=optim, run=dataclasses.replace(config.run, seed=seed, **changes))


def three(config, last=0.03):
    return [at(config, 0, 0.01), at(config, 1, 0.01), at(config, 0, last)]


def run_pack(build, configs, folder, packing="devices"):
    """Train configs as one pack; the directories, and what ended each."""
    directories = [folder / f"run{number}" for number in range(len(configs))]
    with contextlib.ExitStack() as files:
        logs = [files.enter_context(io.StringIO()) for _ in configs]
        return directories, train_pack(share_compilation(build), packing, configs, directories, logs)


def run_alone(build, config, directory):
    """Train a config alone; what ended it."""
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            train(build, config, directory)
        except BadInput as error:
            return str(error)
    return None


def assert_same(directory, alone):
    assert records(directory) == records(alone)
    assert final_bits(directory) == final_bits(alone)
    steps = Checkpoints(directory / "checkpoints").steps()
    assert steps == Checkpoints(alone / "checkpoints").steps()
    assert (directory / "config.json").read_text() == (alone / "config.json").read_text()


def assert_as_alone(build, configs, directories, folder):
    for config, directory in zip(configs, directories, strict=True):
        assert run_alone(build, config, folder / directory.name) is None
        assert_same(directory, folder / directory.name)


CNN_CONFIG = dataclasses.replace(PERCEPTRON, model=CNN(classes=10, widths=(4, 8), hidden=16))


@pytest.mark.parametrize("config", [PERCEPTRON, pytest.param(CNN_CONFIG, marks=pytest.mark.slow)], ids=["MLP", "CNN"])
def test_a_run_on_a_device_of_its_own_is_the_run_alone(config, tmp_path):
    configs = three(config)
    directories, failed = run_pack(IMAGES, configs, tmp_path)
    assert failed == [None] * 3
    assert_as_alone(IMAGES, configs, directories, tmp_path / "alone")
    session = json.loads((directories[1] / "lineage.json").read_text())["sessions"][-1]
    assert (session["packing"], session["runs"], session["run"]) == ("devices", 3, 1)


OF_STEP = ("model.dropout", "loss.smoothing", "run.ema")
HELD = [(0.1, 0.05, 0.9), (0.5, 0.2, 0.5), (0.1, 0.2, 0.99)]  # rates of dropout, smoothings, decays of the average


def with_held(config):
    """Configs that differ in dropout, smoothing and the decay of the average alone."""
    return [with_hyperparameters(config, dict(zip(OF_STEP, values, strict=True))) for values in HELD]


@pytest.mark.slow
@pytest.mark.parametrize("config", [PERCEPTRON, CNN_CONFIG], ids=["MLP", "CNN"])
def test_runs_of_other_dropout_smoothing_and_decay_share_a_program_bit_for_bit(config, tmp_path):
    configs = with_held(config)
    assert len({program_digest(config, OF_STEP) for config in configs}) == 1
    directories, failed = run_pack(IMAGES, configs, tmp_path)
    assert failed == [None] * 3
    assert_as_alone(IMAGES, configs, directories, tmp_path / "alone")
    assert len({str(records(directory)[-1]) for directory in directories}) == 3


@pytest.mark.slow
def test_a_transformer_shares_a_program_with_one_of_other_dropout(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog. " * 40)
    model = GPT(vocab=256, depth=1, width=16, heads=2, context=16, dropout=0.1)
    data = Text(path=str(text), tokenizer=Bytes(), batch=4, length=16)
    config = dataclasses.replace(PERCEPTRON, model=model, data=data, loss=None)
    configs = [dataclasses.replace(config, model=model.clone(dropout=rate)) for rate in (0.1, 0.3)]
    directories, failed = run_pack(LANGUAGE, configs, tmp_path)
    assert failed == [None] * 2
    assert_as_alone(LANGUAGE, configs, directories, tmp_path / "alone")


def test_vmapped_runs_compute_what_runs_alone_compute(tmp_path):
    configs = three(PERCEPTRON)[:2]
    directories, failed = run_pack(IMAGES, configs, tmp_path, "vmapped")
    assert failed == [None] * 2
    for config, directory in zip(configs, directories, strict=True):
        assert run_alone(IMAGES, config, tmp_path / "alone" / directory.name) is None
        here, alone = records(directory), records(tmp_path / "alone" / directory.name)
        assert [record.keys() for record in here] == [record.keys() for record in alone]
        for one, other in zip(here, alone, strict=True):
            np.testing.assert_allclose(list(one.values()), list(other.values()), rtol=1e-3, atol=1e-5)
    again, _ = run_pack(IMAGES, configs, tmp_path / "again", "vmapped")
    for directory, other in zip(directories, again, strict=True):
        assert_same(directory, other)


@pytest.mark.parametrize("packing", ["devices", "vmapped"])
def test_a_run_that_diverges_ends_by_itself_as_it_would_alone(packing, tmp_path):
    configs = three(PERCEPTRON, last=1e30)
    directories, failed = run_pack(IMAGES, configs, tmp_path, packing)
    assert failed[:2] == [None, None]
    assert run_alone(IMAGES, configs[2], tmp_path / "alone") == failed[2]
    assert "were not finite" in failed[2]
    if packing == "devices":
        assert records(directories[2]) == records(tmp_path / "alone")
        assert Checkpoints(directories[2] / "checkpoints").steps() == []
    assert [Checkpoints(directory / "checkpoints").steps() for directory in directories[:2]] == [[3, 6, 9]] * 2


def test_a_pack_goes_on_from_its_checkpoints(tmp_path, monkeypatch):
    configs = three(PERCEPTRON)[:2]
    whole, _ = run_pack(IMAGES, configs, tmp_path / "whole")
    record = Pack.record

    def killed(self, completed, sums, times):
        record(self, completed, sums, times)
        if completed == 8:
            raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(Pack, "record", killed)
        with pytest.raises(RuntimeError, match="killed"):
            run_pack(IMAGES, configs, tmp_path)
    directories, failed = run_pack(IMAGES, configs, tmp_path)
    assert failed == [None, None]
    for directory, other in zip(directories, whole, strict=True):
        assert final_bits(directory) == final_bits(other)
        assert Checkpoints(directory / "checkpoints").steps() == [3, 6, 9]
    (tmp_path / "run0" / "checkpoints" / "9" / "seal.json").unlink()
    with pytest.raises(BadInput, match=r"are at different updates \(\[6, 9\]\)"):
        run_pack(IMAGES, configs, tmp_path)


def test_a_pack_that_cannot_begin_closes_its_directories(tmp_path):
    configs = three(PERCEPTRON)[:2]
    assert run_alone(IMAGES, at(PERCEPTRON, 7, 0.01, steps=3), tmp_path / "run1") is None
    with pytest.raises(BadInput, match="run1 holds a run of another config"):
        run_pack(IMAGES, configs, tmp_path)
    assert run_alone(IMAGES, configs[0], tmp_path / "run0") is None


def test_a_signal_saves_every_run(tmp_path, monkeypatch):
    class Signalled(pack_module.Interrupt):
        def __enter__(self):
            self.signal = "SIGTERM"
            return self

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(pack_module, "Interrupt", Signalled)
    with pytest.raises(Stopped) as raised:
        run_pack(IMAGES, three(PERCEPTRON), tmp_path)
    assert raised.value.number == signal.SIGTERM
    assert [Checkpoints(path).steps() for path in sorted(tmp_path.glob("*/checkpoints"))] == [[1]] * 3


def test_which_runs_can_share_a_program():
    key = program_digest(PERCEPTRON)
    assert key is not None
    assert {program_digest(config) for config in three(PERCEPTRON)} == {key}
    decay = dataclasses.replace(PERCEPTRON, optim=dataclasses.replace(PERCEPTRON.optim, weight_decay=0.1))
    assert program_digest(decay) == key
    others = [
        dataclasses.replace(PERCEPTRON, model=MLP(classes=10, hidden=(17,))),
        dataclasses.replace(PERCEPTRON, optim=dataclasses.replace(PERCEPTRON.optim, warmup=3)),
        at(PERCEPTRON, 0, 0.01, steps=10),
        at(PERCEPTRON, 0, 0.01, ema=0.8),
    ]
    assert len({key, *map(program_digest, others)}) == 5
    held = [at(PERCEPTRON, 0, 0.01, ema=0.8), *with_held(PERCEPTRON)]
    key = program_digest(PERCEPTRON, ["run.ema"])
    assert program_digest(held[0], ["run.ema"]) == key != program_digest(at(PERCEPTRON, 0, 0.01, ema=0.0))
    assert program_digest(held[1], hyperparameters(held[1])) != key
    assert can_train_together(PERCEPTRON)
    host = dataclasses.replace(PERCEPTRON, data=Episodes(environment=Gymnasium("CartPole-v1")))
    assert can_train_together(dataclasses.replace(host, data=Episodes(environment=CartPole())))
    apart = [
        dataclasses.replace(PERCEPTRON, place=PlacementSpec(kind="mesh")),
        dataclasses.replace(PERCEPTRON, init=InitFrom(path="x")),
        at(PERCEPTRON, 0, 0.01, patience=2),
        at(PERCEPTRON, 0, 0.01, repeat=3),
        host,
    ]
    assert not any(map(can_train_together, apart))
