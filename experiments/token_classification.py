"""Train or fine-tune a network to tag the words of sentences, such as with named entities: BERT or an LSTM.

python experiments/token_classification.py configs/minilm_uner.py --start.path FOLDER [--run.steps 500 ...]
"""

import json

from jaxlm import steps
from jaxlm.losses import token_classification
from jaxlm.parallel import Placement
from jaxlm.steps import Tags, transforms
from jaxlm.train import Config, Experiment, main


def build(config: Config, place: Placement) -> Experiment:
    """Compose the pure functions that this experiment is made of."""
    data, run = config.data, config.run
    data.check(config.model, run.repeat)
    tx = config.optim(run.steps)

    loss = transforms.cast(token_classification(config.model, Tags(data.names())), run.dtype)
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
        units=(data.batch, "sentences"),
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
