"""From a run's model to answers: raw inputs such as texts and image files in, answers that are JSON out."""

from jaxlm.predict.predictor import Predictor, Prepared, answer_all, forward

__all__ = ["Predictor", "Prepared", "answer_all", "forward"]
