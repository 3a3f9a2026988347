"""A fork has the whole state of a checkpoint, the settings of its own config, and says where it comes from."""

import dataclasses
import json
import shlex
import shutil
from contextlib import chdir
from pathlib import Path

import jax
import numpy as np
import pytest
from tiny_run import PLACES, Points, config, records

from jaxlm import cli
from jaxlm.errors import BadInput
from jaxlm.optim import SGD, Adam
from jaxlm.runs.compare import differing, host_leaves
from jaxlm.runs.directory import RunDirectory
from jaxlm.runs.lineage import forked_from
from jaxlm.runs.load import load_module
from jaxlm.train import train
from jaxlm.train.recorder import Recorder
from jaxlm.train.replay.bisect import bisect
from jaxlm.train.replay.fork import fork_run

EXPERIMENT = """
from jaxlm import steps
from jaxlm.runs.settings import COMPOSED
from jaxlm.train import Evaluation, Experiment
from jaxlm.train.compose import descend
from step_helpers import loss, parameters


def build(config, place):
    tx = config.optim(config.run.steps)
    return Experiment(
        init=lambda key: steps.new_state(parameters(), tx, key, ema=config.run.ema > 0),
        step=descend(loss, config, place),
        train_data=config.data.train(config.run.seeds.data, config.run.seeds.noise),
        evaluations={"eval": Evaluation(config.data.eval(), steps.evaluate(loss))},
        learning_rate=config.optim.learning_rate(config.run.steps),
        composes=COMPOSED,
    )
"""
AT, END = 4, 8  # the update of the fork, and the last
BASE = config(optim=Adam(peak_lr=0.05, schedule="constant"), steps=END, keep_last=9, ema=0.75)


def with_run(base, **fields):
    return dataclasses.replace(base, run=dataclasses.replace(base.run, **fields))


