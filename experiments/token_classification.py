"""Train or fine-tune a network to tag the words of sentences, such as with named entities: BERT or an LSTM.

python experiments/token_classification.py configs/minilm_uner.py --init.path FOLDER [--run.steps 500 ...]
"""

from jaxlm.losses import TEXT, token_classification
from jaxlm.metrics import Tags
from jaxlm.parallel import Placement
from jaxlm.predict import Predictor, forward
from jaxlm.predict.tags import tagger
from jaxlm.runs.directory import RunDirectory
from jaxlm.steps import LossFn, transforms
from jaxlm.train import Config, Experiment, main
from jaxlm.train.compose import supervised


def build(config: Config, place: Placement) -> Experiment:
    """Compose cross entropy of the tag of each word's first piece; the evaluation counts whole entities."""
    tags = Tags(config.data.names())

    def loss_of(config: Config) -> LossFn:
        return transforms.cast(token_classification(config.model, tags), config.run.dtype)

    return supervised(loss_of, config, place)


def predictor(config: Config, run: RunDirectory) -> Predictor:
    """Answer with the entities of a text."""
    return tagger(transforms.cast(forward(config.model, TEXT), config.run.dtype), config.data, run)


if __name__ == "__main__":
    main(build)
