"""Train a decoder-only transformer to predict the next token of a text.

python experiments/language_model.py configs/gpt_stdlib.py [--model.depth 6 ...]
"""

from collections.abc import Mapping
from typing import Any

import jax

from jaxlm import steps
from jaxlm.data import Tokenizer
from jaxlm.decode import continue_text
from jaxlm.losses import next_token
from jaxlm.parallel import Placement
from jaxlm.steps import transforms
from jaxlm.train import Config, Experiment, hyperparameters, main, with_hyperparameters


def build(config: Config, place: Placement) -> Experiment:
    """Compose the pure functions that this experiment is made of."""
    config.model.validate()
    config.data.check(config.model.context, config.model.vocab)
    tokenizer = config.data.build_tokenizer()
    run = config.run
    tx = config.optim(run.steps)
    held = hyperparameters(config)

    def loss_at(values: Mapping[str, Any]) -> steps.LossFn:
        return next_token(with_hyperparameters(config, values).model, tokenizer.byte_lengths())

    loss = transforms.inject(loss_at, held)
    train_loss = transforms.cast(loss, run.dtype)
    grad = steps.grad(train_loss)
    grad = steps.accumulate(grad, run.accumulate)
    grad = place.reduce(grad)
    step = steps.update(grad, tx)
    if run.ema:
        step = transforms.ema(step, run.ema)
    step = transforms.skip_nonfinite(step, run.skip_limit)

    tokens = config.data.batch * config.data.length
    return Experiment(
        init=lambda key: steps.init(
            config.model, tx, config.data.example(), key, ema=run.ema > 0, hyperparameters=held
        ),
        step=step,
        evaluate=place.reduce_metrics(steps.evaluate(train_loss)),
        train_data=config.data.train(run.seeds.data),
        eval_data=config.data.eval(),
        units=(tokens, "tokens"),
        flops=tokens * config.model.flops_per_token(config.data.length),
        learning_rate=config.optim.schedule(run.steps),
        hyperparameters=held,
        start=config.start,
        preview=lambda state: preview(config, tokenizer, state),
        artefacts={"tokenizer.json": tokenizer.to_json()},
    )


def preview(config: Config, tokenizer: Tokenizer, state: steps.TrainState) -> str:
    """A short sample that continues the beginning of the evaluation text."""
    tokens = config.data.eval()[0]["tokens"][0, : config.data.length // 4]
    variables = steps.evaluated(state.params, state.variables, state.ema)
    prompt, key = tokenizer.decode(tokens), jax.random.fold_in(state.key, state.step)
    (text,) = continue_text(config.model, variables, tokenizer, [prompt], key, length=200, temperature=0.8)
    return f"sample: {prompt}|{text}"


if __name__ == "__main__":
    main(build)
