"""SASRec on MovieLens-1M (Kang and McAuley 2018), with the softmax over all films; for an accelerator.

    python scripts/prepare_tfds.py movielens/1m-ratings
    python experiments/recommendation.py configs/sasrec_movielens.py

The last film of each user is held out, and ranked among all that the user has not rated.
"""

from jaxlm.data.interactions import Interactions, LeaveOneOut, TfdsInteractions
from jaxlm.losses import NextItem
from jaxlm.models.sasrec import SASRec
from jaxlm.optim import Adam
from jaxlm.parallel import PlacementSpec
from jaxlm.train import Config, Run

experiment = "recommendation"

config = Config(
    model=SASRec(items=3706, context=200, depth=2, width=64, heads=1, dropout=0.2),
    data=Interactions(source=TfdsInteractions(), split=LeaveOneOut(), rows="users", batch=128),
    loss=NextItem(),
    optim=Adam(peak_lr=1e-3, b2=0.98, warmup=100),
    place=PlacementSpec(),
    run=Run(steps=10000, eval_every=1000, save_every=1000, metric="eval/ndcg@10"),
)
