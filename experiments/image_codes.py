"""Train an autoencoder of images with discrete codes (VQ-VAE), the alphabet of `experiments/caption_to_codes.py`.

python experiments/image_codes.py configs/vq_vae_digits.py [--run.steps 500 ...]
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm import steps
from jaxlm.data.images.sheet import sheet_png
from jaxlm.parallel import Placement
from jaxlm.predict import Predictor
from jaxlm.predict.images import ReadImages
from jaxlm.predict.predictor import in_evaluation, zeros
from jaxlm.predict.vision.pictures import WritePicture, check_shape, pixels, read_shape
from jaxlm.runs.directory import RunDirectory
from jaxlm.steps import LossFn, transforms
from jaxlm.train import Config, Experiment, main
from jaxlm.train.compose import supervised

SHOWN = 16  # images in a preview


def build(config: Config, place: Placement) -> Experiment:
    """Compose the loss of images that are made again from their codes, with a preview of both."""
    check_shape(config)

    def loss_of(config: Config) -> LossFn:
        return transforms.prepare(transforms.cast(config.loss(config.model), config.run.dtype), config.data.prepare)

    image = config.data.example()[0]
    return supervised(loss_of, config, place, example=image, preview=lambda state: preview(config, state))


def again(config: Config) -> LossFn:
    """Return the function that makes images again, in the form of a loss: {"picture": uint8 [B, H, W, C]}."""

    def function(params: Any, variables: Any, batch: Any, key: jax.Array, *, train: bool) -> tuple[Any, Any]:
        del key, train
        found = config.model.apply({"params": params, **variables}, config.data.prepare(batch)["image"])
        return {"picture": pixels(found.image.astype(jnp.float32)), "codes": found.codes}, variables

    return transforms.cast(function, config.run.dtype)


def preview(config: Config, state: steps.TrainState) -> dict[str, str | bytes]:
    """Show images of the evaluation above the same made again."""
    image = config.data.eval()[0]["image"][:SHOWN]
    variables = steps.eval_variables(state.params, state.variables, state.ema)
    made = in_evaluation(again(config))(variables, {"image": jnp.asarray(image)})["picture"]
    return {"pictures.png": sheet_png({"images": image, "from codes": np.asarray(made)})}


def predictor(config: Config, run: RunDirectory) -> Predictor:
    """Answer with an image made again from its codes."""
    read = ReadImages(read_shape(run))
    row = {"image": np.zeros(read.shape, np.uint8)}
    return Predictor(read, in_evaluation(again(config)), WritePicture(), (zeros(row, config.data.batch_sizes[1]),))


if __name__ == "__main__":
    main(build)
