"""The whole life of a service, on real digits: train, export, serve, hear, fine-tune, compare, reload.

    python scripts/feedback_loop.py FOLDER

Half of the digits that the first model never saw are asked of the service, and the right labels are sent back; a second
model is fine-tuned on what the service was told. Then the other half is asked, and both models are compared on it. The
second goes in where it is better by the paired test of the ablations. All commands are those
of docs/design/loop.md, and are printed as they run.
"""

import argparse
import base64
import io
import json
import re
import shlex
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jaxlm.data.images.sources import Digits

FINE_TUNE = '''"""Fine-tune on what a service was told."""

from jaxlm.data.images.folder import ImageFolder
from jaxlm.losses import Classification
from jaxlm.models.cnn import CNN
from jaxlm.optim import AdamW
from jaxlm.parallel import PlacementSpec
from jaxlm.train import Config, Run
from jaxlm.train.init_from import InitFrom

experiment = "image_classification"

config = Config(
    model=CNN(classes=10, widths=(16, 32), hidden=64),
    data=ImageFolder(path="told", size=8, channels=1, batch=32, eval_batch=36),
    loss=Classification(),
    optim=AdamW(peak_lr=1e-3, warmup=10, final_fraction=0.0),
    place=PlacementSpec(),
    init=InitFrom(path="runs/first"),
    run=Run(steps=200, eval_every=100, save_every=100, metric="eval/accuracy"),
)
'''


def jaxlm_command(folder: Path, line: str) -> str:
    """Run a command in a folder, print it before, and return what it prints."""
    print(f"$ jaxlm {line}", flush=True)
    command = [sys.executable, "-m", "jaxlm", *shlex.split(line)]
    return subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout


def ask(address: str, path: str, body: Any) -> Any:
    """Send JSON to the service and return its answer."""
    sent = urllib.request.Request(address + path, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(sent) as answer:
        return json.load(answer)


def to_png(image: np.ndarray) -> dict[str, str]:
    """Return an image as a request has it."""
    content = io.BytesIO()
    Image.fromarray(image[..., 0]).save(content, "PNG")
    return {"base64": base64.b64encode(content.getvalue()).decode()}


def start(folder: Path) -> tuple[subprocess.Popen, str]:
    """Start the service and return it with its address."""
    line = "serve current --port 0 --feedback told.db --keep-predictions"
    print(f"$ jaxlm {line}", flush=True)
    command = [sys.executable, "-m", "jaxlm", *line.split()]
    child = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert child.stdout is not None
    found = re.fullmatch(r"listening on (\S+)", child.stdout.readline().strip())
    if found is None:
        raise SystemExit("the service did not start")
    return child, found[1]


def point_to(folder: Path, release: str) -> None:
    """Have the link that the service reads stand for a release, in one step."""
    link = folder / "next"
    link.unlink(missing_ok=True)
    link.symlink_to(release)
    link.rename(folder / "current")


def tell(address: str, images: np.ndarray, labels: np.ndarray) -> None:
    """Ask the service about images, and send the right labels back."""
    wrong = 0
    for image, label in zip(images, labels, strict=True):
        answer = ask(address, "/v1/predict", {"inputs": [to_png(image)]})
        wrong += answer["answers"][0]["label"] != str(label)
        ask(address, "/v1/feedback", {"id": answer["id"], "label": str(label)})
    print(f"{len(images)} images asked, {wrong} answers wrong, every right label sent back", flush=True)


def main() -> None:
    """Go through the loop once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a new folder")
    parser.add_argument("--steps", type=int, default=60, help="updates of the first model (default 60)")
    options = parser.parse_args()
    folder = options.folder
    (folder / "releases").mkdir(parents=True)
    held = Digits(eval_batch=360).eval()[0]
    images, labels = held["image"], held["label"]
    asked, kept = np.arange(0, 360, 2), np.arange(1, 360, 2)

    jaxlm_command(folder, f"train cnn_digits --run.steps {options.steps} --run.directory runs/first")
    jaxlm_command(folder, "export runs/first releases/first")
    point_to(folder, "releases/first")
    service, address = start(folder)
    try:
        tell(address, images[asked], labels[asked])
        jaxlm_command(folder, "feedback told.db --to told")
        (folder / "fine_tune.py").write_text(FINE_TUNE)
        jaxlm_command(folder, "train fine_tune.py --run.directory runs/second")
        jaxlm_command(folder, "export runs/second releases/second")
        tell(address, images[kept], labels[kept])
        last = f"--last {len(kept)}"
        said = jaxlm_command(folder, f"feedback told.db --compare releases/first releases/second {last}")
        print(said, end="", flush=True)
        if said.endswith("is better\n"):
            point_to(folder, "releases/second")
            found = ask(address, "/admin/reload", {})
            print(f"reloaded: {found['before'][:12]} -> {found['digest'][:12]}")
        else:
            print("the second model is not better by more than chance: the first one stays")
    finally:
        service.terminate()
        service.wait()


if __name__ == "__main__":
    main()
