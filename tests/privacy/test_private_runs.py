"""A private run samples, says what it spends, resumes to the same bits, and refuses what it cannot account for."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from jaxlm import steps
from jaxlm.data.images.augment import CutMix, HorizontalFlip
from jaxlm.data.images.sources import Digits
from jaxlm.data.poisson import Poisson
from jaxlm.errors import BadInput
from jaxlm.losses import Classification, classification
from jaxlm.models.adapted import Adapted
from jaxlm.models.cnn import CNN
from jaxlm.models.mlp import MLP
from jaxlm.nn.lora import LoRA
from jaxlm.optim import SGD
from jaxlm.parallel import PlacementSpec
from jaxlm.privacy import Privacy
from jaxlm.runs.directory import RunDirectory
from jaxlm.runs.load import load_module
from jaxlm.train import Config, Run, train
from jaxlm.train.config import override
from jaxlm.train.range_test import range_test
from jaxlm.train.recorder import compose
from jaxlm.train.replay.fork import fork_run
from whole_path import ROOT, final_bits

pytest.importorskip("dp_accounting", reason="dp-accounting is not installed: pip install 'jaxlm[privacy]'")

pytestmark = pytest.mark.slow  # those tests alone have the extra `privacy`

PRIVATE = Config(
    model=MLP(hidden=(8,), classes=10),
    data=Digits(batch=128, eval_batch=360, augment=(HorizontalFlip(),)),
    optim=SGD(peak_lr=1.0, schedule="constant"),
    loss=Classification(),
    run=Run(steps=6, log_every=2, save_every=2, eval_every=6, accumulate=2, ema=0.5),
    privacy=Privacy(epsilon=4.0, delta=1e-4, copies=2),
)
build = load_module(ROOT / "experiments" / "image_classification.py").build


def with_run(**fields):
    return dataclasses.replace(PRIVATE, run=dataclasses.replace(PRIVATE.run, **fields))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("private") / "run"
    train(build, PRIVATE, folder)
    return folder


def test_epsilon_grows_in_the_records_to_what_the_lineage_promises(trained):
    records = map(json.loads, (trained / "metrics.jsonl").read_text().splitlines())
    epsilons = [record["privacy/epsilon"] for record in records if "privacy/epsilon" in record]
    assert len(epsilons) == 3
    assert epsilons == sorted(epsilons)
    promised = RunDirectory(trained).lineage()["sessions"][0]["privacy"]
    assert epsilons[-1] == promised["epsilon"]
    assert 3.9 < promised["epsilon"] <= 4.0
    assert promised["accountant"] == "pld"
    assert promised["rate"] == 128 / 1437
    assert promised["clip_norm"] == 1.0


def test_a_run_that_was_cut_goes_on_to_the_same_bits(trained, tmp_path):
    half = RunDirectory(tmp_path / "half").path
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Poisson, "__getitem__", cut_at(4))
        with pytest.raises(KeyError):
            train(build, PRIVATE, half)
    train(build, PRIVATE, half)
    assert final_bits(half) == final_bits(trained)


def cut_at(update):
    whole = Poisson.__getitem__

    def get(self, index):
        if index == update:
            raise KeyError(index)
        return whole(self, index)

    return get


@pytest.mark.parametrize("kind", ["pmap", "mesh"])
def test_devices_change_no_number_beyond_rounding(kind, trained, tmp_path):
    spread = dataclasses.replace(PRIVATE, place=PlacementSpec(kind))
    outcome = train(build, spread, tmp_path / "run")
    experiment, place = compose(build, PRIVATE)
    state = place.init(experiment.init, jax.random.key(0))
    step = place.compile(experiment.step)
    for index in range(6):
        state, _ = step(state, place.put(experiment.train_data[index]))
    for name in ("hidden_0", "head"):
        ours, alone = (np.asarray(one.params[name]["kernel"]) for one in (outcome.state, state))
        np.testing.assert_allclose(ours, alone, atol=1e-4)


def test_ghost_norms_make_the_same_run(trained, tmp_path):
    ghost = dataclasses.replace(PRIVATE, privacy=dataclasses.replace(PRIVATE.privacy, norms="ghost"))
    outcome = train(build, ghost, tmp_path / "ghost")
    each = train(build, PRIVATE, trained)
    for ours, reference in zip(*map(jax.tree.leaves, (outcome.state.params, each.state.params)), strict=True):
        np.testing.assert_allclose(ours, reference, atol=1e-4)


def test_adapters_are_clipped_on_a_frozen_base():
    adapted = Adapted(MLP(hidden=(8,), classes=10), LoRA(rank=2, pattern="kernel$"))
    variables = adapted.init(jax.random.key(0), PRIVATE.data.example())
    params = variables.pop("params")
    batch = {"image": np.ones((4, 8, 8, 1), np.float32), "label": np.arange(4, dtype=np.int32)}
    grads, _, after = steps.clip_each(classification(adapted), 0.01)(params, variables, batch, jax.random.key(1))
    assert jax.tree.structure(grads) == jax.tree.structure(params)
    assert after is variables
    assert 0 < np.sqrt(sum(np.square(x).sum() for x in jax.tree.leaves(grads))) <= 4 * 0.01 * (1 + 1e-5)


def test_words_of_a_command_line_make_a_run_private():
    plain = dataclasses.replace(PRIVATE, privacy=None)
    assert override(plain, []).privacy is None
    asked = override(plain, ["--privacy.epsilon", "3", "--privacy.delta", "1e-6", "--privacy.accountant", "rdp"])
    assert asked.privacy == Privacy(epsilon=3.0, delta=1e-6, accountant="rdp")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": CNN(widths=(2,), hidden=4, classes=10)}, "normalises over a batch.*--model.norm group"),
        ({"data": Digits(batch=128, augment=(CutMix(),))}, "CutMix mixes examples"),
        ({"run": Run(overfit=2)}, "run.overfit is 2"),
        ({"run": Run(skip_limit=3)}, "a private run skips no update"),
        ({"privacy": Privacy(epsilon=1e-5)}, "cannot be reached"),
    ],
)
def test_what_cannot_be_private_is_one_line_and_writes_nothing(changes, message, tmp_path):
    with pytest.raises(BadInput, match=message):
        train(build, dataclasses.replace(PRIVATE, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_experiment_that_does_not_compose_privacy_refuses_it():
    plain = build(dataclasses.replace(PRIVATE, privacy=None), PRIVATE.place.build())
    ours = dataclasses.replace(plain, composes=("accumulate", "ema"))
    with pytest.raises(BadInput, match="does not compose privacy"):
        compose(lambda config, place: ours, PRIVATE)


def test_a_range_test_is_refused():
    with pytest.raises(BadInput, match="losses of training examples, which are not private"):
        range_test(build, PRIVATE, 3, 1e-3, 1.0)


def test_another_length_and_a_fork_are_refused(trained):
    with pytest.raises(BadInput, match="run.steps 6 there, 8 here"):
        train(build, with_run(steps=8), trained)
    with pytest.raises(BadInput, match="a private run is accounted from its first update"):
        fork_run(RunDirectory(trained), 4, with_run(steps=8), trained.parent / "fork")
