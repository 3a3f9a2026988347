"""What the tests of whole runs share: shrunk configs, the real `main`, the bits of a final state."""

import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from jaxlm.runs.checkpoint import Checkpoints
from jaxlm.runs.compare import digests
from jaxlm.runs.load import load_module
from jaxlm.train import main

ROOT = Path(__file__).resolve().parent.parent
TEXT = ROOT / "LICENSE"  # a real text that does not change

TINY = "--model.depth 1 --model.width 16 --model.heads 2 --model.context 16 --data.length 16 --data.batch 8".split()
SHORT = "--optim.warmup 2 --run.steps 20 --run.log-every 1 --run.eval-every 10 --run.save-every 5".split()


def shrunk(text: Path | str | None = TEXT) -> list[str]:
    """Override words that make a language model's config tiny, on a given text."""
    return [*TINY, *SHORT, *(() if text is None else ("--data.path", str(text)))]


def digits(size: int) -> tuple[np.ndarray, np.ndarray]:
    """400 of scikit-learn's real digits in colour, uint8 [400, size, size, 3], and their labels."""
    found = load_digits()
    images = np.round(found.images[:400] * (255 / 16)).astype(np.uint8)
    places = np.arange(size) * 8 // size
    return np.repeat(images[:, places][:, :, places][..., None], 3, axis=-1), found.target[:400]


def write_arrays(folder: Path, size: int) -> None:
    """train.npz and test.npz of digits, as `ArrayImages` reads them."""
    images, labels = digits(size)
    np.savez(folder / "train.npz", images=images[:320], labels=labels[:320])
    np.savez(folder / "test.npz", images=images[320:], labels=labels[320:])


def write_folder(folder: Path, count: int = 400) -> None:
    """A folder of PNG files of digits with a sub-folder for each class, under `train` and `val`."""
    images, labels = digits(16)
    for number, (image, label) in enumerate(zip(images[:count], labels[:count], strict=True)):
        place = folder / ("val" if number % 5 == 0 else "train") / f"digit {label}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{number:03}.png")


def write_conll2003(folder: Path, sentences: list[list[str]], tags: list[list[str]]) -> None:
    """Prepare a TFDS dataset of the name and form of conll2003 with these sentences in both splits."""
    import tensorflow_datasets as tfds

    kinds = [f"{prefix}-{kind}" for kind in ("PER", "ORG", "LOC", "MISC") for prefix in "BI"]

    class Conll2003(tfds.core.GeneratorBasedBuilder):
        """As TFDS has it, without its parts of speech and chunks."""

        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> tfds.core.DatasetInfo:
            features = {
                "tokens": tfds.features.Sequence(tfds.features.Text()),
                "ner": tfds.features.Sequence(tfds.features.ClassLabel(names=["O", *kinds])),
            }
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, manager: object) -> dict[str, object]:
            return {"train": self._generate_examples(), "dev": self._generate_examples()}

        def _generate_examples(self) -> Iterator[tuple[int, dict[str, list[str]]]]:
            for number, (words, found) in enumerate(zip(sentences, tags, strict=True)):
                yield number, {"tokens": words, "ner": found}

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tfds warns of what it uses itself
        Conll2003(data_dir=str(folder), file_format="array_record").download_and_prepare()


def run_main(monkeypatch: pytest.MonkeyPatch, experiment: str, config: str | Path, *words: str) -> None:
    """What `python experiments/EXPERIMENT CONFIG WORDS` does, in this process."""
    path = ROOT / "experiments" / experiment
    monkeypatch.setattr(sys, "argv", [str(path), str(config), *words])
    main(load_module(path).build)


def run_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, *words: str) -> str:
    """Run the stdlib config with words that cannot work; return the one line of the error."""
    return run_fails_with(monkeypatch, capsys, "language_model.py", ROOT / "configs" / "gpt_stdlib.py", *words)


def run_fails_with(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, experiment: str, config: str | Path, *words: str
) -> str:
    """Run a config with words that cannot work; return the one line of the error."""
    with pytest.raises(SystemExit) as stop:
        run_main(monkeypatch, experiment, config, *words)
    error = capsys.readouterr().err
    assert stop.value.code == 2, error
    return error


def final_bits(directory: Path) -> dict[str, str]:
    """SHA-256 of every group of leaves of a run's last checkpoint."""
    checkpoints = Checkpoints(directory / "checkpoints")
    return digests(checkpoints.restore_raw(checkpoints.steps()[-1]))


def losses(directory: Path) -> list[float]:
    """The training losses that a run recorded."""
    lines = (directory / "metrics.jsonl").read_text().splitlines()
    return [record["train/loss"] for record in map(json.loads, lines) if "train/loss" in record]
