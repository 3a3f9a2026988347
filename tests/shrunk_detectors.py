"""Words that shrink the configs of detectors, and scenes in the form that they read."""

from scenes import write_coco
from whole_path import SHORT

TINY = "--model.widths 4 4 4 4 --model.width 4 --model.depth 1 --model.blocks 1 --data.size 48 64 --data.batch 8 "
TINY += "--data.eval-batch 5 --decode.candidates 100 --loss.reach 8 16 --optim.peak-lr 1e-2 --run.ema 0.5"
TINY_SET = "--model.widths 4 4 --model.width 8 --model.heads 2 --model.encoder-depth 1 --model.decoder-depth 1 "
TINY_SET += "--data.size 24 32 --data.batch 8 --data.eval-batch 5 --optim.peak-lr 1e-2 --run.ema 0.5"
CELLS = "--data.train-split train[:24] --data.eval-split test[:8]"
DETECTORS = {
    "fcos_bccd": f"{TINY} {CELLS}",
    "detr_bccd": f"{TINY_SET} {CELLS}",
    "fcos_coco": f"{TINY} --model.classes 2 --data.most 4 --run.dtype float32 --run.workers 0 --place.kind local",
}


def detector_words(name, tmp_path):
    """The words that shrink a config."""
    words = [*DETECTORS[name].split(), *SHORT]
    if name.endswith("_bccd"):
        return words
    for part, count, seed in (("train", 24, 0), ("eval", 10, 1)):
        write_coco(tmp_path / part, count, seed)
        words += [f"--data.{part}-images", str(tmp_path / part / "images")]
        words += [f"--data.{part}-file", str(tmp_path / part / "instances.json")]
    return words
