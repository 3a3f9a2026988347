"""Runs packed in one program leave what they leave alone, bit for bit: records, checkpoints, and what ended them.

Without LLVM's optimisations, as the default tests compile, other programs may round otherwise. So most of this is slow,
where the flags are those of a real run.
"""

import contextlib
import dataclasses
import io
import json

import jax
import pytest

from jaxlm.data import Bytes, Text
from jaxlm.data.augment import RandomCrop
from jaxlm.data.image_specs import Digits
from jaxlm.errors import BadInput
from jaxlm.losses import Classification
from jaxlm.models.cnn import CNN
from jaxlm.models.gpt import GPT
from jaxlm.models.mlp import MLP
from jaxlm.optim import AdamW
from jaxlm.parallel import Place
from jaxlm.train import Config, Run, Start, hyperparameters, train, with_hyperparameters
from jaxlm.train import pack as pack_module
from jaxlm.train.checkpoint import Checkpoints
from jaxlm.train.config import load_module
from jaxlm.train.hyperparameters import OF_STEP
from jaxlm.train.pack import Pack, train_pack
from jaxlm.train.program import Program, program_digest, stack, unstack
from test_resume import records
from whole_path import ROOT, final_bits

IMAGES = load_module(ROOT / "experiments" / "image_classification.py").build
LANGUAGE = load_module(ROOT / "experiments" / "language_model.py").build
PERCEPTRON = Config(
    model=MLP(classes=10, hidden=(16,)),
    data=Digits(batch=32, eval_batch=360, augment=(RandomCrop(padding=1),)),
    loss=Classification(),
    optim=AdamW(peak=1e-2, warmup=2, shape="constant"),
    run=Run(steps=9, ema=0.9, log_every=2, eval_every=4, save_every=3, skip_limit=1, keep_last=9),
)


def at(config, seed, peak, **changes):
    optim = dataclasses.replace(config.optim, peak=peak)
    return dataclasses.replace(config, optim=optim, run=dataclasses.replace(config.run, seed=seed, **changes))


def three(config, last=0.03):
    return [at(config, 0, 0.01), at(config, 1, 0.01), at(config, 0, last)]


def run_pack(build, configs, folder, packing, devices=1):
    """Train configs as one pack; the directories, and what ended each."""
    directories = [folder / f"run{number}" for number in range(len(configs))]
    with contextlib.ExitStack() as files:
        logs = [files.enter_context(io.StringIO()) for _ in configs]
        return directories, train_pack(Program(build, configs[0], packing, devices), build, configs, directories, logs)


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


FALLING = dataclasses.replace(PERCEPTRON, optim=AdamW(peak=1e-2, warmup=2))
CNN_CONFIG = dataclasses.replace(PERCEPTRON, model=CNN(classes=10, widths=(4, 8), hidden=16))


@pytest.mark.parametrize(
    ("config", "packing"),
    [
        (PERCEPTRON, "mapped"),
        pytest.param(PERCEPTRON, "unrolled", marks=pytest.mark.slow),
        pytest.param(FALLING, "unrolled", marks=pytest.mark.slow),
        pytest.param(FALLING, "mapped", marks=pytest.mark.slow),
        pytest.param(CNN_CONFIG, "unrolled", marks=pytest.mark.slow),
    ],
    ids=["MLP mapped", "MLP unrolled", "falling unrolled", "falling mapped", "CNN unrolled"],
)
def test_a_packed_image_run_is_the_run_alone(config, packing, tmp_path):
    configs = three(config)[: 2 if config is CNN_CONFIG else 3]
    directories, failed = run_pack(IMAGES, configs, tmp_path, packing)
    assert failed == [None] * len(configs)
    for config, directory in zip(configs, directories, strict=True):
        assert run_alone(IMAGES, config, tmp_path / "alone" / directory.name) is None
        assert_same(directory, tmp_path / "alone" / directory.name)
    session = json.loads((directories[0] / "lineage.json").read_text())["sessions"][-1]
    assert (session["packing"], session["runs"]) == (packing, len(configs))


