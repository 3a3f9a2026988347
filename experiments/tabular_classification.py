"""Train a network to predict a class from the columns of a table, scored by the area under the ROC curve too.

python experiments/tabular_classification.py configs/mlp_adult.py --data.train-file FILE --data.eval-file FILE [...]
"""

from jaxlm import steps
from jaxlm.losses import TABLE
from jaxlm.parallel import Placement
from jaxlm.predict import Predictor, forward
from jaxlm.predict.predictor import in_evaluation
from jaxlm.predict.tables.rows import class_ranking, row_predictor
from jaxlm.runs.directory import RunDirectory
from jaxlm.steps import LossFn, transforms
from jaxlm.train import Config, Evaluation, Experiment, main
from jaxlm.train.compose import supervised


def logits_of(config: Config) -> LossFn:
    """Return the function that gives the logits of classes."""
    return transforms.cast(forward(config.model, TABLE), config.run.dtype, inputs=("numbers",))


def build(config: Config, place: Placement) -> Experiment:
    """Compose cross entropy of the class of each row; a second evaluation ranks the rows."""
    compute = in_evaluation(logits_of(config))

    def loss_of(config: Config) -> LossFn:
        return transforms.cast(config.loss(config.model, inputs=TABLE), config.run.dtype, inputs=("numbers",))

    def outputs(state, batch):
        return compute(steps.eval_variables(state.params, state.variables, state.ema), batch)["logits"]

    ranking = Evaluation(config.data.eval(), outputs, class_ranking, every=config.run.eval_every)
    return supervised(loss_of, config, place, evaluations={"ranking": ranking})


def predictor(config: Config, run: RunDirectory) -> Predictor:
    """Answer with the class of a row."""
    return row_predictor(logits_of(config), config, run)


if __name__ == "__main__":
    main(build)
