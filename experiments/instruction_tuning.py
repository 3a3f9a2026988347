"""Tune a language model on conversations: the loss is on the answers alone.

python experiments/instruction_tuning.py configs/llama_stories_lora.py --start.path FOLDER [--model.lora.rank 4 ...]
"""

import jax
import numpy as np

from jaxlm import steps
from jaxlm.data import Tokenizer
from jaxlm.decode import generate
from jaxlm.losses import next_token
from jaxlm.models.adapted import share
from jaxlm.parallel import Placement
from jaxlm.steps import transforms
from jaxlm.train import Config, Experiment, main


def build(config: Config, place: Placement) -> Experiment:
    """Compose the pure functions that this experiment is made of."""
    model, data, run = config.model, config.data, config.run
    model.validate()
    data.check(model.context, model.vocab)
    tokenizer = data.build_tokenizer()
    tx = config.optim(run.steps)

    loss = transforms.cast(next_token(model), run.dtype)
    grad = steps.grad(loss)
    grad = steps.accumulate(grad, run.accumulate)
    grad = place.reduce(grad)
    step = steps.update(grad, tx)
    if run.ema:
        step = transforms.ema(step, run.ema)
    step = transforms.skip_nonfinite(step, run.skip_limit)

    return Experiment(
        init=lambda key: steps.init(model, tx, data.example(), key, ema=run.ema > 0),
        step=step,
        evaluate=place.reduce_metrics(steps.evaluate(loss)),
        train_data=data.train(run.seeds.data),
        eval_data=data.eval(),
        units=(data.batch * data.length, "tokens"),
        learning_rate=config.optim.schedule(run.steps),
        start=config.start,
        notes=[share(model, data.example())],
        preview=lambda state: preview(config, tokenizer, state),
        artefacts={"tokenizer.json": tokenizer.to_json()},
    )


def preview(config: Config, tokenizer: Tokenizer, state: steps.TrainState) -> str:
    """The first question of the evaluation data and the model's likeliest answer."""
    batch = config.data.eval()[0]
    prompt = batch["tokens"][0, : np.flatnonzero(batch["mask"][0])[0] + 1].tolist()
    variables = steps.evaluated(state.params, state.variables, state.ema)
    length = min(64, config.model.context - len(prompt))
    options = {"length": length, "temperature": 0.0, "stop": tokenizer.separator}
    (answer,) = generate(config.model, variables, [prompt], jax.random.key(0), **options)
    return f"answer: {tokenizer.decode(prompt)}|{tokenizer.decode(answer)}"


if __name__ == "__main__":
    main(build)
