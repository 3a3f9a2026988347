"""Tune a language model on conversations: the loss is on the answers alone.

python experiments/instruction_tuning.py configs/llama_stories_lora.py --init.path FOLDER [--model.lora.rank 4 ...]
"""

from collections.abc import Mapping

import jax
import numpy as np

from jaxlm import steps
from jaxlm.decode import generate
from jaxlm.losses import next_token
from jaxlm.models.adapted import share
from jaxlm.parallel import Placement
from jaxlm.predict import Predictor
from jaxlm.predict.continuations import chat
from jaxlm.runs.directory import RunDirectory
from jaxlm.steps import LossFn, transforms
from jaxlm.train import Config, Experiment, main
from jaxlm.train.compose import supervised


def build(config: Config, place: Placement) -> Experiment:
    """Compose cross entropy of the tokens of the answers."""
    data, model = config.data, config.model
    model.validate()

    def loss_of(config: Config) -> LossFn:
        return transforms.cast(next_token(config.model), config.run.dtype)

    lines = [*data.log_lines(), share(model, data.example())]
    return supervised(loss_of, config, place, log_lines=lines, preview=lambda state: preview(config, state))


def preview(config: Config, state: steps.TrainState) -> Mapping[str, str]:
    """Answer the first question of the evaluation data greedily."""
    tokenizer, batch = config.data.build_tokenizer(), config.data.eval()[0]
    prompt = batch["tokens"][0, : np.flatnonzero(batch["mask"][0])[0] + 1].tolist()
    variables = steps.eval_variables(state.params, state.variables, state.ema)
    length = min(64, config.model.context - len(prompt))
    options = {"length": length, "temperature": 0.0, "stop": tokenizer.separator}
    (answer,) = generate(config.model, variables, [prompt], jax.random.key(0), **options)
    return {"answer.txt": f"answer: {tokenizer.decode(prompt)}|{tokenizer.decode(answer)}"}


def predictor(config: Config, run: RunDirectory) -> Predictor:
    """Answer a question, or the last turn of a conversation."""
    return chat(config.model, config.data.template, run)


if __name__ == "__main__":
    main(build)
