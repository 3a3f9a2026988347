"""The mean of checkpoints: exact where it can be, of what an evaluation applies, and told in the lineage."""

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_fork import EXPERIMENT, jaxlm, state_at
from tiny_run import config

from jaxlm.errors import BadInput
from jaxlm.optim import Adam
from jaxlm.runs.compare import differing, host_leaves
from jaxlm.runs.directory import RunDirectory
from jaxlm.runs.load import load_module
from jaxlm.steps import compute
from jaxlm.train import train
from jaxlm.train.recorder import Recorder
from jaxlm.train.replay.average import Sum, average_run

BASE = config(optim=Adam(peak_lr=0.05, schedule="constant"), steps=8, keep_last=9, ema=0.75)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A finished run with a checkpoint at every second update, and a running average."""
    folder = tmp_path_factory.mktemp("source")
    (folder / "experiment.py").write_text(EXPERIMENT)
    train(load_module(folder / "experiment.py").build, BASE, folder / "run")
    return RunDirectory(folder / "run")


def test_the_mean_of_one_checkpoint_is_it_in_every_bit(source, tmp_path):
    average_run(source, [6], tmp_path / "new")
    assert not differing(host_leaves(state_at(tmp_path / "new", 6)), host_leaves(state_at(source.path, 6)))


def test_an_average_is_the_mean_by_numpy_and_all_else_is_of_the_newest(source, tmp_path):
    average_run(source, [8, 4, 6], tmp_path / "new")  # in any order
    found = state_at(tmp_path / "new", 8)
    states = [state_at(source.path, step) for step in (4, 6, 8)]
    for name in ("params", "ema"):
        wanted = jax.tree.map(
            lambda *x: np.mean([np.asarray(leaf, np.float64) for leaf in x], 0).astype(np.float32),
            *(getattr(state, name) for state in states),
        )
        assert jax.tree.all(jax.tree.map(np.array_equal, jax.device_get(getattr(found, name)), wanted))
    kept = dict.fromkeys(("params", "ema"))
    assert not differing(host_leaves(found.replace(**kept)), host_leaves(states[-1].replace(**kept)))


def test_eval_measures_the_mean(source, tmp_path, capsys):
    assert jaxlm(["average", source.path, tmp_path / "new", "--last", 2]) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"the mean of {source.path} at the updates 6, 8\n")
    assert jaxlm(["eval", tmp_path / "new"]) == 0
    recorder = Recorder.existing(source.path)
    a, b = recorder.restore(6), recorder.restore(8)
    mean = b.replace(ema=jax.tree.map(lambda x, y: ((np.float64(x) + np.float64(y)) / 2).astype(x.dtype), a.ema, b.ema))
    wanted = compute(recorder.sums(mean)["eval"], "eval/")["eval/loss"]
    assert f"eval/loss {wanted:.6g} (update 8)" in capsys.readouterr().out


def test_equal_weights_and_negative_zero_keep_their_bits():
    leaf = jnp.asarray(np.random.default_rng(0).normal(size=1000).astype(np.float32)).at[0].set(-0.0)
    state = {"params": {"a": leaf, "b": leaf.astype(jnp.bfloat16)}, "step": jnp.int32(3)}
    total = Sum()
    for _ in range(7):
        total.add(state, "one")
    assert not differing(host_leaves(total.mean(state)), host_leaves(state))


def test_integers_that_differ_have_no_mean():
    total = Sum()
    total.add({"variables": {"count": jnp.arange(2)}}, "the first")
    with pytest.raises(BadInput, match="variables/count is int32 and another one in the second: integers have no mean"):
        total.add({"variables": {"count": jnp.arange(2) + 1}}, "the second")


def test_each_part_of_a_joint_state_is_averaged():
    states = [{"parts": {"net": {"params": {"w": jnp.full(2, x)}, "step": jnp.float32(x)}}} for x in (1.0, 2.0)]
    total = Sum()
    for state in states:
        total.add(state, "one")
    net = total.mean(states[-1])["parts"]["net"]
    assert net["params"]["w"].tolist() == [1.5, 1.5]
    assert net["step"] == 2


def test_its_lineage_says_what_was_averaged_and_it_trains_on(source, tmp_path, capsys):
    new = tmp_path / "new"
    average_run(source, [4, 6], new)
    session = json.loads((new / "lineage.json").read_text())["sessions"][0]["forked"]
    assert (session["run"], session["step"], session["averaged"]) == (str(source.path), 6, [4, 6])
    for words in (["info", new], ["explain", new]):
        assert jaxlm(words) == 0
        assert f"the mean of {source.path} at the updates 4, 6" in capsys.readouterr().out
    changed = RunDirectory(new).config()
    train(load_module(RunDirectory(new).experiment).build, changed, new)
    assert Recorder.existing(new).checkpoints.steps()[-1] == 8


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--last", "9"], "--last 9 of the checkpoints of {run}: it has 4 (2, 4, 6, 8); ask for these, or train"),
        (["--last", "0"], "--last 0 of the checkpoints of {run}: it has 4"),
        (["--step", "4", "5"], "{run} has no checkpoint at update 5: it has 2, 4, 6, 8"),
        (["--step", "4", "4"], "the checkpoint at update 4 is given twice: give each one once"),
        (["--step", "some"], "argument --step: 'some': give the number of updates at the checkpoint, or best"),
    ],
)
def test_what_cannot_be_averaged_is_one_line(source, tmp_path, capsys, words, told):
    assert jaxlm(["average", source.path, tmp_path / "new", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {told.format(run=source.path)}")
    assert error.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_a_damaged_checkpoint_and_one_of_another_shape_are_refused(source, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(source.path, run)
    file = max((run / "checkpoints" / "6").rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else 0)
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    assert jaxlm(["average", run, tmp_path / "new", "--last", 2]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: checkpoint {run / 'checkpoints' / '6'} is damaged (")
    assert error.endswith("choose another with --step\n")
    changed = dataclasses.replace(BASE, run=dataclasses.replace(BASE.run, ema=0.0))
    train(load_module(source.experiment).build, changed, tmp_path / "other")
    shutil.rmtree(run / "checkpoints" / "6")
    shutil.copytree(tmp_path / "other" / "checkpoints" / "6", run / "checkpoints" / "6")
    assert jaxlm(["average", run, tmp_path / "new", "--last", 2]) == 2
    assert "does not fit: ema/" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
