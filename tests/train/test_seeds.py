"""Sources of variation seeded apart: initialisation, order of the data, and the noise of training."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from jaxlm.data.epoch import Epoch, permutation
from jaxlm.data.images.augment import HorizontalFlip
from jaxlm.data.images.sources import Digits
from jaxlm.data.keys import training_keys
from jaxlm.errors import BadInput
from jaxlm.losses import Classification
from jaxlm.models.mlp import MLP
from jaxlm.optim import SGD
from jaxlm.parallel import PlacementSpec
from jaxlm.runs.directory import RunDirectory
from jaxlm.runs.load import load_module
from jaxlm.train import Config, Run, train
from jaxlm.train.recorder import Recorder, compose
from whole_path import ROOT, final_bits

BUILD = load_module(ROOT / "experiments" / "image_classification.py").build
DROPOUT, FLIPS = {"dropout": 0.5}, {"augment": (HorizontalFlip(),)}


def config(run, model=None, data=None, place="local"):
    return Config(
        model=MLP(classes=10, hidden=(8,), **(model or {})),
        data=Digits(batch=8, eval_batch=360, **(data or {})),
        loss=Classification(),
        optim=SGD(),
        run=replace(run, steps=3, log_every=1),
        place=PlacementSpec(place),
    )


def leaves(tree):
    return [
        np.asarray(jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x)
        for x in jax.tree.leaves(tree)
    ]


def same(one, other):
    return all(np.array_equal(x, y) for x, y in zip(leaves(one), leaves(other), strict=True))


def followed(directory, run, **parts):
    """The first parameters of a run, its images in order, and its parameters after three updates."""
    asked = config(run, **parts)
    experiment, place = compose(BUILD, asked)
    state = Recorder(experiment, asked, place, RunDirectory(directory)).fresh({})
    first, batches = place.fetch(state.params), [experiment.train_data[index] for index in range(3)]
    step = place.compile(experiment.step)
    for batch in batches:
        state, _ = step(state, place.put(batch))
    return first, [batch["image"] for batch in batches], place.fetch(state.params)


def test_a_source_follows_its_own_seed_and_the_run_s_where_it_has_none():
    assert Run(seed=4).seeds == (4, 4, 4)
    assert Run(seed=4, data_seed=0).seeds == (4, 0, 4)
    assert Run(seed=4, init_seed=1, data_seed=2, noise_seed=3).seeds._asdict() == {"init": 1, "data": 2, "noise": 3}
    for name in ("seed", "init_seed", "data_seed", "noise_seed"):
        for seed in (-1, 2**32):  # a PRNG key keeps 32 bits, so that 2^32 would equal 0
            with pytest.raises(BadInput, match=f"run.{name} is {seed}: a seed is from 0 to 4294967295"):
                Run(**{name: seed}).validate()
        Run(**{name: 2**32 - 1}).validate()


def test_another_seed_of_the_data_changes_the_batches_alone(tmp_path):
    one, other = (followed(tmp_path, Run(seed=3, data_seed=seed)) for seed in (3, 4))
    assert same(one[0], other[0])
    assert not same(one[1], other[1])
    assert same(other[1], followed(tmp_path, Run(seed=4))[1])


def test_another_seed_of_the_initialisation_changes_the_parameters_alone(tmp_path):
    one, other = (followed(tmp_path, Run(seed=3, init_seed=seed), model=DROPOUT) for seed in (3, 4))
    assert not same(one[0], other[0])
    assert same(one[1], other[1])
    alone = followed(tmp_path, Run(seed=4, data_seed=3, noise_seed=3), model=DROPOUT)
    assert all(same(x, y) for x, y in zip(other, alone, strict=True))


@pytest.mark.parametrize("parts", [{}, {"model": DROPOUT}, {"data": FLIPS}], ids=["none", "dropout", "augmentation"])
def test_another_seed_of_the_noise_changes_what_is_drawn_in_training_alone(parts, tmp_path):
    one, other = (followed(tmp_path, Run(seed=3, noise_seed=seed), **parts) for seed in (3, 4))
    assert same(one[0], other[0])
    assert same(one[1], other[1])
    assert same(one[2], other[2]) == (not parts)


@pytest.mark.parametrize("place", ["local", "pmap", "mesh"])
def test_the_root_key_of_training_is_the_noise_s_in_every_placement(place, tmp_path):
    def begun(run):
        asked = config(run, place=place)
        experiment, home = compose(BUILD, asked)
        return Recorder(experiment, asked, home, RunDirectory(tmp_path)).fresh({})

    three, four, mixed = begun(Run(seed=3)), begun(Run(seed=4)), begun(Run(seed=3, noise_seed=4))
    assert same(mixed.key, four.key)
    assert not same(mixed.key, three.key)
    assert same(mixed.replace(key=three.key), three)
    assert mixed.key.sharding == three.key.sharding


def test_three_seeds_that_agree_are_one_seed(tmp_path):
    runs = {"one": Run(seed=7), "three": Run(seed=0, init_seed=7, data_seed=7, noise_seed=7)}
    for name, run in runs.items():
        train(BUILD, config(run, DROPOUT, FLIPS), tmp_path / name)
    assert final_bits(tmp_path / "one") == final_bits(tmp_path / "three")
    sessions = [RunDirectory(tmp_path / name).lineage()["sessions"][0] for name in runs]
    assert sessions[0]["data"] == sessions[1]["data"]


def test_the_draws_of_a_batch_follow_the_noise_and_its_rows_the_order():
    data = Digits(batch=8).train(5, 9)
    batch, plain = data[0], Digits(batch=8).train(5)[0]
    rows = permutation(Epoch(5, 0), len(data.source))[:8]
    assert np.array_equal(batch["image"], plain["image"])
    assert np.array_equal(batch["keys"], training_keys(Epoch(9, 0), len(data.source))[rows])
    assert np.array_equal(data.shard(1, 2)[0]["keys"], batch["keys"][1::2])
    prints = [Digits(batch=8).train(*seeds).fingerprint() for seeds in ((5,), (5, 5), (5, 9), (9, 5))]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3
    with pytest.raises(BadInput, match="a seed of -1"):
        Digits(batch=8).train(5, -1)
