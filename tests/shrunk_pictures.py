"""Words that shrink the configs of pictures, and captioned pictures in the forms that they read."""

import numpy as np
import pytest
from PIL import Image

from whole_path import ROOT, SHORT, digits, run_main, write_arrays

TINY_PICTURES = "--model.encoder.depth 1 --model.encoder.width 8 --decode.method euler --decode.steps 2 --run.ema 0.5"
TINY_DIT = f"{TINY_PICTURES} --model.depth 1 --model.width 16 --model.heads 2 --optim.peak-lr 1e-2"
TINY_MNIST = "--data.images.train-split train[:600] --data.images.eval-split test[:200] --data.images.batch 32 "
TINY_MNIST += "--data.images.eval-batch 100"
TINY_GAN = "--model.encoder.depth 1 --model.encoder.width 8 --model.latent 4 --model.widths 4 --run.ema 0.5 "
TINY_GAN += "--optim.peak-lr 1e-2"
GANS = {
    "gan_digits": f"{TINY_GAN} --data.images.batch 64",
    "gan_mnist": f"{TINY_GAN} {TINY_MNIST}",
}
TINY_CODES = "--model.pictures.widths 4 --model.transformer.depth 1 --model.transformer.width 16 "
TINY_CODES += "--model.transformer.heads 2 --run.ema 0.5 --optim.peak-lr 1e-2 --data.images.batch 64"
CODES = {
    "vq_vae_digits": "--model.widths 4 --run.ema 0.5 --optim.peak-lr 1e-2 --data.images.batch 64",
    "vq_vae_attributes": f"--model.widths 4 4 --run.ema 0.5 --optim.peak-lr 1e-2 {TINY_MNIST}",
}
WRITTEN = {
    "dalle_digits": f"{TINY_CODES} --init.path AUTOENCODER",
    "dalle_attributes": f"{TINY_CODES} --model.pictures.widths 4 4 {TINY_MNIST} --init.path AUTOENCODER",
}
TINY_LATENT = "--model.pictures.widths 4 --model.painter.depth 1 --model.painter.width 16 --model.painter.heads 2 "
TINY_LATENT += "--model.painter.encoder.depth 1 --model.painter.encoder.width 8 --decode.method euler --decode.steps 2 "
TINY_LATENT += "--run.ema 0.5 --optim.peak-lr 1e-2 --data.images.batch 64 --init.path AUTOENCODER"
TINY_CLIP = "--model.encoder.width 8 --model.widths 4 --model.width 8"
JUDGES = {
    "clip_digits": f"{TINY_CLIP} --data.images.batch 64",
    "clip_emoji32": f"{TINY_CLIP} --data.path TABLE --data.size 16 --data.batch 32 --data.eval-batch 20 "
    "--data.eval-fraction 0.2 --run.ema 0.5",
}
PICTURES = {
    "dit_digits": f"{TINY_DIT} --data.images.batch 64",
    "latent_dit_digits": TINY_LATENT,
    "dit_mnist_captions": f"{TINY_DIT} {TINY_MNIST}",
    "dit_attributes": f"{TINY_DIT} {TINY_MNIST}",
    "dit_cifar10": f"{TINY_DIT} --data.images.arrays ARRAYS --data.images.batch 64 --data.images.eval-batch 40 "
    "--model.patch 4",
    "dit_emoji32": f"{TINY_PICTURES} --model.widths 4 8 --model.heads 2 --data.path TABLE --data.size 16 "
    "--data.batch 32 --data.eval-batch 20 --data.eval-fraction 0.2 --optim.peak-lr 1e-2",
}


def picture_words(name, tmp_path):
    """The words that shrink a config; pictures that are not at hand are exchanged for scikit-learn's real digits."""
    words = {**PICTURES, **GANS, **CODES, **WRITTEN, **JUDGES}[name]
    if "AUTOENCODER" in words:
        train_autoencoder(tmp_path, "vq_vae_attributes" if name == "dalle_attributes" else "vq_vae_digits")
    if "ARRAYS" in words:
        write_arrays(tmp_path, 16)
    if "TABLE" in words:
        write_captions(tmp_path)
    words = (
        words.replace("ARRAYS", str(tmp_path))
        .replace("AUTOENCODER", str(tmp_path / "autoencoder"))
        .replace("TABLE", str(tmp_path / "captions.csv"))
    )
    return [*words.split(), *SHORT]


def train_autoencoder(folder, name):
    """A run of `vq_vae_digits` or another of its kind of one update, in `autoencoder`."""
    words = CODES[name].split()
    with pytest.MonkeyPatch.context() as monkeypatch:
        words += ["--run.steps", "1", "--run.save-every", "1", "--optim.warmup", "0"]
        words += ["--run.directory", str(folder / "autoencoder")]
        run_main(monkeypatch, "image_codes.py", ROOT / "configs" / f"{name}.py", *words)


def write_captions(folder):
    """captions.csv and a sheet of tiles of 16 x 16 as `CaptionFile` reads them: 100 digits, four of each `base`."""
    images, labels = digits(16)
    tiles = images[:100].reshape(10, 10, 16, 16, 3).swapaxes(1, 2).reshape(160, 160, 3)
    Image.fromarray(np.ascontiguousarray(tiles)).save(folder / "emoji32.webp", lossless=True)
    lines = [f"digit {label} of {number % 4},{number // 4}" for number, label in enumerate(labels[:100])]
    (folder / "captions.csv").write_text("caption,base\n" + "\n".join(lines) + "\n")
