"""Train a network to tell what an image shows.

python experiments/image_classification.py configs/cnn_digits.py [--run.steps 500 ...]
"""

import json

from jaxlm import steps
from jaxlm.parallel import Placement
from jaxlm.steps import transforms
from jaxlm.train import Config, Experiment, main


def build(config: Config, place: Placement) -> Experiment:
    """Compose the pure functions that this experiment is made of."""
    data, run = config.data, config.run
    data.check(config.model.classes)
    model = config.model.clone(axis_name=place.axis_name)
    tx = config.optim(run.steps)

    loss = transforms.cast(config.loss(model), run.dtype, inputs=("image",))
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
        init=lambda key: steps.init(model, tx, data.example(), key, ema=run.ema > 0),
        step=step,
        evaluate=place.reduce_metrics(steps.evaluate(loss)),
        train_data=data.train(run.seeds.data, run.seeds.noise),
        eval_data=data.eval(),
        units=(data.batch, "images"),
        learning_rate=config.optim.schedule(run.steps),
        start=config.start,
        artefacts={"classes.json": json.dumps(data.description(), indent=1) + "\n"},
    )


if __name__ == "__main__":
    main(build)
