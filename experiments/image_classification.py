"""Train a network to tell what an image shows.

python experiments/image_classification.py configs/cnn_digits.py [--run.steps 500 ...]
"""

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

from jaxlm import steps
from jaxlm.parallel import Placement
from jaxlm.steps import transforms
from jaxlm.train import Config, Experiment, hyperparameters, main, with_hyperparameters


def build(config: Config, place: Placement) -> Experiment:
    """Compose the pure functions that this experiment is made of."""
    data, run = config.data, config.run
    data.check(config.model.classes)
    tx = config.optim(run.steps)
    held = hyperparameters(config)

    loss = transforms.inject(partial(classify, config, place), held)
    loss = transforms.cast(loss, run.dtype, inputs=("image",))
    loss = transforms.prepare(loss, data.prepare)
    loss = transforms.freeze(loss, config.optim.frozen)
    grad = steps.grad(loss)
    grad = steps.accumulate(grad, run.accumulate)
    grad = transforms.prepare(grad, data.augmented)
    grad = place.reduce(grad)
    step = steps.update(grad, tx)
    if run.ema:
        step = transforms.ema(step, run.ema)
    step = transforms.skip_nonfinite(step, run.skip_limit)

    return Experiment(
        init=lambda key: steps.init(config.model, tx, data.example(), key, ema=run.ema > 0, hyperparameters=held),
        step=step,
        evaluate=place.reduce_metrics(steps.evaluate(loss)),
        train_data=data.train(run.seeds.data, run.seeds.noise),
        eval_data=data.eval(),
        units=(data.batch, "images"),
        learning_rate=config.optim.schedule(run.steps),
        hyperparameters=held,
        start=config.start,
        artefacts={"classes.json": json.dumps(data.description(), indent=1) + "\n"},
    )


def classify(config: Config, place: Placement, values: Mapping[str, Any]) -> steps.LossFn:
    """The loss of the model at these values of its hyperparameters."""
    config = with_hyperparameters(config, values)
    return config.loss(config.model.clone(axis_name=place.axis_name))


if __name__ == "__main__":
    main(build)
