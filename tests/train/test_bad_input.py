"""Bad input: one line that names the cause and the mend, exit code 2, and no half-made run directory."""

import gc
import os
import re

import pytest

from jaxlm.runs.checkpoint import Checkpoints
from jaxlm.runs.directory import RunDirectory
from whole_path import ROOT, final_bits, run_fails, run_main, shrunk

CASES = {
    "heads do not divide": (("--model.heads", "3"), "model.heads 3 does not divide model.width 16"),
    "rows longer than the text": (("--data.path", "SHORT", "--data.eval-fraction", "0.1"), "rows of 16 tokens need 17"),
    "text too short for a batch": (("--data.path", "LITTLE"), "a batch of 8 rows is larger than the 5 rows"),
    "text missing": (("--data.path", "nowhere.txt"), "nowhere.txt"),
    "text empty": (("--data.path", "EMPTY"), "empty"),
    "text not UTF-8": (("--data.path", "LATIN"), "UTF-8"),
    "rows longer than the context": (("--data.length", "64"), "context"),
    "batch by micro-batches": (("--run.accumulate", "3"), "batch of 8 does not divide into 3 micro-batches"),
    "batch by devices": (("--place.kind", "pmap", "--data.batch", "6"), "does not divide into 1 micro-batches on 4"),
    "mesh too large": (("--place.kind", "mesh", "--place.data", "9"), "does not fit on 4 devices"),
    "axes without a mesh": (("--place.fsdp", "2"), "use --place.kind mesh"),
    "warm-up too long": (("--optim.warmup", "99"), "warmup"),
    "no steps": (("--run.steps", "0"), "run.steps is 0"),
    "repeat does not divide": (("--run.repeat", "3"), "not a multiple of run.repeat 3"),
    "average out of range": (("--run.ema", "1.5"), "run.ema is 1.5"),
    "patience without saves": (
        ("--run.patience", "2", "--run.save-every", "7"),
        "run.eval_every 10 must be a multiple of run.save_every 7",
    ),
    "no patience": (("--run.patience", "0"), "run.patience is 0: it must be at least 1"),
    "vocabulary too small": (("--model.vocab", "100"), "256 tokens"),
}


@pytest.mark.parametrize("name", CASES)
def test_what_cannot_run_is_told_in_one_line_before_anything_is_written(name, tmp_path, monkeypatch, capsys):
    words, told = CASES[name]
    texts = {
        "SHORT": b"seventeen bytes..",
        "LITTLE": b"twenty bytes of text" * 5,
        "EMPTY": b"",
        "LATIN": "caf\xe9 ".encode("latin-1") * 500,
    }
    for key, content in texts.items():
        (tmp_path / key).write_bytes(content)
    words = tuple(str(tmp_path / word) if word in texts else word for word in words)
    error = run_fails(monkeypatch, capsys, *shrunk(), *words, "--run.directory", str(tmp_path / "run"))
    assert re.fullmatch(r"error: [^\n]+\n", error), error
    assert told in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--model.dpeth", "4"), "there is no field model.dpeth: did you mean --model.depth?"),
        (("--optim.peak", "4"), "there is no field optim.peak: did you mean --optim.peak-lr?"),
        (("--lr", "4"), "there is no field lr: did you mean --optim.peak-lr?"),
        (("--optim", "SGD"), "there is no field optim: did you mean --optim.peak-lr?"),
        (("--model.depth", "four"), "--model.depth: invalid literal for int"),
        (("--model.depth",), "Missing value for argument '--model.depth'"),
        (("--run.dtype", "float8"), "invalid choice 'float8' for argument '--run.dtype'"),
        (("--run.steps", "3", "stray"), "Unrecognized options: stray"),
    ],
)
def test_a_wrong_word_is_told_with_what_was_meant(words, told, tmp_path, monkeypatch, capsys):
    error = run_fails(monkeypatch, capsys, "--run.directory", str(tmp_path / "run"), *words)
    assert re.fullmatch(r"error: [^\n]+\n", error), error
    assert told in error
    assert not (tmp_path / "run").exists()


def test_a_config_file_that_is_none_is_told(tmp_path, monkeypatch, capsys):
    (tmp_path / "empty.py").touch()
    for path, told in ((tmp_path / "gone.py", "there is no config file"), (tmp_path / "empty.py", "no `config`")):
        with pytest.raises(SystemExit) as stop:
            run_main(monkeypatch, "language_model.py", path)
        assert stop.value.code == 2
        assert told in capsys.readouterr().err


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run of 20 updates with checkpoints at 15 and 20."""
    directory = tmp_path_factory.mktemp("trained") / "run"
    with pytest.MonkeyPatch.context() as monkeypatch:
        run_main(monkeypatch, *STDLIB, *shrunk(), "--run.directory", str(directory))
    return directory


STDLIB = ("language_model.py", ROOT / "configs" / "gpt_stdlib.py")


def test_a_directory_of_another_config_is_refused(trained, monkeypatch, capsys):
    before = final_bits(trained)
    words = (*shrunk(), "--run.directory", str(trained), "--model.depth", "2", "--optim.peak-lr", "1e-4")
    error = run_fails(monkeypatch, capsys, *words)
    assert "model.depth 1 there, 2 here; optim.peak_lr 0.002 there, 0.0001 here" in error
    assert final_bits(trained) == before


def test_fewer_steps_than_there_are_is_refused(trained, monkeypatch, capsys):
    error = run_fails(monkeypatch, capsys, *shrunk(), "--run.directory", str(trained), "--run.steps", "10")
    assert "has 20 updates already, more than run.steps 10" in error
    assert RunDirectory(trained).config().run.steps == 20


def test_a_damaged_checkpoint_is_named_and_training_goes_on_from_the_one_before(tmp_path, monkeypatch, capsys):
    run_main(monkeypatch, *STDLIB, *shrunk(), "--run.directory", str(tmp_path))
    whole = final_bits(tmp_path)
    victim = next((tmp_path / "checkpoints" / "20" / "d").iterdir())
    victim.write_bytes(victim.read_bytes()[:-1] + b"x")
    capsys.readouterr()
    run_main(monkeypatch, *STDLIB, *shrunk(), "--run.directory", str(tmp_path))
    told = capsys.readouterr().out
    assert f"{victim.name} has other bytes" in told
    assert "going on from update 15" in told
    assert final_bits(tmp_path) == whole


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Orbax leaves its event loop behind
def test_on_a_full_disk_the_run_stops_and_the_older_checkpoint_is_intact(tmp_path, monkeypatch, capsys):
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.system(f"mount -t tmpfs -o size=1m tmpfs {disk} 2>/dev/null"):
        pytest.skip("this machine does not let root mount a small disk")
    try:
        words = [*shrunk(), "--run.directory", str(disk / "run"), "--run.save-every", "2", "--run.keep-last", "99"]
        error = run_fails(monkeypatch, capsys, *words)
        assert re.fullmatch(r"error: [^\n]+\n", error)
        assert "the disk is full" in error
        assert "run the same command again" in error
        checkpoints = Checkpoints(disk / "run" / "checkpoints")
        saved = checkpoints.steps()
        assert saved == list(range(2, saved[-1] + 1, 2))
        assert {path.name for path in checkpoints.directory.iterdir()} == set(map(str, saved))
        assert checkpoints.newest_whole() == saved[-1]
        last = max(record["step"] for record in RunDirectory(disk / "run").metrics())
        assert last - saved[-1] <= 2 * 2 + 1  # the save that failed and the step within which the loop noticed
        gc.collect()
    finally:
        os.system(f"umount --lazy {disk}")
