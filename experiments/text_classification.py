"""Train or fine-tune a network to tell which of some classes a text belongs to: BERT, an LSTM, or GPT, under a head.

python experiments/text_classification.py configs/minilm_sst2.py --start.path FOLDER [--run.steps 500 ...]
"""

import json

from jaxlm import steps
from jaxlm.losses import TEXT
from jaxlm.parallel import Placement
from jaxlm.steps import transforms
from jaxlm.train import Config, Experiment, main


def build(config: Config, place: Placement) -> Experiment:
    """Compose the pure functions that this experiment is made of."""
    data, run = config.data, config.run
    data.check(config.model, run.repeat)
    tx = config.optim(run.steps)

    loss = transforms.cast(config.loss(config.model, inputs=TEXT), run.dtype)
    loss = transforms.freeze(loss, config.optim.frozen)
    grad = steps.grad(loss)
    grad = steps.accumulate(grad, run.accumulate)
    grad = place.reduce(grad)
    step = steps.update(grad, tx)
    if run.ema:
        step = transforms.ema(step, run.ema)
    step = transforms.skip_nonfinite(step, run.skip_limit)

    return Experiment(
        init=lambda key: steps.init(config.model, tx, data.example(), key, ema=run.ema > 0),
        step=step,
        evaluate=place.reduce_metrics(steps.evaluate(loss)),
        train_data=data.train(run.seeds.data),
        eval_data=data.eval(),
        units=(data.batch, "texts"),
        learning_rate=config.optim.schedule(run.steps),
        start=config.start,
        notes=data.told(),
        artefacts={
            "tokenizer.json": data.build_tokenizer().to_json(),
            "classes.json": json.dumps({"names": list(data.names())}, indent=1) + "\n",
        },
    )


if __name__ == "__main__":
    main(build)
