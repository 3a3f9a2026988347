"""SASRec on a file of interactions with times, on a CPU: what a user will meet next.

    python experiments/recommendation.py configs/sasrec_file.py --data.source.path INTERACTIONS.csv --model.items COUNT

The file has the columns user, item and time (`--data.source.time` and its like name others). The last item of each user
is held out. A wrong COUNT is an error that names the right one.
"""

from jaxlm.data.interactions import InteractionFile, Interactions, LeaveOneOut
from jaxlm.losses import NextItem
from jaxlm.models.sasrec import SASRec
from jaxlm.optim import Adam
from jaxlm.parallel import PlacementSpec
from jaxlm.train import Config, Run

experiment = "recommendation"

config = Config(
    model=SASRec(items=1000, context=50, depth=2, width=64, heads=1, dropout=0.2),
    data=Interactions(
        source=InteractionFile(path="interactions.csv", time="time"),
        split=LeaveOneOut(),
        rows="users",
        batch=64,
        sampled=0,
    ),
    loss=NextItem(),
    optim=Adam(peak_lr=1e-3, b2=0.98, warmup=20),
    place=PlacementSpec(),
    run=Run(steps=1000, eval_every=100, save_every=100, metric="eval/ndcg@10"),
)
