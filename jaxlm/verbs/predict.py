"""Tell what image files show, with a run's classifier."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from jaxlm.errors import BadInput
from jaxlm.train.checkpoint import Checkpoints
from jaxlm.train.run_directory import RunDirectory
from jaxlm.verbs.runs import choose, read_classes

BATCH = 32


def predict(words: argparse.Namespace) -> int:
    """Print the likeliest classes of each file with their probabilities.

    Every file is read before the first is told, and a broken one is an error that names it; with `--skip-broken` it is
    named on the standard error and left out.
    """
    home = RunDirectory.existing(words.run)
    classes = read_classes(home)
    if "shape" not in classes:
        raise BadInput(f"{home.path} is a run of a classifier of texts: predict reads images")
    files, images = read_images(words.files, classes, words.skip_broken)
    if not files:
        raise BadInput("none of the files is a readable image")
    probabilities = classify(home, words.step, images)
    count = min(max(words.top, 1), len(classes["names"]))
    width = max(map(len, files))
    for file, row in zip(files, probabilities, strict=True):
        best = [(classes["names"][k], float(row[k])) for k in np.argsort(-row, kind="stable")[:count]]
        if words.json:
            print(json.dumps({"file": file, "classes": [{"name": n, "probability": p} for n, p in best]}))
        else:
            print(f"{file:{width}}  " + "  ".join(f"{name} {probability:.4f}" for name, probability in best))
    return 0


def read_images(files: list[str], classes: dict[str, Any], skip: bool) -> tuple[list[str], np.ndarray]:
    """The files that can be read, and their images, uint8 [N, H, W, C], in the form that the run was trained on."""
    from jaxlm.data.image_source import decode

    height, width, channels = classes["shape"]
    good, images = [], []
    for file in files:
        try:
            content = Path(file).expanduser().read_bytes()
            images.append(decode(content, (height, width), channels, classes["crop"], None))
            good.append(file)
        except (OSError, SyntaxError, ValueError) as error:
            if not skip:
                raise BadInput(f"{file} is no readable image ({error}): mend it, or add --skip-broken") from None
            print(f"skipped {file}: {error}", file=sys.stderr)
    return good, np.stack(images) if images else np.zeros((0, height, width, channels), np.uint8)


def classify(home: RunDirectory, step: int | None, images: np.ndarray) -> np.ndarray:
    """Probabilities float32 [N, K] of images uint8 [N, H, W, C], in batches of one size, so that one program serves."""
    import jax

    from jaxlm.steps import evaluated

    config, checkpoints = home.config(), Checkpoints(home.checkpoints)
    state = checkpoints.restore_raw(choose(checkpoints, step, home))
    variables = evaluated(state["params"], state.get("variables"), state.get("ema"))

    @jax.jit
    def probabilities(batch: Any) -> Any:
        return jax.nn.softmax(config.model.apply(variables, config.data.prepare(batch)["image"], train=False))

    parts = []
    for start in range(0, len(images), BATCH):
        part = images[start : start + BATCH]
        padded = np.concatenate([part, np.zeros((BATCH - len(part), *part.shape[1:]), part.dtype)])
        parts.append(np.asarray(probabilities({"image": padded}))[: len(part)])
    return np.concatenate(parts)
