"""Tune a language model on pairs of answers, of which one is preferred (direct preference optimisation).

python experiments/preference_tuning.py configs/llama_stories_dpo.py --init.path RUN [--loss.beta 0.5 ...]
"""

from jaxlm.models.adapted import share
from jaxlm.parallel import Placement
from jaxlm.predict import Predictor
from jaxlm.predict.continuations import chat
from jaxlm.runs.directory import RunDirectory
from jaxlm.steps import LossFn, transforms
from jaxlm.train import Config, Experiment, main
from jaxlm.train.compose import supervised


def build(config: Config, place: Placement) -> Experiment:
    """Compose the loss of preferences against the model that training began with."""
    data, model = config.data, config.model
    model.validate()

    def loss_of(config: Config) -> LossFn:
        return transforms.cast(config.loss(config.model), config.run.dtype)

    lines = [*data.log_lines(), share(model, data.example())]
    return supervised(loss_of, config, place, log_lines=lines)


def predictor(config: Config, run: RunDirectory) -> Predictor:
    """Answer a question, or the last turn of a conversation."""
    return chat(config.model, config.data.template, run)


if __name__ == "__main__":
    main(build)
