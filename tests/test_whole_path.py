"""The whole path, from command line to run directory, under every placement."""

import numpy as np
import pytest

from jaxlm.runs.directory import RunDirectory
from whole_path import ROOT, losses, run_fails, run_main, shrunk

STDLIB = ("language_model.py", ROOT / "configs" / "gpt_stdlib.py")


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    directory = tmp_path_factory.mktemp("local") / "run"
    with pytest.MonkeyPatch.context() as monkeypatch:
        run_main(monkeypatch, *STDLIB, *shrunk(), "--run.directory", str(directory))
    return directory


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["--place.kind", "pmap"], marks=pytest.mark.slow),
        ["--place.kind", "mesh", "--place.fsdp", "2"],
        pytest.param(["--place.kind", "mesh", "--run.accumulate", "2"], marks=pytest.mark.slow),
    ],
    ids=" ".join,
)
def test_every_placement_trains_to_the_same_losses(local, words, tmp_path, monkeypatch):
    run_main(monkeypatch, *STDLIB, *shrunk(), *words, "--run.directory", str(tmp_path))
    np.testing.assert_allclose(losses(tmp_path), losses(local), rtol=1e-5)


def test_several_updates_in_one_program_are_the_same_updates(local, tmp_path, monkeypatch):
    words = (*shrunk(), "--run.repeat", "5", "--run.log-every", "5", "--run.directory", str(tmp_path))
    run_main(monkeypatch, *STDLIB, *words)
    np.testing.assert_allclose(losses(tmp_path), np.reshape(losses(local), (4, 5)).mean(1), rtol=1e-5)


def test_a_diverged_run_is_stopped_with_a_clear_error(tmp_path, monkeypatch, capsys):
    words = ("--optim.peak-lr", "1e30", "--run.skip-limit", "3", "--run.directory", str(tmp_path))
    error = run_fails(monkeypatch, capsys, *shrunk(), *words)
    assert "too many updates in a row were not finite" in error
    assert "begin again in another --run.directory, with a lower rate" in error  # it has no checkpoint to fork


def test_without_improvement_the_run_stops_early_and_keeps_the_best(tmp_path, monkeypatch, capsys):
    # The loss falls, so a run that wants it to grow sees its best at the first evaluation.
    words = "--run.eval-every 2 --run.save-every 2 --run.patience 3 --run.maximize".split()
    run_main(monkeypatch, *STDLIB, *shrunk(), *words, "--run.directory", str(tmp_path))
    told = capsys.readouterr().out
    assert "stopped early: eval/loss has not improved for 3 evaluations" in told
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"2", "6", "8"}


def test_lineage_tells_where_every_number_comes_from(local):
    lineage = RunDirectory(local).lineage()
    (session,) = lineage["sessions"]
    assert lineage["experiment"].endswith("language_model.py")
    assert len(session["git"]["commit"]) == 40
    assert session["packages"]["jax"] == session["fingerprint"]["jax"]
    assert {"platform", "chip", "cores", "jaxlib", "xla_flags", "placement"} <= session["fingerprint"].keys()
    assert len(session["data"]["train"]) == 64
    assert (local / "code" / "experiments" / "language_model.py").read_text() == (
        ROOT / "experiments" / "language_model.py"
    ).read_text()
    assert (local / "tokenizer.json").is_file()
    assert list((local / "tensorboard").iterdir())
