"""Every config, shrunk, runs for real through its experiment's own `main`, and its first 20 losses do not move.

The golden losses stand in tests/golden. A refactor must not move them; a change that means to writes them anew:

    JAXLM_WRITE_GOLDEN=1 python3 scripts/env.py --extras dev pytest tests/test_configs.py
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from jaxlm.train.run_directory import RunDirectory
from whole_path import ROOT, SHORT, losses, run_main, shrunk, write_arrays, write_folder

CONFIGS = sorted((ROOT / "configs").glob("*.py"))
LANGUAGE = {
    "gpt_stdlib": shrunk(),
    "gpt_shakespeare_char": [*shrunk(None), "--run.patience", "9"],
    "gpt_shakespeare_char_cpu": [*shrunk(None), "--data.eval-batch", "16"],
    "gpt2_124m": [*shrunk(None), "BPE", "--run.accumulate", "2", "--data.eval-batch", "8"],
    "llama_1b": [*shrunk(None), "BPE", "--model.kv-heads", "1", "--model.hidden", "32", "--run.accumulate", "2"],
}
MNIST = "--data.train-split train[:600] --data.eval-split test[:200] --data.batch 32 --data.eval-batch 100"
ARRAYS = "--data.arrays ARRAYS --data.batch 64 --data.eval-batch 40"
IMAGES = {
    "cnn_digits": "--model.widths 4 8 --model.hidden 16",
    "mlp_mnist": f"{MNIST} --model.hidden 16 --run.accumulate 2",
    "cnn_mnist": f"{MNIST} --model.widths 2 4 --model.hidden 16",
    "resnet20_cifar10": f"{ARRAYS} --model.stages 1 1 --model.width 8 --model.no-zero-residual",
    "resnet20_cifar10_crops": f"{ARRAYS} --data.augment.0.size 12 --model.stages 1 1 --model.width 8 "
    "--model.no-zero-residual",
    "resnet18_cifar10": f"{ARRAYS} --model.stages 1 1 --model.width 8 --model.no-zero-residual",
    "vit_cifar10": f"{ARRAYS} --model.depth 1 --model.width 16 --model.heads 2",
    "resnet50_imagenet": f"{ARRAYS} --model.stages 1 1 --model.width 8 --model.no-zero-residual --model.classes 10 "
    "--run.workers 0",
    "inception_imagenet": "--data.arrays ARRAYS --data.batch 8 --data.eval-batch 20 --run.workers 0 "
    "--model.classes 10 --model.width 1 --model.grid-35 1 --model.grid-17 1 --model.grid-8 1 --model.dropout 0 "
    "--optim.peak 0.01",
    "vit_s16_imagenet": f"{ARRAYS} --model.depth 1 --model.width 16 --model.heads 2 --model.classes 10 --run.workers 0",
    "resnet18_folder": "--data.path FOLDER --data.size 16 --data.batch 64 --model.stages 1 1 1 1 --model.width 8 "
    "--model.no-zero-residual --model.classes 10 --optim.peak 0.1",
    "resnet56_hymenoptera": "--data.path FOLDER --data.batch 64 --data.size 16 --data.eval-batch 40 "
    "--model.stages 1 1 1 --model.classes 10 --model.width 8 --model.no-zero-residual --optim.peak 0.1",
}

SLOW = ("vit_s16_imagenet", "resnet18_cifar10", "vit_cifar10", "llama_1b", "gpt2_124m", "gpt_shakespeare_char")

# Batch norm in deep networks amplifies the rounding of another compiler or chip from update to update.
AMPLIFIED = ("inception_imagenet", "resnet50_imagenet", "resnet56_hymenoptera", "cnn_mnist", "resnet20_cifar10")
AMPLIFIED += ("resnet20_cifar10_crops",)


def language_words(name, tmp_path):
    """The words that shrink a config; large corpora and their tokenizers are exchanged for small real ones."""
    words = LANGUAGE[name]
    if "BPE" not in words:
        return words
    path = tmp_path / "tokenizer.json"
    script = [sys.executable, str(ROOT / "scripts" / "train_tokenizer.py"), str(ROOT / "LICENSE")]
    subprocess.run([*script, "--vocab", "300", "--out", str(path)], check=True, capture_output=True)
    rest = [word for word in words if word != "BPE"]
    data = ["--data.name", "tiny_shakespeare", "--data.eval-split", "validation", "--data.tokenizer.path", str(path)]
    return [*rest, *data, "--model.vocab", "300"]


def image_words(name, tmp_path):
    """The words that shrink a config; pictures that are not at hand are exchanged for scikit-learn's real digits."""
    words = IMAGES[name]
    if "ARRAYS" in words:
        write_arrays(tmp_path, 75 if name.startswith("inception") else 16)
    if "FOLDER" in words:
        write_folder(tmp_path)
    return [*words.replace("ARRAYS", str(tmp_path)).replace("FOLDER", str(tmp_path)).split(), *SHORT]


def config_or_slow(path):
    return pytest.param(path, id=path.stem, marks=pytest.mark.slow if path.stem in SLOW else ())


@pytest.mark.parametrize("path", [config_or_slow(path) for path in CONFIGS])
def test_a_shrunk_config_trains_and_repeats_its_golden_losses(path, tmp_path, monkeypatch):
    image = path.stem in IMAGES
    words = image_words(path.stem, tmp_path) if image else language_words(path.stem, tmp_path)
    if ("TfdsText" in path.read_text() or "_mnist" in path.stem) and not os.environ.get("TFDS_DATA_DIR"):
        pytest.skip("TFDS_DATA_DIR is not set: no prepared TFDS data on this machine")
    experiment = "image_classification.py" if image else "language_model.py"
    run_main(monkeypatch, experiment, path, *words, "--run.directory", str(tmp_path / "run"))
    found = losses(tmp_path / "run")
    assert len(found) == 20
    if path.stem != "inception_imagenet":  # 94 layers on eight images: 20 updates show no trend
        assert sum(found[-5:]) < sum(found[:5])
    fingerprint = RunDirectory(tmp_path / "run").lineage()["sessions"][-1]["fingerprint"]
    golden = ROOT / "tests" / "golden" / f"{path.stem}.json"
    if os.environ.get("JAXLM_WRITE_GOLDEN"):
        golden.write_text(json.dumps({"fingerprint": fingerprint, "losses": found}, indent=1) + "\n")
    stored = json.loads(golden.read_text())
    if stored["fingerprint"] == fingerprint:
        assert found == stored["losses"]
    elif path.stem in AMPLIFIED:
        np.testing.assert_allclose(found[:2], stored["losses"][:2], rtol=1e-2)
    else:
        np.testing.assert_allclose(found, stored["losses"], rtol=1e-3 if image else 1e-5)
