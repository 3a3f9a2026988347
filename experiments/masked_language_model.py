"""Train BERT to tell what stood at hidden places of a text.

python experiments/masked_language_model.py configs/bert_tiny_mlm.py [--model.encoder.depth 4 ...]
"""

import jax
import jax.numpy as jnp

from jaxlm import steps
from jaxlm.data import Tokenizer
from jaxlm.errors import BadInput
from jaxlm.losses import masked_language_model
from jaxlm.parallel import Placement
from jaxlm.steps import transforms
from jaxlm.train import Config, Experiment, main


def build(config: Config, place: Placement) -> Experiment:
    """Compose the pure functions that this experiment is made of."""
    encoder, data, run = config.model.encoder, config.data, config.run
    config.model.validate()
    if config.model.next_sentence:
        raise BadInput("model.next_sentence has nothing to learn from here, where rows are running text: leave it off")
    data.check(encoder.context, encoder.vocab)
    tokenizer = data.build_tokenizer()
    tx = config.optim(run.steps)

    loss = masked_language_model(config.model)
    loss = transforms.cast(loss, run.dtype)
    loss = transforms.freeze(loss, config.optim.frozen)
    grad = steps.grad(loss)
    grad = steps.accumulate(grad, run.accumulate)
    grad = place.reduce(grad)
    step = steps.update(grad, tx)
    if run.ema:
        step = transforms.ema(step, run.ema)
    step = transforms.skip_nonfinite(step, run.skip_limit)

    tokens = data.batch * data.length
    return Experiment(
        init=lambda key: steps.init(config.model, tx, data.example(), key, ema=run.ema > 0),
        step=step,
        evaluate=place.reduce_metrics(steps.evaluate(loss)),
        train_data=data.train(run.seeds.data, run.seeds.noise),
        eval_data=data.eval(),
        units=(tokens, "tokens"),
        flops=tokens * config.model.flops_per_token(data.length),
        learning_rate=config.optim.schedule(run.steps),
        start=config.start,
        preview=lambda state: preview(config, tokenizer, state),
        artefacts={"tokenizer.json": tokenizer.to_json()},
    )


def preview(config: Config, tokenizer: Tokenizer, state: steps.TrainState) -> str:
    """The first row of the evaluation text as it is read, and as it is guessed."""
    batch = jax.tree.map(lambda x: x[:1], config.data.eval()[0])
    variables = steps.evaluated(state.params, state.variables, state.ema)
    logits = config.model.apply(variables, batch["tokens"], segments=batch["segments"])
    guessed = jnp.where(batch["mask"] > 0, logits.argmax(-1), batch["tokens"])
    return f"read: {tokenizer.decode(batch['tokens'][0])}\nguessed: {tokenizer.decode(guessed[0])}"


if __name__ == "__main__":
    main(build)
