"""Mean average precision of boxes (Lin et al. 2014, arXiv:1405.0312) over padded images: a metric that collects."""

import contextlib
import io
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from harness import RUN, Rows, keeps_the_laws, places
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from jaxlm.models.mlp import MLP
from jaxlm.optim import Adam
from jaxlm.steps import Mean
from jaxlm.train import Config, Evaluation
from jaxlm.train.compose import supervised


@dataclass(frozen=True)
class Scenes(Rows):
    """Images of several sizes, padded to one, with up to three boxes [image, x, y, width, height] in each."""

    def arrays(self):
        draw, number = np.random.default_rng(0), np.broadcast_to(np.arange(1, 22)[:, None, None], (21, 3, 1))
        size, start = draw.integers(4, 7, (21, 1, 2)), draw.random((21, 3, 2))
        boxes = np.concatenate([number, start, (size - start) * (0.6 + 0.4 * draw.random((21, 3, 2)))], 2)
        image = (np.stack(np.indices((6, 6))[::-1], -1)[None] < size[:, None]).all(-1, keepdims=True)
        there = np.arange(3) < draw.integers(1, 4, 21)[:, None]
        found = {"image": image, "boxes": boxes, "there": there, "size": size}
        return {name: values.astype(np.float32) for name, values in found.items()}


class Boxes(NamedTuple):
    answers: np.ndarray  # [N, 7]: image, box, score, class
    truth: np.ndarray  # [N, 5]: image, box

    def merge(self, other):
        return Boxes(*map(np.concatenate, zip(self, other, strict=True)))

    def compute(self):
        truth, same = COCO(), {"category_id": 1, "iscrowd": 0, "area": 9}
        boxes = [{"id": i, "image_id": n, "bbox": box, **same} for i, (n, *box) in enumerate(self.truth, 1)]
        truth.dataset = {"annotations": boxes, "images": [{"id": n} for n in range(99)], "categories": [{"id": 1}]}
        with contextlib.redirect_stdout(io.StringIO()):
            truth.createIndex()
            scored = COCOeval(truth, truth.loadRes(self.answers), "bbox")
            scored.evaluate(), scored.accumulate(), scored.summarize()
        return float(scored.stats[0])


def answer(model, params, batch):
    """Three boxes and the logits that they are there [B, 3, 5]."""
    found = model.apply({"params": params}, batch["image"]).reshape(-1, 3, 5)
    return found + jnp.array([0.5, 0.5, 3.5, 3.5, 0])[None, None]


def detection(model):
    def loss(params, variables, batch, key, *, train):
        found, there = answer(model, params, batch), batch["there"]
        off = jnp.abs(found[..., :4] - batch["boxes"][..., 1:]).sum(2)
        nats = jax.nn.softplus(found[..., 4]) + (off - found[..., 4]) * there
        return {"loss": Mean((nats * there.any(1, keepdims=True)).sum(), there.any(1).sum())}, variables

    return loss


def build(config, place):
    def score(found, batch):
        number, there = batch["boxes"][..., :1], batch["there"] > 0
        inside = np.minimum(found[..., 2:4], batch["size"] - found[..., :2])
        answers = np.concatenate([number, found[..., :2], inside, found[..., 4:], np.ones_like(number)], 2)
        return {"map": Boxes(answers[there.any(1)].reshape(-1, 7), batch["boxes"][there])}

    boxes = Evaluation(config.data.eval(), lambda state, batch: answer(config.model, state.params, batch), score)
    return supervised(lambda config: detection(config.model), config, place, evaluations={"boxes": boxes})


CONFIG = Config(model=MLP(15, (8,)), data=Scenes(), optim=Adam(peak_lr=0.03), run=RUN)


def average_precision(scores, hits, boxes):
    """The mean, over a hundred and one recalls, of the best precision at a recall of at least that."""
    right = np.cumsum(hits[np.argsort(-scores, kind="stable")])
    best = np.maximum.accumulate((right / np.arange(1, len(right) + 1))[::-1])[::-1]
    return np.append(best, 0)[np.searchsorted(right / boxes, np.linspace(0, 1, 101))].mean()


def hits_of(answers, boxes, overlap):
    """Whether each answer, the surest first, overlaps with a box that is not taken yet."""
    low = np.maximum(answers[:, None, :2], boxes[None, :, :2])
    high = np.minimum((answers[:, :2] + answers[:, 2:4])[:, None], (boxes[:, :2] + boxes[:, 2:])[None])
    shared = np.maximum(high - low, 0).prod(-1)
    free = shared / (answers[:, 2:4].prod(-1)[:, None] + boxes[:, 2:].prod(-1)[None] - shared)
    hits = np.zeros(len(answers), bool)
    for number in np.argsort(-answers[:, 4], kind="stable"):
        best = free[number].argmax()
        hits[number] = free[number, best] >= overlap
        free[:, best] *= not hits[number]
    return hits


def by_hand(params):
    """The same in NumPy, of all images at once."""
    rows = CONFIG.data.arrays()
    found = np.array(answer(CONFIG.model, params, rows), np.float64)
    found[..., 2:4] = np.minimum(found[..., 2:4], rows["size"] - found[..., :2])
    boxes = [boxes[there > 0, 1:] for boxes, there in zip(rows["boxes"], rows["there"], strict=True)]
    scores, count = found[..., 4].reshape(-1), int(rows["there"].sum())

    def precision(overlap):
        hits = [hits_of(*pair, overlap) for pair in zip(found, boxes, strict=True)]
        return average_precision(scores, np.concatenate(hits), count)

    return np.mean([precision(overlap) for overlap in np.linspace(0.5, 0.95, 10)])


@places
def test_mean_average_precision(others, tmp_path):
    state, found = keeps_the_laws(build, CONFIG, tmp_path, others)
    assert 0.05 < found[-1]["boxes/map"] < 0.95
    assert found[-1]["boxes/map"] == pytest.approx(by_hand(state.params), abs=1e-6)
