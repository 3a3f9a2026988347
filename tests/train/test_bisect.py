"""Where two runs part: planted differences are found at their update and leaf, and what cannot be found is told so."""

import json
import shutil
from dataclasses import replace

import jax
import numpy as np
import pytest

from jaxlm.data.images.sources import ArrayImages
from jaxlm.errors import BadInput
from jaxlm.losses import Classification
from jaxlm.models.mlp import MLP
from jaxlm.optim import AdamW
from jaxlm.runs.compare import differing, host_leaves, largest_difference
from jaxlm.runs.directory import RunDirectory
from jaxlm.runs.load import load_module
from jaxlm.train import Config, Run, train
from jaxlm.train.replay.bisect import Replay, bisect, odd_entries
from whole_path import ROOT, write_arrays

STEPS = 8
build = load_module(ROOT / "experiments" / "image_classification.py").build


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A run of 8 updates that kept a checkpoint of each; its learning rate falls from update 5 on."""
    folder = tmp_path_factory.mktemp("bisect")
    write_arrays(folder, 8)
    config = Config(
        model=MLP(classes=10, hidden=(8,)),
        data=ArrayImages(folder=str(folder), batch=32, eval_batch=80),
        loss=Classification(),
        optim=AdamW(schedule="wsd", warmup=0, cooldown=0.5),
        run=Run(steps=STEPS, log_every=1, save_every=1, keep_last=99),
    )
    train(build, config, folder / "base")
    return config, folder / "base"


def copied(run, directory, keep=range(1, STEPS + 1)):
    """A copy of a run with some of its checkpoints."""
    shutil.copytree(run, directory)
    for path in (directory / "checkpoints").iterdir():
        if int(path.name) not in keep:
            shutil.rmtree(path)
    return directory


def first_update_apart(one, other):
    """The truth from the checkpoints of all updates: (update, leaves that differ after it)."""
    runs = [Replay(RunDirectory(path)) for path in (one, other)]
    for step in range(1, STEPS + 1):
        if leaves := differing(*(run.recorded(step) for run in runs)):
            return step, leaves
    return None


def flip_a_bit(state, name):
    """A state with the lowest bit of the first value of one leaf turned."""

    def one(path, leaf):
        if jax.tree_util.keystr(path, simple=True, separator="/") != name:
            return leaf
        values = np.array(leaf)
        values.view(np.uint32).flat[0] ^= 1
        return jax.device_put(values)

    return jax.tree_util.tree_map_with_path(one, state)


def test_a_schedule_that_falls_later_is_found_at_its_update_and_leaves(base, tmp_path, capsys):
    config, whole = base
    later = replace(config, optim=replace(config.optim, cooldown=0.25))
    train(build, later, tmp_path / "later")
    rates = [build(one, one.place.build()).learning_rate for one in (config, later)]
    expected = next(count for count in range(STEPS) if float(rates[0](count)) != float(rates[1](count))) + 1
    update, leaves = first_update_apart(whole, tmp_path / "later")
    assert update == expected == 6
    first = copied(whole, tmp_path / "first", keep=(3, 8))
    second = copied(tmp_path / "later", tmp_path / "second", keep=(3, 8))
    capsys.readouterr()
    assert bisect(str(first), str(second)) == 1
    told = capsys.readouterr().out.splitlines()
    assert "config: optim.cooldown 0.5, 0.25" in told
    assert "metrics: the first to differ is train/learning_rate at update 6" in " ".join(told)
    assert "checkpoints: the same at update 3, not the same at update 8" in told
    assert "training both again from update 3" in told
    at = told.index(f"update 6: the first after which the states differ, in {len(leaves)} leaves")
    assert [line.split(",")[0].strip() for line in told[at + 1 : at + 1 + len(leaves)]] == leaves
    states = [Replay(RunDirectory(path)).recorded(6) for path in (whole, tmp_path / "later")]
    largest = np.abs(states[0][leaves[0]] - states[1][leaves[0]]).max()
    assert told[at + 1] == f"  {leaves[0]}, largest difference {largest:.6g}"
    assert told[-1] == "its batch 5 is the same"


def test_one_byte_of_data_is_found_at_the_update_that_reads_it(base, tmp_path, capsys):
    config, whole = base
    with np.load(f"{config.data.folder}/train.npz") as found:
        arrays = dict(found)
    read_fourth = config.data.train(config.run.seed)[3]["image"][7]
    row = next(row for row, image in enumerate(arrays["images"]) if (image == read_fourth).all())
    arrays["images"][row, 4, 4, 1] ^= 1
    np.savez(tmp_path / "train.npz", **arrays)
    shutil.copy(f"{config.data.folder}/test.npz", tmp_path)
    other = replace(config, data=replace(config.data, folder=str(tmp_path)))
    orders = [one.data.train(one.run.seed) for one in (config, other)]
    assert [index for index in range(STEPS) if odd_entries(orders[0][index], orders[1][index])] == [3]
    train(build, replace(other, run=replace(other.run, save_every=0)), tmp_path / "other")
    capsys.readouterr()
    assert bisect(str(whole), str(tmp_path / "other")) == 1
    out = capsys.readouterr().out
    assert "data: train differ\n" in out
    assert "training both again from update 0\n" in out
    assert "\nupdate 4: the first after which the states differ" in out
    assert out.endswith("its batch 3: image differ\n")


def test_a_bit_planted_in_a_checkpoint_is_told_as_what_no_run_gives(base, tmp_path, capsys):
    config, whole = base
    planted = copied(whole, tmp_path / "planted", keep=range(1, 6))
    run = Replay(RunDirectory(planted))
    run.begin(5)
    run.checkpoints.save(5, flip_a_bit(run.state, "params/head/kernel"))
    run.checkpoints.wait()
    train(build, config, planted)
    capsys.readouterr()
    assert bisect(str(whole), str(planted)) == 1
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "config, experiment file, data, machine and packages are the same"
    assert "checkpoints: the same at update 4, not the same at update 5" in told
    assert "trained again here, the runs agree up to update 5" in told
    assert "what parted their records is not in what trains them here: configs, experiment files, code and data" in told
    at = told.index("update 5: the first checkpoints that differ, in 1 leaves")
    assert told[at + 1].startswith("  params/head/kernel, largest difference ")
    assert told[at + 2 :] == [
        f"{whole} is at update 5 what training it again here gives",
        f"{planted} IS NOT at update 5 what training it again here gives",
    ]


def test_runs_that_are_the_same_agree_whatever_checkpoints_they_kept(base, tmp_path, capsys):
    _, whole = base
    assert bisect(str(whole), str(whole)) == 0
    assert capsys.readouterr().out.endswith("the runs agree up to update 8\n")
    apart = [copied(whole, tmp_path / str(step), keep=(step,)) for step in (4, 8)]
    assert bisect(*map(str, apart)) == 0
    out = capsys.readouterr().out
    assert "checkpoints: none in common\ntraining both again from update 0\n" in out
    assert out.endswith("trained again here, the runs agree up to update 8\n")


def test_a_metric_that_was_changed_by_hand_is_not_in_the_training(base, tmp_path, capsys):
    _, whole = base
    changed = copied(whole, tmp_path / "changed", keep=(2, 8))
    lines = (changed / "metrics.jsonl").read_text().splitlines()
    record = json.loads(lines[4])
    lines[4] = json.dumps(record | {"train/loss": record["train/loss"] + 1})
    (changed / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    assert bisect(str(whole), str(changed)) == 1
    out = capsys.readouterr().out
    assert "metrics: the first to differ is train/loss at update 5: " in out
    assert "training both again from update 2\ntrained again here, the runs agree up to update 5\nwhat parted" in out


@pytest.mark.slow
def test_runs_of_another_seed_or_shape_part_before_the_first_update(base, tmp_path, capsys):
    config, whole = base
    short = replace(config.run, steps=2, save_every=0)
    train(build, replace(config, run=replace(short, seed=1)), tmp_path / "seed")
    wide = replace(config, model=config.model.clone(hidden=(9,)), run=short)
    train(build, wide, tmp_path / "wide")
    capsys.readouterr()
    assert bisect(str(whole), str(tmp_path / "seed")) == 1
    out = capsys.readouterr().out
    assert "config: run.seed 0, 1\n" in out
    assert "update 0: the states differ before the first update, in " in out
    assert bisect(str(whole), str(tmp_path / "wide")) == 1
    told = capsys.readouterr().out.splitlines()
    shapes = [Replay(RunDirectory(path)).recorder.shapes() for path in (whole, tmp_path / "wide")]
    first, second = (host_leaves(jax.tree.map(lambda x: np.zeros(x.shape), shape.params)) for shape in shapes)
    name = differing(first, second)[0]
    assert told[-1].startswith(f"update 0: params/{name} is float32[")


def test_what_is_no_run_is_refused_in_one_line(base, tmp_path):
    _, whole = base
    with pytest.raises(BadInput, match="nowhere is not a run directory"):
        bisect(str(whole), str(tmp_path / "nowhere"))
    empty = copied(whole, tmp_path / "empty", keep=())
    (empty / "metrics.jsonl").unlink()
    with pytest.raises(BadInput, match="has no checkpoint and no metrics yet"):
        bisect(str(whole), str(empty))


def test_equal_means_every_bit_shape_and_dtype():
    zero = {"a": np.zeros(2, np.float32), "b": np.array([np.nan], np.float32)}
    assert differing(zero, {name: leaf.copy() for name, leaf in zero.items()}) == []
    for other in (-np.zeros(2, np.float32), np.zeros(2, np.int32), np.zeros((2, 1), np.float32)):
        assert differing(zero, zero | {"a": other}) == ["a"]
    assert differing(zero, {"a": zero["a"], "c": zero["a"]}) == ["b", "c"]
    assert largest_difference(np.array([1, 5], np.uint32), np.array([3, 4], np.uint32)) == 2


def test_a_run_with_a_seed_for_each_source_is_trained_again_from_its_own_start(base, tmp_path):
    config, _ = base
    run = replace(config.run, seed=1, init_seed=5, data_seed=6, noise_seed=7, save_every=0)
    train(build, replace(config, run=run), tmp_path / "run")
    again = Replay(RunDirectory(tmp_path / "run"))
    again.begin(0)
    again.advance(STEPS)
    assert not differing(again.leaves(), again.recorded(STEPS))
