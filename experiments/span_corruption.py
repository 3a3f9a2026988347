"""Pre-train an encoder-decoder model to write the hidden spans of a text, as T5.

python experiments/span_corruption.py configs/t5_aeslc_spans.py [--data.rate 0.3 ...]
"""

from jaxlm.parallel import Placement
from jaxlm.predict import Predictor
from jaxlm.predict.written import writer
from jaxlm.runs.directory import RunDirectory
from jaxlm.steps import LossFn, transforms
from jaxlm.train import Config, Experiment, main
from jaxlm.train.compose import supervised


def build(config: Config, place: Placement) -> Experiment:
    """Compose cross entropy of the hidden spans."""
    start = config.data.build_tokenizer().start

    def loss_of(config: Config) -> LossFn:
        return transforms.cast(config.loss(config.model, start), config.run.dtype)

    return supervised(loss_of, config, place)


def predictor(config: Config, run: RunDirectory) -> Predictor:
    """Answer with what the model writes in the places of <extra_id_0>, <extra_id_1>, ..."""
    return writer(config, run, sentinels=True)


if __name__ == "__main__":
    main(build)
