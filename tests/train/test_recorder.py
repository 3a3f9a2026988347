"""What a run keeps: evaluations at intervals of their own, the best by any metric, previews, and how it ended."""

import dataclasses
import os
import signal

import pytest
from tiny_run import builder, config, records

from jaxlm import steps
from jaxlm.errors import BadInput
from jaxlm.interrupt import Stopped, exit_code
from jaxlm.runs.checkpoint import Checkpoints
from jaxlm.runs.directory import RunDirectory
from jaxlm.steps import Mean, compute
from jaxlm.train import Evaluation, train
from jaxlm.train.recorder import Recorder, compose
from step_helpers import assert_same_bits, loss


def updates(state, batch):
    """How many updates a state has."""
    return {"updates": Mean(state.step * 1.0, 1)}


def rows_of(found, batch):
    """A score on the host, which falls from update to update."""
    return {"rest": Mean(100.0 - float(found.max()), 1.0)}


def several(config, place):
    """One at the interval of the run, one every third update, one at the end alone; the last is scored on the host."""
    data = config.data.eval()
    return {
        "eval": Evaluation(data, steps.evaluate(loss)),
        "third": Evaluation(data, updates, every=3),
        "last": Evaluation(data, lambda state, batch: batch["mask"] * state.step, rows_of, every=0),
    }


SEVERAL = builder(evaluations=several)


def evaluated(directory):
    """The names of what was evaluated, by update."""
    found = {}
    for record in records(directory):
        names = {name for name in record if name != "step" and not name.startswith("train/")}
        if names:
            found.setdefault(record["step"], set()).update(names)
    return found


EXPECTED = {
    2: {"eval/loss"},
    3: {"third/updates"},
    4: {"eval/loss"},
    6: {"eval/loss", "third/updates"},
    7: {"eval/loss", "third/updates", "last/rest"},
}


def test_each_evaluation_has_its_interval_and_all_are_made_at_the_end(tmp_path):
    train(SEVERAL, config(steps=7), tmp_path)
    assert evaluated(tmp_path) == EXPECTED
    found = {record["step"]: record for record in records(tmp_path) if "third/updates" in record}
    assert [found[step]["third/updates"] for step in (3, 6, 7)] == [3, 6, 7]
    assert found[7]["last/rest"] == 93


@pytest.mark.parametrize("step", [2, 4])
def test_a_run_that_goes_on_makes_the_same_evaluations(step, tmp_path):
    whole = train(SEVERAL, config(steps=7), tmp_path / "whole")
    stopped = train(SEVERAL, config(steps=7), tmp_path / "parts", stop=lambda found: stop_at(found, step))
    assert stopped[1:4] == (step, "stopped", "enough")
    assert set(evaluated(tmp_path / "parts")[step]) == {"eval/loss", "third/updates", "last/rest"}
    assert_same_bits(train(SEVERAL, config(steps=7), tmp_path / "parts").state, whole.state)
    assert evaluated(tmp_path / "parts") == EXPECTED | {step: EXPECTED[7]}


def stop_at(found, step):
    return "enough" if found and found[-1]["step"] == step else None


@pytest.mark.parametrize(("metric", "maximize", "best"), [("third/updates", False, 3), ("third/updates", True, 6)])
def test_the_best_checkpoint_is_by_the_metric_of_any_evaluation(metric, maximize, best, tmp_path, capsys):
    train(SEVERAL, config(steps=6, save_every=1, keep_last=1, metric=metric, maximize=maximize), tmp_path)
    checkpoints = Checkpoints(tmp_path / "checkpoints", metric=metric, maximize=maximize)
    assert checkpoints.best() == best
    assert checkpoints.steps() == sorted({best, 6})
    said = (
        f"best {metric} {best}, the {'highest' if maximize else 'lowest'}, at update {best} (use it with --step best)"
    )
    assert said in capsys.readouterr().out


def test_patience_follows_the_chosen_metric(tmp_path):
    found = train(SEVERAL, config(steps=9, save_every=3, eval_every=3, metric="third/updates", patience=1), tmp_path)
    reason = "stopped early: third/updates has not improved for 1 evaluations"
    assert found[1:4] == (6, "stopped", reason)
    again = train(SEVERAL, config(steps=9, save_every=3, eval_every=3, metric="third/updates", patience=1), tmp_path)
    assert again[1:4] == (6, "stopped", reason)
    assert_same_bits(again.state, found.state)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"metric": "dev/loss"},
            "run.metric dev/loss is of no evaluation[^\n]*: choose one of eval/..., third/..., last/...",
        ),
        ({"metric": "train/loss"}, "run.metric train/loss is of no evaluation"),
        ({"metric": "loss"}, "run.metric loss is of no evaluation"),
        (
            {"metric": "third/updates", "patience": 2},
            "run.patience keeps the best checkpoint by third/updates, which is measured every 3 updates: make that a "
            "multiple of run.save_every 2",
        ),
        ({"metric": "eval/accuracy"}, "no evaluation reports run.metric eval/accuracy: choose one of eval/loss"),
        ({"metric": "last/rest", "patience": 2}, "run.patience [^\n]* measured every 0 updates"),
    ],
)
def test_a_metric_that_cannot_be_chosen_is_refused_before_anything_is_written(options, words, tmp_path):
    with pytest.raises(BadInput, match=rf"^{words}[^\n]*$"):
        train(SEVERAL, config(**options), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("every", "step"), [(2, 2), (0, 6)])
