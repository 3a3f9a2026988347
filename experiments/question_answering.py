"""Train or fine-tune a BERT to answer questions with stretches of a text, scored by exact match and F1 as SQuAD is.

python experiments/question_answering.py configs/minilm_squad_format.py --data.folder SQUAD --init.path FOLDER [...]
"""

from jaxlm import steps
from jaxlm.losses import TEXT, answer_spans
from jaxlm.parallel import Placement
from jaxlm.predict import Predictor, forward
from jaxlm.predict.answers import answerer, window_answers
from jaxlm.predict.predictor import in_evaluation
from jaxlm.runs.directory import RunDirectory
from jaxlm.steps import LossFn, transforms
from jaxlm.train import Config, Evaluation, Experiment, main
from jaxlm.train.compose import supervised


def logits_of(config: Config) -> LossFn:
    """Return the function that gives the logits of starts and ends."""
    return transforms.cast(forward(config.model, TEXT), config.run.dtype)


def build(config: Config, place: Placement) -> Experiment:
    """Compose cross entropy of both ends of an answer; a second evaluation scores the best answers."""
    data, compute = config.data, in_evaluation(logits_of(config))
    config.decode.check(data.loaded().eval.counts["questions without an answer"])

    def loss_of(config: Config) -> LossFn:
        return transforms.cast(answer_spans(config.model), config.run.dtype)

    def outputs(state, batch):
        return compute(steps.eval_variables(state.params, state.variables, state.ema), batch)["logits"]

    def score(logits, batch):
        return {"answers": window_answers(config.decode, data.loaded().eval, logits, batch)}

    answers = Evaluation(data.eval(), outputs, score, every=config.run.eval_every)
    return supervised(loss_of, config, place, evaluations={"answers": answers})


def predictor(config: Config, run: RunDirectory) -> Predictor:
    """Answer a question with a stretch of its context."""
    return answerer(logits_of(config), config.data, config.decode, run)


if __name__ == "__main__":
    main(build)
