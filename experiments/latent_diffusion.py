"""Train a network to make pictures of captions in the latents of an autoencoder: latent diffusion.

python experiments/image_codes.py configs/vq_vae_digits.py --run.directory runs/vq_vae_digits
python experiments/latent_diffusion.py configs/latent_dit_digits.py [--run.steps 500 ...]
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm import steps
from jaxlm.errors import BadInput
from jaxlm.hub.pretrained import tree_from_leaves
from jaxlm.losses.flow_matching import in_latents
from jaxlm.models.latent_diffusion import latent_statistics
from jaxlm.parallel import Placement
from jaxlm.predict import Predictor
from jaxlm.predict.vision.pictures import check_shape, painted, painter, picture_painter, picture_sheet
from jaxlm.runs.directory import RunDirectory
from jaxlm.steps import LossFn, transforms
from jaxlm.train import Config, Experiment, InitFrom, main
from jaxlm.train.compose import supervised
from jaxlm.train.init_from import LoadedWeights

CAPTIONS, SHOWN = 10, 8  # captions of the evaluation in a preview, and pictures of each
MEASURED = 4096  # training images over which mean and deviation of latents are taken, at most


def build(config: Config, place: Placement) -> Experiment:
    """Compose the loss of one point of each path of latents, with a preview of pictures."""
    check_shape(config)
    if config.init.path is None or config.init.into != "pictures" or not config.optim.frozen("pictures/book"):
        raise BadInput(
            "pictures are painted in the latents of an autoencoder that is trained already: give its run as init.path, "
            "with init.into pictures and optim.freeze ^pictures/"
        )

    def loss_of(config: Config) -> LossFn:
        loss = in_latents(config.loss(config.model), config.model)
        return transforms.prepare(transforms.cast(loss, config.run.dtype), config.data.prepare)

    inputs = (np.zeros((1, *config.model.latent_shape), np.float32), *config.data.example()[1:])
    init = WithStatistics(**vars(config.init), measure=lambda params: measured(config, params))
    parts: dict[str, Any] = {"example": inputs, "init_from": init, "preview": lambda state: preview(config, state)}
    return supervised(loss_of, config, place, **parts)


@dataclass(frozen=True)
class WithStatistics(InitFrom):
    """The weights of an autoencoder, and with them what `measure` makes of its parameters: {"mean", "deviation"}."""

    measure: Callable[[Any], dict[str, np.ndarray]] = dict

    def load(self, shapes: Any, model: Any, artefacts: Mapping[str, str] | None = None) -> LoadedWeights:
        """Load the weights, and measure the latents with them; raises as `InitFrom.load` does."""
        loaded = super().load(shapes, model, artefacts)
        found = self.measure(tree_from_leaves(loaded.arrays)["params"]["pictures"])
        arrays = {**loaded.arrays, **{f"latents/{name}": x for name, x in found.items()}}
        says = ", ".join(f"{name} {np.round(x, 2).tolist()}" for name, x in found.items())
        return replace(loaded, arrays=arrays, log_lines=(*loaded.log_lines, f"channels of the latents: {says}"))


def measured(config: Config, params: Any) -> dict[str, np.ndarray]:
    """Measure the latents of training images that are spread over the split."""
    images = config.data.loaded().train.images
    rows = np.unique(np.linspace(0, len(images) - 1, min(len(images), MEASURED)).astype(np.int64))
    image = config.data.prepare({"image": jnp.asarray(images.take(rows, None)["image"])})["image"]
    return latent_statistics(config.model, params, image)


def paint(config: Config) -> LossFn:
    """Return the function that makes pictures of a batch of texts."""

    def painting(variables: Any, batch: Any, noise: jax.Array) -> jax.Array:
        how = batch["tokens"], batch["segments"], noise, batch["steps"], batch["guidance"]
        latents = config.decode(config.model, config.loss.at, variables, *how)
        return config.model.apply(variables, latents, method="picture")

    return transforms.cast(painted(painting, config.model.latent_shape), config.run.dtype)


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
