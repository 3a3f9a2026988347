"""Matrix factorisation recommends articles to the users of CiteULike-a, on a CPU.

    python experiments/recommendation.py configs/mf_citeulike.py --data.source.path CITEULIKE/users.dat

A fifth of the articles of each user is held out. Figures are in docs/design/recommenders.md.
"""

from jaxlm.data.interactions import CiteULike, Fraction, Interactions
from jaxlm.losses import Recommendation
from jaxlm.models.factorization import MatrixFactorization
from jaxlm.optim import Adam
from jaxlm.parallel import PlacementSpec
from jaxlm.train import Config, Run

experiment = "recommendation"

config = Config(
    model=MatrixFactorization(users=5551, items=16980, width=128, dropout=0.5),
    data=Interactions(
        source=CiteULike(path="~/data/citeulike_a/users.dat"),
        split=Fraction(share=0.2),
        rows="users",
        batch=512,
        eval_batch=256,
    ),
    loss=Recommendation(objective="softmax"),
    optim=Adam(peak_lr=1e-2, warmup=20, l2=1e-6),
    place=PlacementSpec(),
    run=Run(steps=300, eval_every=100, save_every=100, metric="eval/ndcg@20"),
)

ablations = {
    "squared": "--loss.objective squared --loss.unobserved 0.005".split(),
    "bpr": "--data.rows pairs --data.batch 4096 --data.negatives 1 --loss.objective bpr --run.steps 4000".split(),
    "logistic": "--data.rows pairs --data.batch 4096 --loss.objective logistic --run.steps 4000".split(),
}
