"""NeuMF on MovieLens-1M as He et al. 2017 trained it, without pre-training; for an accelerator.

    python scripts/prepare_tfds.py movielens/1m-ratings
    python experiments/recommendation.py configs/neumf_movielens.py

The last film of each user is held out. "sampled99/hr@10" and "sampled99/ndcg@10" are what the paper reports, 0.701 and
0.425 without pre-training; "eval/..." ranks all films.
"""

from jaxlm.data.interactions import Interactions, LeaveOneOut, TfdsInteractions
from jaxlm.losses import Recommendation
from jaxlm.models.neumf import NeuMF
from jaxlm.optim import Adam
from jaxlm.parallel import PlacementSpec
from jaxlm.train import Config, Run

experiment = "recommendation"

config = Config(
    model=NeuMF(users=6040, items=3706, factors=8, width=32, hidden=(32, 16, 8)),
    data=Interactions(source=TfdsInteractions(), split=LeaveOneOut(), negatives=4, batch=1024, eval_batch=128),
    loss=Recommendation(objective="logistic"),
    optim=Adam(peak_lr=1e-3),
    place=PlacementSpec(),
    run=Run(steps=20000, eval_every=2000, save_every=2000, metric="sampled99/ndcg@10"),
)
