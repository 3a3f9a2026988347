"""One hidden layer of ten units learns a parabola with noise: the 1-10-1 network of beginners' tutorials.

    python experiments/tabular_regression.py configs/curve_1_10_1.py

300 points, all of them in every batch, and 1,000 updates of plain gradient descent at a rate of 0.1; the evaluation has
no noise.
"""

from jaxlm.data.tables.curve import Parabola
from jaxlm.losses import Regression
from jaxlm.models.table_mlp import TableMLP
from jaxlm.nn.feature_tokens import FeatureTokens
from jaxlm.optim import SGD
from jaxlm.parallel import PlacementSpec
from jaxlm.train import Config, Run

experiment = "tabular_regression"

config = Config(
    model=TableMLP(features=FeatureTokens(kind="none"), hidden=(10,)),
    data=Parabola(count=300, noise=0.05, scale_target="none", batch=300, eval_batch=300),
    loss=Regression(),
    optim=SGD(peak_lr=0.1, schedule="constant"),
    place=PlacementSpec(),
    run=Run(steps=1000, eval_every=200, save_every=1000, log_every=200, metric="eval/r2"),
)
