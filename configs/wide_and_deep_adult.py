r"""Wide & Deep (Cheng et al. 2016) tells who earns more than 50,000 dollars a year (Adult, UCI's census data).

    python experiments/tabular_classification.py configs/wide_and_deep_adult.py --data.train-file adult.data \
        --data.eval-file adult.test

The two files are UCI's, as they are.
"""

from jaxlm.data.tables import ClassTable
from jaxlm.losses import Classification
from jaxlm.models.wide_and_deep import WideAndDeep
from jaxlm.nn.feature_tokens import FeatureTokens
from jaxlm.optim import AdamW
from jaxlm.parallel import PlacementSpec
from jaxlm.train import Config, Run

experiment = "tabular_classification"

config = Config(
    model=WideAndDeep(
        features=FeatureTokens(vocab=1024, kind="piecewise", width=8, size=48),
        classes=2,
        hidden=(256, 256),
        dropout=0.3,
    ),
    data=ClassTable(
        train_file="adult.data",
        eval_file="adult.test",
        target="income",
        columns=(
            "age",
            "workclass",
            "fnlwgt",
            "education",
            "education_num",
            "marital_status",
            "occupation",
            "relationship",
            "race",
            "sex",
            "capital_gain",
            "capital_loss",
            "hours_per_week",
            "native_country",
            "income",
        ),
        eval_skip_rows=1,
        missing=("?",),
        strip=".",
        categories=("capital_gain", "capital_loss"),
        crosses=(
            "education x occupation",
            "marital_status x relationship",
            "workclass x occupation",
            "sex x occupation",
        ),
        min_count=3,
        scale="quantile",
        batch=256,
        eval_batch=512,
    ),
    loss=Classification(),
    optim=AdamW(peak_lr=1e-3, warmup=100, weight_decay=0.1, final_fraction=0.0, b2=0.999),
    place=PlacementSpec(),
    run=Run(steps=2000, eval_every=500, save_every=2000, log_every=500, ema=0.995, metric="ranking/auc"),
)
