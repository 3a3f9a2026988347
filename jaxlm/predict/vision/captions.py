"""Answer an image with the caption that fits it best.

K captions, L tokens of a caption.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxlm.data.tokenizers.specs import load_tokenizer
from jaxlm.predict.classes import ClassProbabilities, read_class_names
from jaxlm.predict.images import ReadImages
from jaxlm.predict.predictor import Predictor, in_evaluation, zeros
from jaxlm.predict.vision.pictures import ReadPrompts, read_shape
from jaxlm.runs.directory import RunDirectory
from jaxlm.steps import LossFn, transforms


def logits_of_captions(config: Any, tokens_KL: np.ndarray, segments_KL: np.ndarray) -> LossFn:
    """Return the function that gives images the logits of some captions, {"logits": float32 [B, K]}."""

    def function(params: Any, variables: Any, batch: Any, key: Any, *, train: bool) -> tuple[Any, Any]:
        del key, train
        both = {"params": params, **variables}
        image_BD = config.model.apply(both, config.data.prepare(batch)["image"], method="image")
        caption_KD = config.model.apply(both, jnp.asarray(tokens_KL), jnp.asarray(segments_KL), method="caption")
        scale = jnp.exp(params["log_scale"].astype(jnp.float32))
        return {"logits": scale * image_BD @ caption_KD.T}, variables

    return transforms.cast(function, config.run.dtype)


def caption_chooser(compose: Callable[..., LossFn], config: Any, run: RunDirectory) -> Predictor:
    """Compose the predictor of a run that maps images and captions to vectors.

    Args:
        compose: (tokens int32 [K, L], segments int32 [K, L]) -> function that gives {"logits": float32 [B, K]}.
        config: of the run.
        run: has kept the tokenizer, the shape of images, and the captions as the names of its classes.
    """
    names, shape = read_class_names(run), read_shape(run)
    read = ReadPrompts(tokenizer=load_tokenizer(run.artefact("tokenizer.json")), width=config.data.width)
    rows = [read.row(name, 0) for name in names]
    captions = (np.stack([row[name] for row in rows]) for name in ("tokens", "segments"))
    example = {"image": np.zeros(shape, np.uint8)}
    return Predictor(
        ReadImages(shape),
        in_evaluation(compose(*captions)),
        ClassProbabilities(names),
        (zeros(example, config.data.batch_sizes[1]),),
    )
