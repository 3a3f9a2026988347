r"""DLRM (Naumov et al. 2019) tells who earns more than 50,000 dollars a year (Adult, the census income data of UCI).

    python experiments/tabular_classification.py configs/dlrm_adult.py --data.train-file adult.data \
        --data.eval-file adult.test

The two files are UCI's, as they are.
"""

from jaxlm.data.tables import ClassTable
from jaxlm.losses import Classification
from jaxlm.models.dlrm import DLRM
from jaxlm.nn.feature_tokens import FeatureTokens
from jaxlm.optim import AdamW
from jaxlm.parallel import PlacementSpec
from jaxlm.train import Config, Run

experiment = "tabular_classification"

config = Config(
    model=DLRM(
        features=FeatureTokens(vocab=384, kind="piecewise", width=16, size=48),
        classes=2,
        bottom=(128,),
        hidden=(256, 128),
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
