"""Episodes that an agent's run plays for a file: whole ones, and what experiments/offline.py reads."""

import sys

import numpy as np
import pytest

from jaxlm.data.agents.transitions import RecordedTransitions
from jaxlm.environments import CartPole
from jaxlm.runs.load import load_module
from shrunk_replay import replay_words
from whole_path import ROOT, run_main

SCRIPT = load_module(ROOT / "scripts" / "record_episodes.py")


def test_the_rows_are_those_of_the_first_episodes_to_end():
    terminated = np.array([[0, 0], [1, 0], [0, 1], [0, 0], [0, 0]], bool)
    truncated = np.array([[0, 0], [0, 0], [0, 0], [1, 0], [0, 0]], bool)
    number = np.arange(10).reshape(5, 2)
    found = SCRIPT.whole_episodes({"terminated": terminated, "truncated": truncated, "reward": number}, 3)
    np.testing.assert_array_equal(found["reward"], [0, 2, 1, 3, 5, 4, 6])
    np.testing.assert_array_equal(found["episode"], [0, 0, 1, 1, 1, 2, 2])


def record(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["record_episodes.py", *map(str, words)])
    return SCRIPT.main()


@pytest.mark.slow
def test_a_run_is_recorded_and_its_file_read(tmp_path, monkeypatch, capsys):
    run, file = tmp_path / "run", tmp_path / "episodes.npz"
    words = [*replay_words("dqn_cartpole", tmp_path), "--run.directory", str(run)]
    run_main(monkeypatch, "dqn.py", ROOT / "configs" / "dqn_cartpole.py", *words)
    assert record(monkeypatch, run, "--episodes", 5, "--random", 0.5, "--to", file) == 0
    with np.load(file) as found:
        ends = found["terminated"] | found["truncated"]
        assert ends.sum() == 5
        np.testing.assert_array_equal(found["score"][ends], np.bincount(found["episode"]))
        inside = ~ends[:-1]
        np.testing.assert_array_equal(found["next_observation"][:-1][inside], found["observation"][1:][inside])
        assert len(np.unique(found["action"])) == 2
    assert RecordedTransitions(path=str(file), environment=CartPole(), batch=2).train()[0]["reward"].sum() == 2
    capsys.readouterr()
    assert record(monkeypatch, run, "--episodes", 0, "--to", file) == 2
    assert record(monkeypatch, tmp_path, "--to", file) == 2
    assert record(monkeypatch, run, "--to", tmp_path / "episodes.csv") == 2
    assert [line.partition(":")[0] for line in capsys.readouterr().err.splitlines()] == ["error"] * 3
