"""Train an encoder-decoder model to write a text from a text: translation, scored by BLEU, chrF and TER.

python experiments/translation.py configs/transformer_multi30k.py --data.folder MULTI30K [--decode.beams 1 ...]
"""

from functools import partial

from jaxlm.metrics.text import translation_scores
from jaxlm.parallel import Placement
from jaxlm.predict import Predictor
from jaxlm.predict.written import writer, written_preview, written_scores
from jaxlm.runs.directory import RunDirectory
from jaxlm.steps import LossFn, transforms
from jaxlm.train import Config, Experiment, main
from jaxlm.train.compose import supervised


def build(config: Config, place: Placement) -> Experiment:
    """Compose cross entropy of target tokens; a second evaluation scores what the model writes."""
    start = config.data.build_tokenizer().start

    def loss_of(config: Config) -> LossFn:
        return transforms.cast(config.loss(config.model, start), config.run.dtype)

    scores = written_scores(config, partial(translation_scores, lower=config.data.lower))
    preview = written_preview(config, scores.outputs, place)
    return supervised(loss_of, config, place, evaluations={"translation": scores}, preview=preview)


def predictor(config: Config, run: RunDirectory) -> Predictor:
    """Answer with the translation of a text."""
    return writer(config, run)


if __name__ == "__main__":
    main(build)
