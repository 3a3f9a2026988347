"""Matrix factorisation recommends articles to the users of CiteULike-a, on a CPU.

python experiments/recommendation.py configs/mf_citeulike.py --data.source.path CITEULIKE/users.dat
"""

from jaxlm.data.interactions import CiteULike, Fraction, Interactions
from jaxlm.losses import Recommendation
from jaxlm.models.factorization import MatrixFactorization
from jaxlm.optim import Adam
from jaxlm.parallel import PlacementSpec
from jaxlm.train import Config, Run

experiment = "recommendation"

config = Config(
    model=MatrixFactorization(users=5551, items=16980, width=64),
    data=Interactions(
        source=CiteULike(path="~/data/citeulike_a/users.dat"),
        split=Fraction(share=0.2),
        rows="users",
        batch=256,
    ),
    loss=Recommendation(objective="softmax"),
    optim=Adam(peak_lr=1e-2, warmup=20),
    place=PlacementSpec(),
    run=Run(steps=400, eval_every=100, save_every=400, metric="eval/ndcg@20"),
)
