"""Train an encoder-decoder model to summarise texts, scored by ROUGE.

python experiments/summarization.py configs/t5_aeslc.py --init.path RUN --data.tokenizer.path RUN/tokenizer.json
"""

from jaxlm.metrics.summaries import lead_line, rouge_scores
from jaxlm.parallel import Placement
from jaxlm.predict import Predictor
from jaxlm.predict.written import writer, written_scores
from jaxlm.runs.directory import RunDirectory
from jaxlm.steps import LossFn, transforms
from jaxlm.train import Config, Experiment, main
from jaxlm.train.compose import supervised

LEAD = 20  # words of the base line


def build(config: Config, place: Placement) -> Experiment:
    """Compose cross entropy of target tokens; a second evaluation scores what the model writes."""
    data, start = config.data, config.data.build_tokenizer().start

    def loss_of(config: Config) -> LossFn:
        return transforms.cast(config.loss(config.model, start), config.run.dtype)

    lines = [*data.log_lines(), lead_line(data.loaded().eval.sources, data.references(), LEAD)]
    scores = written_scores(config, rouge_scores)
    return supervised(loss_of, config, place, evaluations={"summary": scores}, log_lines=lines)


def predictor(config: Config, run: RunDirectory) -> Predictor:
    """Answer with the summary of a text."""
    return writer(config, run, cut=config.data.overlong == "cut")


if __name__ == "__main__":
    main(build)
