"""What the tests of the page share: made-up records of every kind of cell, and a reader of pages."""

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

from jaxlm.ablate.arms import Arm
from jaxlm.ablate.report.table import ablation_table

METRIC = "eval/loss"
STRANGE = "a <b>bold</b> & \"quoted\" 'arm' </svg> \u00e9"
ARMS = [Arm("base"), Arm(STRANGE, ("--model.width", "8 & 9")), Arm("diverges", ("--optim.peak-lr", "1e30"))]
ARMS += [Arm("cannot be built", ("--optim.warmup", "99"))]
SEEDS = [3, 4, 5, 6]


def record(arm, seed):
    """A cell's record. Seeds 4 and 6 of `diverges` fail on the way, and `cannot be built` has no run at all."""
    index = [other.name for other in ARMS].index(arm)
    curve = [[update, 2.0 / update + index / 4 + seed / 100 + update % 3 / 50] for update in range(2, 13, 2)]
    config = {"run.seed": seed, "model.width": [16, 8, 16, 16][index], "optim.peak_lr": [0.1, 0.1, 1e30, 0.1][index]}
    config["optim.warmup"] = [2, 2, 2, 99][index]
    parts = {"code": {"a.py": "0"}, "packages": {"jax": "0"}, "config": config}
    whole = {"data": {"train": "11" * 32, "eval": "22" * 32}, "artefacts": {"classes.json": "33" * 32}}
    whole |= {"init": None, "platform": {"jax": "0.10.2", "jaxlib": "0.10.1", "platform": "cpu"}, "packing": "exact"}
    failed = None
    if arm == "diverges" and seed % 2 == 0:
        curve, failed = [*curve[:2], [6, 50.0], [8, None]], "training stopped: <nan> & co"
    if arm == "cannot be built":
        curve, failed, whole = [], "warmup of 99 updates does not fit", {"refused": "warmup"}
    return {
        "arm": arm,
        "seed": seed,
        "identity": f"{index}{seed}" * 32,
        "parts": parts | whole,
        "failed": failed,
        "pruned": None,
        "curves": {METRIC: curve} if curve else {},
        "final": {METRIC: curve[-1][1]} if curve else {},
    }


def made_up(arms=ARMS, seeds=SEEDS):
    """(table, records)."""
    records = {(arm.name, seed): record(arm.name, seed) for arm in arms for seed in seeds}
    return ablation_table(arms, seeds, records, METRIC, False), records


class Reader(HTMLParser):
    """Reads a page: fails on a tag that is not closed in order, and keeps attributes by name and all text."""

    def __init__(self, page):
        super().__init__()
        self.open, self.attributes, self.text, self.tags = [], {}, [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag != "meta":
            self.open.append(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, []).append(value)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def drawings(page):
    """The figures of a page by name, read as XML."""
    roots = [ElementTree.fromstring(text) for text in re.findall(r"<svg.*?</svg>", page, re.DOTALL)]
    return dict(zip(("arms", "curves"), roots, strict=True))
