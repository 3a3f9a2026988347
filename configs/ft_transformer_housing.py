"""The feature tokenizer and transformer predict the value of houses in California from ten columns.

python experiments/tabular_regression.py configs/ft_transformer_housing.py --data.train-file california_housing.csv
"""

from jaxlm.data.tables import RegressionTable
from jaxlm.data.tables.neighbours import Neighbours
from jaxlm.losses import Regression
from jaxlm.models.ft_transformer import FTTransformer
from jaxlm.nn.feature_tokens import FeatureTokens
from jaxlm.optim import AdamW
from jaxlm.parallel import PlacementSpec
from jaxlm.train import Config, Run

experiment = "tabular_regression"

config = Config(
    model=FTTransformer(features=FeatureTokens(vocab=8, width=64), depth=3, heads=8, dropout=0.1),
    data=RegressionTable(
        train_file="california_housing.csv",
        folds=5,
        target="median_house_value",
        scale="quantile",
        scale_target="log",
        neighbours=(
            Neighbours(columns=("longitude", "latitude")),
            Neighbours(columns=("longitude", "latitude", "median_income"), weights=(10.0, 10.0, 1.0)),
        ),
        batch=256,
        eval_batch=512,
    ),
    loss=Regression(),
    optim=AdamW(peak_lr=1e-3, warmup=100, weight_decay=0.3, final_fraction=0.0, b2=0.999),
    place=PlacementSpec(),
    run=Run(steps=1500, eval_every=500, save_every=1500, log_every=500, ema=0.995, metric="eval/r2"),
)
