"""A run that compiles in a moment: a net of sixteen numbers on rows in memory."""

import dataclasses
import json
from dataclasses import dataclass

import numpy as np

from jaxlm import steps
from jaxlm.data import InOrder, Shuffled
from jaxlm.data.arrays import ArraySource
from jaxlm.optim import SGD
from jaxlm.parallel import PlacementSpec
from jaxlm.train import Config, Evaluation, Experiment, Run
from step_helpers import loss, make_batch, parameters

PLACES = {
    "local": PlacementSpec(),
    "pmap": PlacementSpec("pmap"),
    "mesh(2, 2)": PlacementSpec("mesh", 2, 2),
    "mesh(4)": PlacementSpec("mesh"),
}


@dataclass(frozen=True)
class Points:
    """Spec: 21 rows, of which the last batch of an evaluation has some of padding."""

    batch: int = 8
    eval_batch: int = 8

    def table(self):
        found = make_batch(0, np.ones(21))
        return ArraySource({"x": found["x"], "y": found["y"], "number": np.arange(21)})

    def train(self, seed=0, noise=None):
        batches = Shuffled(self.table(), self.batch, seed, noise, keys=True)
        return Ones(batches)

    def eval(self):
        return InOrder(self.table(), self.eval_batch, keys=True)


@dataclass(frozen=True)
class Ones:
    """Training batches with a mask of ones."""

    batches: Shuffled

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        return self.batches[index] | {"mask": np.ones(self.batches.batch, np.float32)}

    def fingerprint(self):
        return self.batches.fingerprint()


def config(place="local", data=None, optim=None, **run):
    settings = dataclasses.replace(Run(steps=6, log_every=1, eval_every=2, save_every=2), **run)
    return Config(None, data or Points(), optim or SGD(peak_lr=0.1), run=settings, place=PLACES[place])


def builder(**parts):
    """A `build` whose experiment has other parts; each is made by (config, place)."""

    def build(config, place):
        tx = config.optim(config.run.steps)
        experiment = Experiment(
            init=lambda key: steps.new_state(parameters(), tx, key),
            step=steps.update(place.reduce(steps.grad(loss)), tx),
            train_data=config.data.train(config.run.seeds.data, config.run.seeds.noise),
            evaluations={"eval": Evaluation(config.data.eval(), steps.evaluate(loss))},
        )
        return dataclasses.replace(experiment, **{name: make(config, place) for name, make in parts.items()})

    return build


def records(directory):
    """The records of a run without its times."""
    lines = (directory / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if not k.startswith("time/")} for line in lines]
