"""Two towers, one over what a user has met, recommend articles to the users of CiteULike-a, on a CPU.

    python experiments/recommendation.py configs/two_tower_citeulike.py --data.source.path CITEULIKE/users.dat

A fifth of the articles of each user is held out. Figures are in docs/design/recommenders.md.
"""

from jaxlm.data.interactions import CiteULike, Fraction, Interactions
from jaxlm.losses import Recommendation
from jaxlm.models.two_tower import TwoTower
from jaxlm.optim import Adam
from jaxlm.parallel import PlacementSpec
from jaxlm.train import Config, Run

experiment = "recommendation"

config = Config(
    model=TwoTower(items=16980, width=128, dropout=0.5),
    data=Interactions(
        source=CiteULike(path="~/data/citeulike_a/users.dat"),
        split=Fraction(share=0.2),
        rows="users",
        batch=512,
        eval_batch=256,
    ),
    loss=Recommendation(objective="softmax"),
    optim=Adam(peak_lr=3e-3, warmup=20),
    place=PlacementSpec(),
    run=Run(steps=300, eval_every=100, save_every=100, metric="eval/ndcg@20"),
)

ablations = {
    "hidden layer": ("--model.hidden", "256"),
    "no dropout": ("--model.dropout", "0.0"),
}
