"""Train a decoder-only transformer to predict the next token of a text.

python experiments/language_model.py configs/gpt_stdlib.py [--model.depth 6 ...]
"""

from collections.abc import Mapping

import jax

from jaxlm import steps
from jaxlm.decode import continue_text
from jaxlm.losses import next_token
from jaxlm.parallel import Placement
from jaxlm.predict import Predictor
from jaxlm.predict.continuations import continuation
from jaxlm.runs.directory import RunDirectory
from jaxlm.steps import LossFn, transforms
from jaxlm.train import Config, Experiment, main
from jaxlm.train.compose import supervised


def build(config: Config, place: Placement) -> Experiment:
    """Compose cross entropy of each next token, with the bits per byte of the text."""
    data, model = config.data, config.model
    model.validate()

    def loss_of(config: Config) -> LossFn:
        return transforms.cast(next_token(config.model, data.build_tokenizer().byte_lengths()), config.run.dtype)

    tokens, _ = data.throughput()
    flops = tokens * model.flops_per_token(data.length)
    return supervised(loss_of, config, place, flops=flops, preview=lambda state: preview(config, state))


def preview(config: Config, state: steps.TrainState) -> Mapping[str, str]:
    """Sample a continuation of the beginning of the evaluation text."""
    tokenizer = config.data.build_tokenizer()
    tokens = config.data.eval()[0]["tokens"][0, : config.data.length // 4]
    variables = steps.eval_variables(state.params, state.variables, state.ema)
    prompt, key = tokenizer.decode(tokens), jax.random.fold_in(state.key, state.step)
    (text,) = continue_text(config.model, variables, tokenizer, [prompt], key, length=200, temperature=0.8)
    return {"sample.txt": f"sample: {prompt}|{text}"}


def predictor(config: Config, run: RunDirectory) -> Predictor:
    """Answer with what follows a text."""
    return continuation(config.model, run)


if __name__ == "__main__":
    main(build)
