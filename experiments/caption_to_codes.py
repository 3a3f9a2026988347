"""Train a transformer to write images of captions code by code, in the manner of DALL-E.

python experiments/image_codes.py configs/vq_vae_digits.py --run.directory runs/vq_vae_digits
python experiments/caption_to_codes.py configs/dalle_digits.py [--run.steps 500 ...]
"""

from typing import Any

import jax

from jaxlm import steps
from jaxlm.errors import BadInput
from jaxlm.parallel import Placement
from jaxlm.predict import Predictor
from jaxlm.predict.vision.pictures import check_shape, painted, painter, picture_painter, picture_sheet
from jaxlm.runs.directory import RunDirectory
from jaxlm.steps import LossFn, transforms
from jaxlm.train import Config, Experiment, main
from jaxlm.train.compose import supervised

CAPTIONS, SHOWN = 10, 8  # captions of the evaluation in a preview, and pictures of each


def build(config: Config, place: Placement) -> Experiment:
    """Compose the loss of the next code, with a preview of pictures."""
    check_shape(config)
    if config.init.path is None or config.init.into != "pictures" or not config.optim.frozen("pictures/book"):
        raise BadInput(
            "pictures are written in the codes of an autoencoder that is trained already: give its run as init.path, "
            "with init.into pictures and optim.freeze ^pictures/"
        )

    def loss_of(config: Config) -> LossFn:
        return transforms.prepare(transforms.cast(config.loss(config.model), config.run.dtype), config.data.prepare)

    image, _, *caption = config.data.example()
    inputs = image, *caption
    return supervised(loss_of, config, place, example=inputs, preview=lambda state: preview(config, state))


def paint(config: Config) -> LossFn:
    """Return the function that makes pictures of a batch of texts."""

    def painting(variables: Any, batch: Any, noise: jax.Array) -> jax.Array:
        del noise  # codes are drawn from the keys
        keys_B = steps.typed_keys(batch["keys"])
        return config.decode(config.model, variables, batch["tokens"], batch["segments"], keys_B)

    return transforms.cast(painted(painting, ()), config.run.dtype)


def preview(config: Config, state: steps.TrainState) -> dict[str, str | bytes]:
    """Make pictures of captions of the evaluation."""
    variables = steps.eval_variables(state.params, state.variables, state.ema)
    predictor = painter(paint(config), config, config.data.build_tokenizer())
    return {"pictures.png": picture_sheet(predictor, variables, config.data.prompts(CAPTIONS), SHOWN)}


def predictor(config: Config, run: RunDirectory) -> Predictor:
    """Answer with a picture of a text."""
    return picture_painter(lambda shape: paint(config), config, run)


if __name__ == "__main__":
    main(build)
