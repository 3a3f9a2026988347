"""Train two networks to map images and their captions to near vectors (CLIP): for retrieval, and to judge pictures.

python experiments/contrastive.py configs/clip_digits.py [--run.steps 500 ...]
"""

import json
from typing import Any

import jax
import numpy as np

from jaxlm import steps
from jaxlm.losses import contrastive
from jaxlm.metrics.retrieval import Retrieval
from jaxlm.parallel import Placement
from jaxlm.predict import Predictor
from jaxlm.predict.predictor import in_evaluation
from jaxlm.predict.vision.captions import caption_chooser, logits_of_captions
from jaxlm.runs.directory import CLASSES, RunDirectory
from jaxlm.steps import LossFn, Metrics, transforms
from jaxlm.train import Config, Evaluation, Experiment, main
from jaxlm.train.compose import supervised

CAPTIONS = 1000  # of the evaluation, among which a run chooses for an image


def build(config: Config, place: Placement) -> Experiment:
    """Compose the loss of all pairs of a batch; an evaluation ranks all images and captions of its data."""
    model, data = config.model, config.data

    def loss_of(config: Config) -> LossFn:
        loss = transforms.cast(contrastive(config.model, place.gather), config.run.dtype)
        return transforms.prepare(loss, data.prepare)

    def pairs(params: Any, variables: Any, batch: Any, key: jax.Array, *, train: bool) -> tuple[Any, Any]:
        inputs = data.prepare(batch)["image"], batch["tokens"], batch["segments"]
        found = model.apply({"params": params, **variables}, *inputs)
        return {"image": found.image, "caption": found.caption}, variables

    vectors = in_evaluation(transforms.cast(pairs, config.run.dtype))

    def outputs(state: steps.TrainState, batch: Any) -> Any:
        return vectors(steps.eval_variables(state.params, state.variables, state.ema), batch)

    image, _, *caption = data.example()
    return supervised(
        loss_of,
        config,
        place,
        example=(image, *caption),
        evaluations={"eval": Evaluation(data.eval(), outputs, retrieval)},
        composes=("ema", "skip_limit", "dtype"),
        artefacts={**data.artefacts(), CLASSES: json.dumps({"names": data.prompts(CAPTIONS)}) + "\n"},
    )


def retrieval(outputs: Any, batch: Any) -> Metrics:
    """Keep the vectors of a batch for the ranking of all."""
    real = batch["mask"] > 0
    words = np.where(batch["segments"] > 0, batch["tokens"], -1)
    return {"retrieval": Retrieval(outputs["image"][real], outputs["caption"][real], words[real])}


def predictor(config: Config, run: RunDirectory) -> Predictor:
    """Answer an image with the nearest of the captions that the evaluation had."""
    return caption_chooser(lambda *captions: logits_of_captions(config, *captions), config, run)


if __name__ == "__main__":
    main(build)