def test_a_metric_that_a_score_on_the_host_does_not_report_is_refused_with_those_it_does(every, step, tmp_path):
    def scored(config, place):
        found = several(config, place)
        return {"last": dataclasses.replace(found["last"], every=every)}

    with pytest.raises(BadInput, match="^no evaluation reports run.metric last/accuracy: choose one of last/rest$"):
        train(builder(evaluations=scored), config(metric="last/accuracy"), tmp_path)
    assert records(tmp_path)[-1]["step"] == step
    if step == 6:  # found out at the end, and nothing of the training is lost
        assert Checkpoints(tmp_path / "checkpoints").steps()[-1] == 6
        assert train(builder(evaluations=scored), config(metric="last/rest"), tmp_path).ended == "finished"


@pytest.mark.parametrize("name", ["train", "time", "a/b"])
def test_an_evaluation_cannot_have_a_name_that_records_use(name, tmp_path):
    build = builder(evaluations=lambda config, place: {name: Evaluation(config.data.eval(), updates)})
    with pytest.raises(BadInput, match=f"^an evaluation is called '{name}'"):
        train(build, config(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_last_evaluation_that_fails_costs_no_training(tmp_path):
    def fails(found, batch):
        raise ZeroDivisionError("a score of one's own")

    def broken(config, place):
        return {"eval": Evaluation(config.data.eval(), lambda state, batch: batch["y"], fails)}

    with pytest.raises(ZeroDivisionError):
        train(builder(evaluations=broken), config(eval_every=0, save_every=0), tmp_path)
    assert Checkpoints(tmp_path / "checkpoints").steps() == [6]


def test_a_run_without_evaluations_trains_and_finishes(tmp_path):
    build = builder(evaluations=lambda config, place: {})
    assert train(build, config(), tmp_path)[1:4] == (6, "finished", None)
    with pytest.raises(BadInput, match="choose one of none, since it has no evaluation"):
        train(build, config(metric="eval/accuracy"), tmp_path / "other")


def previews(config, place):
    return lambda state: {"steps.txt": f"{int(state.step)} updates", "pixel.png": b"\x89PNG" + bytes([int(state.step)])}


def test_previews_are_files_with_the_update_in_their_name(tmp_path, capsys):
    train(builder(preview=previews), config(preview_every=4), tmp_path)
    found = {path.name: path.read_bytes() for path in (tmp_path / "previews").iterdir()}
    assert found == {
        "000004-steps.txt": b"4 updates",
        "000004-pixel.png": b"\x89PNG\x04",
        "000006-steps.txt": b"6 updates",
        "000006-pixel.png": b"\x89PNG\x06",
    }
    said = capsys.readouterr().out
    assert "4 updates" in said
    assert f"preview: {tmp_path / 'previews' / '000006-pixel.png'}" in said


def test_an_outcome_says_how_a_run_ended(tmp_path):
    finished = train(builder(), config(), tmp_path / "finished")
    assert finished[1:] == (6, "finished", None, None)
    stopped = train(builder(), config(), tmp_path / "stopped", stop=lambda found: stop_at(found, 4))
    assert stopped[1:] == (4, "stopped", "enough", None)

    def signalled(config, place):
        def preview(state):
            os.kill(os.getpid(), signal.SIGTERM)
            return {}

        return preview

    interrupted = train(builder(preview=signalled), config(preview_every=3), tmp_path / "interrupted")
    assert interrupted[1:] == (3, "interrupted", "SIGTERM", "SIGTERM")
    assert Checkpoints(tmp_path / "interrupted" / "checkpoints").steps()[-1] == 3
    with pytest.raises(Stopped) as raised:
        interrupted.raise_stopped()
    assert exit_code(raised.value) == 143
    ended = train(builder(preview=signalled), config(), tmp_path / "ended")  # the preview at the end comes too late
    assert ended[1:] == (6, "finished", None, "SIGTERM")
    with pytest.raises(Stopped):
        ended.raise_stopped()
    finished.raise_stopped()
    for name in ("stopped", "interrupted"):
        again = train(builder(), config(), tmp_path / name)
        assert again[1:] == (6, "finished", None, None)
        assert_same_bits(again.state, finished.state)
    assert train(builder(), config(), tmp_path / "finished")[1:] == (6, "finished", None, None)


def test_a_recorder_looks_at_a_run_that_is_there(tmp_path):
    whole = train(builder(), config(), tmp_path)
    experiment, place = compose(builder(), config())
    recorder = Recorder(experiment, config(), place, RunDirectory(tmp_path))
    state = recorder.restore(4)
    assert int(state.step) == 4
    found = compute(recorder.sums(recorder.restore(6))["eval"], "eval/")
    assert found == {"eval/loss": records(tmp_path)[-1]["eval/loss"]}
    assert_same_bits(recorder.restore(6), whole.state)
