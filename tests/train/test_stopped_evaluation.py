"""A signal does not wait for the end of an evaluation, and the next session makes it."""

import dataclasses
import os
import signal
import time
from dataclasses import dataclass

import pytest
from tiny_run import Points, builder, config, records

from jaxlm import steps
from jaxlm.interrupt import SIGNALS
from jaxlm.runs.checkpoint import Checkpoints
from jaxlm.runs.compare import differing, host_leaves
from jaxlm.train import Evaluation, train
from jaxlm.train.packs.pack import train_pack
from step_helpers import loss

KILLS: dict[int, int] = {}  # how often a batch was read at which a signal is sent -> the signal
READ = []


@dataclass(frozen=True)
class Watched:
    """Batches of an evaluation; each that is read is counted, and at some a signal comes."""

    batches: object

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        READ.append(index)
        if number := KILLS.pop(len(READ), None):
            os.kill(os.getpid(), number)
            time.sleep(0.2)  # this is the thread that reads: the main one reacts
        return self.batches[index]

    def fingerprint(self):
        return self.batches.fingerprint()


def slow(config, place):
    return {
        "eval": Evaluation(Watched(config.data.eval()), steps.evaluate(loss)),
        "other": Evaluation(config.data.eval(), steps.evaluate(loss), every=4),
    }


ASKED = config(data=Points(eval_batch=1), steps=8, eval_every=4, save_every=8, log_every=4)  # 21 batches an evaluation


@pytest.fixture(autouse=True)
def reset():
    KILLS.clear()
    READ.clear()


def run(directory):
    return train(builder(evaluations=slow), ASKED, directory)


def numbers(directory):
    """The evaluations of a run, and its training records by update."""
    found = {(r["step"], name): x for r in records(directory) for name, x in r.items()}
    return {key: x for key, x in found.items() if key[1].startswith(("eval/", "other/"))}


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("at", [5, 25], ids=["between", "last"])
def test_a_signal_in_an_evaluation_saves_at_once_and_the_evaluation_is_made_later(tmp_path, capsys, number, at):
    whole = run(tmp_path / "whole")
    before = len(READ)
    KILLS[before + at] = number
    outcome = run(tmp_path / "run")
    completed = 4 if at == 5 else 8
    assert (outcome.ended, outcome.reason, outcome.completed) == ("interrupted", number.name, completed)
    assert len(READ) - before < at + 12  # not the 21 batches of the evaluation
    assert f"{number.name}: saved at update {completed} of 8; go on with: " in capsys.readouterr().out
    assert Checkpoints(tmp_path / "run" / "checkpoints").steps() == [completed]
    again = run(tmp_path / "run")
    assert again.ended == "finished"
    assert numbers(tmp_path / "run") == numbers(tmp_path / "whole")
    assert not differing(host_leaves(again.state), host_leaves(whole.state))


def test_a_checkpoint_of_a_left_evaluation_gets_its_metrics_later(tmp_path):
    """So that it can be the best one."""
    KILLS[5] = signal.SIGTERM
    run(tmp_path)
    run(tmp_path)
    assert Checkpoints(tmp_path / "checkpoints", metric="eval/loss").best() in (4, 8)
    made = numbers(tmp_path)
    assert made[4, "eval/loss"] == made[4, "other/loss"]


@pytest.mark.parametrize("at", [5, 30, 50], ids=["first run", "second run", "last"])
def test_a_pack_leaves_its_evaluations_too(tmp_path, at):
    configs = [dataclasses.replace(ASKED, run=dataclasses.replace(ASKED.run, seed=seed)) for seed in (0, 1)]

    def pack(name):
        paths = [tmp_path / name / str(seed) for seed in (0, 1)]
        with open(os.devnull, "w") as log:
            assert train_pack(builder(evaluations=slow), "vmapped", configs, paths, [log, log]) == [None, None]
        return paths

    whole = pack("whole")
    KILLS[len(READ) + at] = signal.SIGTERM
    with pytest.raises(KeyboardInterrupt):
        pack("run")
    assert not KILLS
    for path, other in zip(pack("run"), whole, strict=True):
        assert numbers(path) == numbers(other)
