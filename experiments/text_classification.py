"""Train or fine-tune a network to classify texts: BERT, an LSTM, or GPT, under a head.

python experiments/text_classification.py configs/minilm_sst2.py --init.path FOLDER [--run.steps 500 ...]
"""

from jaxlm.losses import TEXT
from jaxlm.parallel import Placement
from jaxlm.predict import Predictor, forward
from jaxlm.predict.texts import text_classifier
from jaxlm.runs.directory import RunDirectory
from jaxlm.steps import LossFn, transforms
from jaxlm.train import Config, Experiment, main
from jaxlm.train.compose import supervised


def build(config: Config, place: Placement) -> Experiment:
    """Compose cross entropy of the class of each text."""

    def loss_of(config: Config) -> LossFn:
        return transforms.cast(config.loss(config.model, inputs=TEXT), config.run.dtype)

    return supervised(loss_of, config, place, private=True)


def predictor(config: Config, run: RunDirectory) -> Predictor:
    """Answer with the class of a text."""
    return text_classifier(transforms.cast(forward(config.model, TEXT), config.run.dtype), config.data, run)


if __name__ == "__main__":
    main(build)
