"""NeuMF recommends articles to the users of CiteULike-a, on a CPU; its ablations are GMF and the MLP.

    python experiments/recommendation.py configs/neumf_citeulike.py --data.source.path CITEULIKE/users.dat

A fifth of the articles of each user is held out. Figures are in docs/design/recommenders.md.
"""

from jaxlm.data.interactions import CiteULike, Fraction, Interactions
from jaxlm.losses import Recommendation
from jaxlm.models.neumf import NeuMF
from jaxlm.optim import Adam
from jaxlm.parallel import PlacementSpec
from jaxlm.train import Config, Run

experiment = "recommendation"

config = Config(
    model=NeuMF(users=5551, items=16980, factors=64, width=32, hidden=(32, 16, 8)),
    data=Interactions(
        source=CiteULike(path="~/data/citeulike_a/users.dat"),
        split=Fraction(share=0.2),
        negatives=4,
        batch=4096,
        eval_batch=64,
    ),
    loss=Recommendation(objective="logistic"),
    optim=Adam(peak_lr=2e-3, warmup=20),
    place=PlacementSpec(),
    run=Run(steps=1000, eval_every=500, save_every=500, metric="eval/ndcg@20"),
)

ablations = {
    "gmf": ("--model.hidden",),
    "mlp": ("--model.factors", "0"),
}
