"""Making pictures as a whole run: previews, `jaxlm sample` and `predict`; every placement trains the same."""

import numpy as np
import pytest
from PIL import Image

from jaxlm import cli
from shrunk_pictures import picture_words
from whole_path import ROOT, losses, run_main

CONFIG = ROOT / "configs" / "dit_digits.py"


def train(monkeypatch, folder, directory, more=""):
    words = [*picture_words("dit_digits", folder), *more.split(), "--run.directory", str(directory)]
    run_main(monkeypatch, "text_to_image.py", CONFIG, *words)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    with pytest.MonkeyPatch.context() as monkeypatch:
        train(monkeypatch, folder, folder / "run", "--run.steps 4 --run.eval-every 4 --run.save-every 4")
    return folder / "run"


def jaxlm(monkeypatch, capsys, *words):
    """The exit code and what is printed."""
    monkeypatch.setattr("sys.argv", ["jaxlm", *map(str, words)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    said = capsys.readouterr()
    return stop.value.code or 0, said.out, said.err


def size(path):
    """The width and height of a PNG."""
    with Image.open(path) as picture:
        return picture.size


def test_a_preview_is_a_sheet_of_captions(trained):
    (path,) = (trained / "previews").iterdir()
    assert path.name == "000004-pictures.png"
    assert size(path) == (8 * 100 + 4, 10 * 120 + 4)


def test_sample_writes_one_sheet_and_says_where(trained, tmp_path, monkeypatch, capsys):
    code, out, _ = jaxlm(monkeypatch, capsys, "sample", trained, "--prompt", "a handwritten three", "--count", 5)
    path = trained / "samples" / "a-handwritten-three-seed-0.png"
    assert (code, out.strip()) == (0, f"5 pictures of 'a handwritten three': {path}")
    assert size(path) == (5 * 100 + 4, 124)
    other = tmp_path / "new" / "any.png"
    more = ("--guidance", 3, "--steps", 3, "--seed", 4, "--count", 2, "--output", other)
    assert jaxlm(monkeypatch, capsys, "sample", trained, *more)[0] == 0
    assert size(other) == (2 * 100 + 4, 104)


def test_predict_writes_a_file_for_each_text(trained, tmp_path, monkeypatch, capsys):
    words = ("predict", trained, "the digit nine", "a handwritten two", "--output", tmp_path, "--steps", 1)
    code, out, _ = jaxlm(monkeypatch, capsys, *words)
    assert code == 0
    names = ["0001-the-digit-nine.png", "0002-a-handwritten-two.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert all(f"{tmp_path / name}  8 x 8" in line for name, line in zip(names, out.splitlines(), strict=True))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--prompt purple", "no caption of the training has the word 'purple'"),
        ("--count 0", "--count is 0 for 1 prompts"),
        ("--steps 0", "steps is 0"),
        ("--top-p 0.5", "--top-p is for runs that continue texts, and"),
        ("--guidance -1", "guidance is -1.0"),
        ("--output here.jpg", "--output is here.jpg: give a file that ends in .png"),
    ],
)
def test_what_cannot_be_sampled_is_one_line(trained, words, message, monkeypatch, capsys):
    code, _, error = jaxlm(monkeypatch, capsys, "sample", trained, *words.split())
    assert code == 2
    assert message in error
    assert error.count("\n") == 1


def test_options_of_pictures_are_refused_for_other_runs(tmp_path, monkeypatch, capsys):
    code, _, error = jaxlm(monkeypatch, capsys, "sample", tmp_path, "--count", 3)
    assert code == 2
    assert f"--count is for runs that make pictures, and {tmp_path} does not" in error


@pytest.mark.slow
@pytest.mark.parametrize("more", ["--place.kind mesh", "--place.kind pmap", "--run.accumulate 2"])
def test_every_placement_and_micro_batch_trains_to_the_same_losses(more, tmp_path, monkeypatch):
    train(monkeypatch, tmp_path, tmp_path / "one")
    train(monkeypatch, tmp_path, tmp_path / "other", more)
    np.testing.assert_allclose(losses(tmp_path / "other"), losses(tmp_path / "one"), rtol=1e-4)
