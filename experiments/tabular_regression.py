"""Train a network to predict a number from the columns of a table.

python experiments/tabular_regression.py configs/mlp_housing.py --data.train-file housing.csv [--run.steps 500 ...]
"""

from jaxlm.losses import TABLE
from jaxlm.parallel import Placement
from jaxlm.predict import Predictor, forward
from jaxlm.predict.tables.rows import row_predictor
from jaxlm.runs.directory import RunDirectory
from jaxlm.steps import LossFn, transforms
from jaxlm.train import Config, Experiment, main
from jaxlm.train.compose import supervised


def build(config: Config, place: Placement) -> Experiment:
    """Compose the loss of the scaled target; an evaluation measures R2 and errors in the target's own units."""
    target = config.data.number()

    def loss_of(config: Config) -> LossFn:
        return transforms.cast(config.loss(config.model, target), config.run.dtype, inputs=("numbers",))

    return supervised(loss_of, config, place)


def predictor(config: Config, run: RunDirectory) -> Predictor:
    """Answer with a number for a row."""
    outputs = transforms.cast(forward(config.model, TABLE), config.run.dtype, inputs=("numbers",))
    return row_predictor(outputs, config, run)


if __name__ == "__main__":
    main(build)