def with_optim(base, **fields):
    return dataclasses.replace(base, optim=dataclasses.replace(base.optim, **fields))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A finished run with a checkpoint at every second update."""
    folder = tmp_path_factory.mktemp("source")
    (folder / "experiment.py").write_text(EXPERIMENT)
    train(load_module(folder / "experiment.py").build, BASE, folder / "run")
    return RunDirectory(folder / "run")


def forked(source, new, changed, step=AT):
    """Fork and train; returns the recorder of the new run."""
    fork_run(source, step, changed, new)
    train(load_module(RunDirectory(new).experiment).build, changed, new)
    return Recorder.existing(new)


def state_at(path, step):
    return Recorder.existing(path).restore(step)


def test_a_fork_that_changes_nothing_is_the_run_in_every_bit(source, tmp_path):
    new = forked(source, tmp_path / "new", BASE)
    assert not differing(host_leaves(new.restore(END)), host_leaves(state_at(source.path, END)))
    assert records(tmp_path / "new") == records(source.path)


CHANGED = {
    "rate": with_optim(BASE, peak_lr=0.01, weight_decay=0.1),
    "clipping": with_optim(BASE, clip_norm=0.5),  # its stage moves the others in the optimizer's state
    "penalty": with_optim(BASE, l2=0.1, clip_norm=0.5),
    "decay branch": with_run(with_optim(BASE, schedule="wsd", cooldown=0.5), steps=END),
    "longer": with_run(with_optim(BASE, schedule="linear"), steps=END + 2),
    "limit": with_run(BASE, skip_limit=1),
    "batch": dataclasses.replace(BASE, data=Points(batch=4)),
}


@pytest.mark.parametrize("name", CHANGED)
def test_it_goes_on_as_the_step_of_its_config_does_from_the_state_of_the_checkpoint(source, tmp_path, name):
    changed = CHANGED[name]
    new = forked(source, tmp_path / "new", changed)
    before, begun = host_leaves(state_at(source.path, AT)), host_leaves(new.restore(AT))
    numbers = [[x for path, x in leaves.items() if "hyperparams" not in path] for leaves in (before, begun)]
    assert [x.tobytes() for x in numbers[0]] == [x.tobytes() for x in numbers[1]]
    state, step = new.restore(AT), new.place.compile(new.experiment.step)
    for index in range(AT, changed.run.steps):
        state, _ = step(state, new.place.put(new.experiment.train_data[index]))
    assert not differing(host_leaves(state), host_leaves(new.restore(changed.run.steps)))
    rate = state.opt_state.hyperparams["learning_rate"]
    assert rate == pytest.approx(float(changed.optim.learning_rate(changed.run.steps)(changed.run.steps - 1)), rel=1e-6)
    assert state.opt_state.hyperparams["weight_decay"] == np.float32(changed.optim.weight_decay)


def test_an_average_begins_at_the_parameters_and_one_that_is_not_wanted_is_left(source, tmp_path):
    without = forked(source, tmp_path / "without", with_run(BASE, ema=0.0))
    assert without.restore(END).ema is None
    again = forked(without.run_dir, tmp_path / "again", BASE).restore(AT)
    assert not differing(host_leaves(again.ema["params"]), host_leaves(again.params))


@pytest.mark.parametrize("place", [p for p in PLACES if p != "local"])
@pytest.mark.slow
def test_another_placement_and_accumulation_are_equal_to_rounding(source, tmp_path, place):
    changed = with_run(dataclasses.replace(BASE, place=PLACES[place]), accumulate=2)
    new = forked(source, tmp_path / "new", changed)
    assert not differing(host_leaves(new.restore(AT)), host_leaves(state_at(source.path, AT)))
    found, wanted = host_leaves(new.restore(END)), host_leaves(state_at(source.path, END))
    for name, leaf in wanted.items():
        np.testing.assert_allclose(found[name], leaf, rtol=2e-4, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (with_run(BASE, steps=AT), "run.steps 4 leaves nothing to train after update 4: raise --run.steps"),
        (
            with_run(BASE, steps=12, repeat=3, log_every=3, eval_every=3, save_every=3),
            "update 4 is not a multiple of run.repeat 3: change --run.repeat",
        ),
        (
            dataclasses.replace(BASE, optim=SGD()),
            r"does not fit: opt_state/inner_state/count is int32\[\] there and absent here",
        ),
        (
            dataclasses.replace(BASE, optim=SGD(momentum=0.9)),
            r"does not fit: opt_state/inner_state/trace/\w+ is absent there and float32",
        ),
    ],
)
def test_what_cannot_go_on_is_refused_and_leaves_nothing(source, tmp_path, changed, told):
    with pytest.raises(BadInput, match=told):
        fork_run(source, AT, changed, tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_there_is_refused(source, tmp_path):
    with pytest.raises(BadInput, match="is there already: give another directory"):
        fork_run(source, AT, BASE, tmp_path)


@pytest.mark.parametrize("at", ["jaxlm.runs.directory.RunDirectory.begin", "jaxlm.runs.checkpoint.Checkpoints.wait"])
def test_a_fork_that_is_killed_is_no_run_and_is_made_again(source, tmp_path, monkeypatch, at):
    """The whole directory takes its name at once; before, it is one that the next fork removes."""
    with monkeypatch.context() as patch:
        patch.setattr(at, lambda *words: (_ for _ in ()).throw(KeyboardInterrupt))
        patch.setattr(shutil, "rmtree", lambda *words, **named: None)  # a kill cleans up nothing
        with pytest.raises(KeyboardInterrupt):
            fork_run(source, AT, BASE, tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] in ([], [".new.partial"])
    assert not differing(
        host_leaves(forked(source, tmp_path / "new", BASE).restore(END)), host_leaves(state_at(source.path, END))
    )
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_its_lineage_says_where_it_comes_from(source, tmp_path, capsys):
    new = forked(source, tmp_path / "new", CHANGED["rate"]).run_dir
    origin = forked_from(new.lineage())
    assert origin["changed"] == {"optim.peak_lr": [0.05, 0.01], "optim.weight_decay": [0.0, 0.1]}
    assert (origin["run"], origin["step"], origin["lineage"]) == (str(source.path), AT, source.lineage())
    for words in (["info", new.path], ["explain", new.path]):
        assert jaxlm(words) == 0
        told = capsys.readouterr().out
        assert f"forked from {source.path} at update 4: optim.peak_lr 0.05 is now 0.01; optim.weight" in told


def test_what_was_before_a_fork_is_not_trained_again(source, tmp_path, capsys):
    new = forked(source, tmp_path / "new", CHANGED["batch"]).run_dir
    assert bisect(str(source.path), str(new.path)) == 1
    assert f"update {AT + 1}: the first after which the states differ" in capsys.readouterr().out
    shutil.rmtree(new.path / "checkpoints" / str(AT))
    with pytest.raises(BadInput, match="is a fork of .* at update 4: up to there it is that run"):
        bisect(str(source.path), str(new.path))


def jaxlm(words):
    """The exit code of a command line, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["jaxlm", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
    return stop.value.code or 0


CONFIG = """
from jaxlm.optim import SGD
from jaxlm.train import Config, Run
from tiny_run import Points

config = Config(
    None, Points(), SGD(peak_lr=RATE, schedule="constant"),
    run=Run(steps=400, log_every=5, save_every=SAVE, skip_limit=2, directory="run"),
)
"""


@pytest.mark.parametrize("saves", [5, 0])
def test_a_diverged_run_names_the_command_that_goes_on_and_the_command_does(tmp_path, capsys, saves):
    (tmp_path / "experiment.py").write_text(EXPERIMENT)
    (tmp_path / "mine.py").write_text(CONFIG.replace("RATE", "5.0").replace("SAVE", str(saves)))
    with chdir(tmp_path):
        assert jaxlm(["train", "experiment.py", "mine.py"]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: training stopped: too many updates in a row were not finite, up to update ")
        if not saves:
            assert error.endswith("; it has no checkpoint: begin again in another --run.directory, with a lower rate "
                                  "and --run.save-every\n")  # fmt: skip
            return
        told = error.partition("with a lower rate: jaxlm ")[2].strip()
        step = max(int(p.name) for p in Path("run/checkpoints").iterdir())
        assert told == f"fork run run-fork --step {step} --optim.peak-lr 1.2"
        words = [*shlex.split(told)[:-1], "1e-3", "--run.steps", str(step + 10)]
        for again in range(2):
            assert jaxlm(words) == 0
            out = capsys.readouterr().out
            assert (f"forked from {tmp_path / 'run'} at update {step}: " in out) == (not again)
            assert f"going on from update {step + 10 * again} of run-fork" in out
        shutil.rmtree("run")  # a fork needs it no longer
        assert jaxlm(words) == 0
        for other, why in (
            (["fork", "run", "run-fork", "--step", "1"], f"was forked from {tmp_path / 'run'} at update {step}"),
            (["fork", "other", "run-fork"], f"was forked from {tmp_path / 'run'} at update {step}"),
            ([*words, "--optim.peak-lr", "0.5"], "optim.peak_lr 0.001 there, 0.5 here"),
            (["fork", "gone", "elsewhere"], "gone is not a run directory"),
        ):
            assert jaxlm(other) == 2
            assert why in capsys.readouterr().err
        assert json.loads(Path("run-fork/config.json").read_text())["run"]["directory"] == "run-fork"


def test_all_leaves_have_other_paths(source):
    """`_by_path` tells the leaves of every optimizer's state apart."""
    from jaxlm.train.replay.fork import _by_path

    state = state_at(source.path, END)
    assert len(_by_path(state)) == len(jax.tree.leaves(state))
