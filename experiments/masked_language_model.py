"""Train BERT to predict hidden words of a text.

python experiments/masked_language_model.py configs/bert_tiny_mlm.py [--model.encoder.depth 4 ...]
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from jaxlm import steps
from jaxlm.errors import BadInput
from jaxlm.losses import TEXT, masked_language_model
from jaxlm.parallel import Placement
from jaxlm.predict import Predictor, forward
from jaxlm.predict.masks import mask_filler
from jaxlm.runs.directory import RunDirectory
from jaxlm.steps import LossFn, transforms
from jaxlm.train import Config, Experiment, main
from jaxlm.train.compose import supervised


def build(config: Config, place: Placement) -> Experiment:
    """Compose cross entropy of the hidden words."""
    data, model = config.data, config.model
    model.validate()
    if model.next_sentence:
        raise BadInput("model.next_sentence has nothing to learn from here, where rows are running text: leave it off")

    def loss_of(config: Config) -> LossFn:
        return transforms.cast(masked_language_model(config.model), config.run.dtype)

    tokens, _ = data.throughput()
    flops = tokens * model.flops_per_token(data.length)
    return supervised(loss_of, config, place, flops=flops, preview=lambda state: preview(config, state))


def preview(config: Config, state: steps.TrainState) -> Mapping[str, str]:
    """Show the first row of the evaluation text as it is read, and with its hidden words guessed."""
    tokenizer, batch = config.data.build_tokenizer(), jax.tree.map(lambda x: x[:1], config.data.eval()[0])
    variables = steps.eval_variables(state.params, state.variables, state.ema)
    logits = config.model.apply(variables, batch["tokens"], segments=batch["segments"])
    guessed = jnp.where(batch["mask"] > 0, logits.argmax(-1), batch["tokens"])
    read = tokenizer.decode(batch["tokens"][0])
    return {"guesses.txt": f"read: {read}\nguessed: {tokenizer.decode(guessed[0])}"}


def predictor(config: Config, run: RunDirectory) -> Predictor:
    """Answer with the words in the place of each [MASK]."""
    return mask_filler(transforms.cast(forward(config.model, TEXT), config.run.dtype), config.data, run)


if __name__ == "__main__":
    main(build)