HELD = [(0.1, 0.05, 0.9), (0.5, 0.2, 0.5), (0.1, 0.2, 0.99)]  # rates of dropout, smoothings, decays of the average


def with_held(config):
    """Configs that differ in dropout, smoothing and the decay of the average alone."""
    return [with_hyperparameters(config, dict(zip(OF_STEP, values, strict=True))) for values in HELD]


@pytest.mark.parametrize(
    ("config", "packing"),
    [
        (PERCEPTRON, "mapped"),
        pytest.param(PERCEPTRON, "unrolled", marks=pytest.mark.slow),
        pytest.param(CNN_CONFIG, "unrolled", marks=pytest.mark.slow),
    ],
    ids=["MLP mapped", "MLP unrolled", "CNN unrolled"],
)
def test_runs_of_other_dropout_smoothing_and_decay_share_a_program_bit_for_bit(config, packing, tmp_path):
    configs = with_held(config)
    assert len({program_digest(config, OF_STEP) for config in configs}) == 1
    directories, failed = run_pack(IMAGES, configs, tmp_path, packing)
    assert failed == [None] * 3
    for config, directory in zip(configs, directories, strict=True):
        assert run_alone(IMAGES, config, tmp_path / "alone" / directory.name) is None
        assert_same(directory, tmp_path / "alone" / directory.name)
    assert len({str(records(directory)[-1]) for directory in directories}) == 3


@pytest.mark.slow
def test_a_transformer_shares_a_program_with_one_of_other_dropout(tmp_path):
    """A device each: on one device neither unrolled nor mapped keeps the bits of the second run."""
    text = tmp_path / "text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog. " * 40)
    model = GPT(vocab=256, depth=1, width=16, heads=2, context=16, dropout=0.1)
    data = Text(path=str(text), tokenizer=Bytes(), batch=4, length=16)
    config = dataclasses.replace(PERCEPTRON, model=model, data=data, loss=None)
    configs = [dataclasses.replace(config, model=model.clone(dropout=rate)) for rate in (0.1, 0.3)]
    directories, failed = run_pack(LANGUAGE, configs, tmp_path, "unrolled", devices=2)
    assert failed == [None] * 2
    for config, directory in zip(configs, directories, strict=True):
        assert run_alone(LANGUAGE, config, tmp_path / "alone" / directory.name) is None
        assert_same(directory, tmp_path / "alone" / directory.name)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "packing"),
    [(PERCEPTRON, "mapped"), (PERCEPTRON, "unrolled"), (CNN_CONFIG, "unrolled")],
    ids=["MLP mapped", "MLP unrolled", "CNN unrolled"],
)
def test_a_pack_that_is_dealt_out_over_devices_keeps_the_bits_of_runs_alone(config, packing, tmp_path):
    configs = [at(config, seed, 0.01) for seed in range(4)]
    directories, failed = run_pack(IMAGES, configs, tmp_path, packing, devices=4)
    assert failed == [None] * 4
    for config, directory in zip(configs, directories, strict=True):
        assert run_alone(IMAGES, config, tmp_path / "alone" / directory.name) is None
        assert_same(directory, tmp_path / "alone" / directory.name)


def test_as_many_devices_have_runs_as_divide_them():
    program = Program(IMAGES, PERCEPTRON, "mapped", devices=4)
    assert [program.spread(runs).devices for runs in (1, 2, 3, 4, 6, 7, 8)] == [1, 2, 3, 4, 3, 1, 4]
    states = program.put(stack([program.begin(config) for config in three(PERCEPTRON)]))
    assert {len(leaf.addressable_shards) for leaf in jax.tree.leaves(states)} == {3}
    assert all(leaf.devices() == {jax.devices()[0]} for leaf in jax.tree.leaves(unstack(states)))


