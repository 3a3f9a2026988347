"""Train a network to make pictures of captions: flow matching or diffusion, with guidance.

python experiments/text_to_image.py configs/dit_digits.py [--run.steps 500 ...]
"""

from typing import Any

import jax

from jaxlm import steps
from jaxlm.parallel import Placement
from jaxlm.predict import Predictor
from jaxlm.predict.vision.pictures import painted, painter, picture_painter, picture_sheet
from jaxlm.runs.directory import RunDirectory
from jaxlm.steps import LossFn, transforms
from jaxlm.train import Config, Experiment, main
from jaxlm.train.compose import supervised

CAPTIONS, SHOWN = 10, 8  # captions of the evaluation in a preview, and pictures of each


def build(config: Config, place: Placement) -> Experiment:
    """Compose the loss of one point of each path, with a preview of pictures."""

    def loss_of(config: Config) -> LossFn:
        loss = transforms.cast(config.loss(config.model), config.run.dtype)
        return transforms.prepare(loss, config.data.prepare)

    return supervised(loss_of, config, place, preview=lambda state: preview(config, state))


def paint(config: Config, shape: tuple[int, ...]) -> LossFn:
    """Return the function that makes pictures of a batch of texts."""

    def painting(variables: Any, batch: Any, noise: jax.Array) -> jax.Array:
        how = batch["tokens"], batch["segments"], noise, batch["steps"], batch["guidance"]
        return config.decode(config.model, config.loss.at, variables, *how)

    return transforms.cast(painted(painting, shape), config.run.dtype)


def preview(config: Config, state: steps.TrainState) -> dict[str, str | bytes]:
    """Make pictures of captions of the evaluation."""
    variables = steps.eval_variables(state.params, state.variables, state.ema)
    predictor = painter(paint(config, config.data.shape()), config, config.data.build_tokenizer())
    return {"pictures.png": picture_sheet(predictor, variables, config.data.prompts(CAPTIONS), SHOWN)}


def predictor(config: Config, run: RunDirectory) -> Predictor:
    """Answer with a picture of a text."""
    return picture_painter(lambda shape: paint(config, shape), config, run)


if __name__ == "__main__":
    main(build)
