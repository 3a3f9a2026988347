"""Train a network to classify images.

python experiments/image_classification.py configs/cnn_digits.py [--run.steps 500 ...]
"""

from jaxlm.losses import IMAGE
from jaxlm.parallel import Placement
from jaxlm.predict import Predictor, forward
from jaxlm.predict.images import image_classifier
from jaxlm.runs.directory import RunDirectory
from jaxlm.steps import LossFn, transforms
from jaxlm.train import Config, Experiment, main
from jaxlm.train.compose import supervised


def build(config: Config, place: Placement) -> Experiment:
    """Compose cross entropy of normalised images, with augmentation in training alone, over the whole batch."""

    def loss_of(config: Config) -> LossFn:
        loss = config.loss(config.model.clone(axis_name=place.axis_name))
        loss = transforms.cast(loss, config.run.dtype, inputs=("image",))
        return transforms.prepare(loss, config.data.prepare)

    return supervised(loss_of, config, place, augment=config.data.augmented, private=True)


def predictor(config: Config, run: RunDirectory) -> Predictor:
    """Answer with the class of an image."""
    logits = transforms.cast(forward(config.model, IMAGE), config.run.dtype, inputs=("image",))
    return image_classifier(transforms.prepare(logits, config.data.prepare), config.data, run)


if __name__ == "__main__":
    main(build)