def test_a_run_that_diverges_ends_alone_as_it_would_by_itself(tmp_path):
    configs = three(PERCEPTRON, last=1e30)
    directories, failed = run_pack(IMAGES, configs, tmp_path, "mapped")
    assert failed[:2] == [None, None]
    assert run_alone(IMAGES, configs[2], tmp_path / "alone") == failed[2]
    assert "were not finite" in failed[2]
    assert records(directories[2]) == records(tmp_path / "alone")
    assert run_alone(IMAGES, configs[1], tmp_path / "other") is None
    assert_same(directories[1], tmp_path / "other")


def test_a_pack_goes_on_from_its_checkpoints(tmp_path, monkeypatch):
    configs = three(PERCEPTRON)[:2]
    whole, _ = run_pack(IMAGES, configs, tmp_path / "whole", "mapped")

    def fails(self, states, completed):
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(Pack, "finish", fails)
        with pytest.raises(RuntimeError, match="killed"):
            run_pack(IMAGES, [at(config, config.run.seed, 0.01, steps=6) for config in configs], tmp_path, "mapped")
    directories, failed = run_pack(IMAGES, configs, tmp_path, "mapped")
    assert failed == [None, None]
    for directory, other in zip(directories, whole, strict=True):
        assert final_bits(directory).keys() == final_bits(other).keys()
        assert Checkpoints(directory / "checkpoints").steps() == [3, 6, 9]
    (tmp_path / "run0" / "checkpoints" / "9" / "seal.json").unlink()
    with pytest.raises(BadInput, match=r"stand at different updates \(\[6, 9\]\)"):
        run_pack(IMAGES, configs, tmp_path, "mapped")


def test_a_pack_that_cannot_begin_lets_go_of_its_directories(tmp_path):
    configs = three(PERCEPTRON)[:2]
    assert run_alone(IMAGES, at(PERCEPTRON, 7, 0.01, steps=3), tmp_path / "run1") is None
    with pytest.raises(BadInput, match="run1 holds a run of another config"):
        run_pack(IMAGES, configs, tmp_path, "mapped")
    assert run_alone(IMAGES, configs[0], tmp_path / "run0") is None


def test_a_signal_saves_every_run(tmp_path, monkeypatch):
    class Stopped(pack_module.Interrupt):
        def __enter__(self):
            self.signal = "SIGTERM"
            return self

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(pack_module, "Interrupt", Stopped)
    directories, failed = run_pack(IMAGES, three(PERCEPTRON), tmp_path, "mapped")
    assert failed == [None] * 3
    assert [Checkpoints(directory / "checkpoints").steps() for directory in directories] == [[1]] * 3


def test_which_runs_can_share_a_program():
    key = program_digest(PERCEPTRON)
    assert key is not None
    assert {program_digest(config) for config in three(PERCEPTRON)} == {key}
    decay = dataclasses.replace(PERCEPTRON, optim=dataclasses.replace(PERCEPTRON.optim, decay=0.1))
    assert program_digest(decay) == key
    others = [
        dataclasses.replace(PERCEPTRON, model=MLP(classes=10, hidden=(17,))),
        dataclasses.replace(PERCEPTRON, optim=dataclasses.replace(PERCEPTRON.optim, warmup=3)),
        at(PERCEPTRON, 0, 0.01, steps=10),
        at(PERCEPTRON, 0, 0.01, ema=0.8),
    ]
    assert len({key, *map(program_digest, others)}) == 5
    held = [at(PERCEPTRON, 0, 0.01, ema=0.8), *with_held(PERCEPTRON)]
    key = program_digest(PERCEPTRON, ["ema"])
    assert program_digest(held[0], ["ema"]) == key != program_digest(at(PERCEPTRON, 0, 0.01, ema=0.0))
    assert program_digest(held[1], hyperparameters(held[1])) != key
    apart = [
        dataclasses.replace(PERCEPTRON, place=Place(kind="mesh")),
        dataclasses.replace(PERCEPTRON, start=Start(path="x")),
        at(PERCEPTRON, 0, 0.01, patience=2),
        at(PERCEPTRON, 0, 0.01, repeat=3),
    ]
    assert [program_digest(config) for config in apart] == [None] * 4
