"""Train a detector: boxes around what is in an image, and their classes.

python experiments/detection.py configs/fcos_bccd.py [--run.steps 100 ...]
"""

from typing import Any

from jaxlm import steps
from jaxlm.parallel import Placement
from jaxlm.predict import Predictor
from jaxlm.predict.predictor import in_evaluation
from jaxlm.predict.vision.boxes import box_finder, detected, drawn_boxes, score_boxes
from jaxlm.runs.directory import RunDirectory
from jaxlm.steps import LossFn, transforms
from jaxlm.train import Config, Evaluation, Experiment, main
from jaxlm.train.compose import supervised

SHOWN = 4  # images of the evaluation in a preview


def build(config: Config, place: Placement) -> Experiment:
    """Compose the loss of every place, with augmented boxes, and the precision of boxes."""

    def loss_of(config: Config) -> LossFn:
        return prepared(config.loss(config.model), config)

    def outputs(state: steps.TrainState, batch: Any) -> Any:
        return in_evaluation(find(config))(applied(state), batch)

    def preview(state: steps.TrainState) -> dict[str, bytes]:
        return drawn_boxes(find(config), applied(state), config.data.eval(), config.data.names(), SHOWN)

    boxes = Evaluation(config.data.eval(), outputs, score_boxes)
    parts = {"augment": config.data.augmented, "evaluations": {"boxes": boxes}, "preview": preview}
    return supervised(loss_of, config, place, **parts)


def applied(state: steps.TrainState) -> Any:
    """Return what an evaluation applies."""
    return steps.eval_variables(state.params, state.variables, state.ema)


def prepared(function: LossFn, config: Config) -> LossFn:
    """Let a function of normalised images read those of the data."""
    return transforms.prepare(transforms.cast(function, config.run.dtype, inputs=("image",)), config.data.prepare)


def find(config: Config) -> LossFn:
    """Return the function that finds boxes."""
    return prepared(detected(config.model, config.decode), config)


def predictor(config: Config, run: RunDirectory) -> Predictor:
    """Answer with the boxes in an image."""
    return box_finder(find(config), config.data.eval_batch or config.data.batch, run)


if __name__ == "__main__":
    main(build)
