"""A small convolutional network on MNIST with differential privacy: epsilon 3 at delta 1e-5.

    pip install 'jaxlm[privacy]'
    python experiments/image_classification.py configs/dp_mnist.py [--privacy.epsilon 1.2]

Data: TFDS mnist. Scores, cost, and what is private about it: docs/design/privacy.md.
"""

from jaxlm.data.images.sources import TfdsImages
from jaxlm.losses import Classification
from jaxlm.models.tanh_cnn import TanhCNN
from jaxlm.optim import SGD
from jaxlm.parallel import PlacementSpec
from jaxlm.privacy import Privacy
from jaxlm.train import Config, Run

experiment = "image_classification"

config = Config(
    model=TanhCNN(classes=10),
    data=TfdsImages(name="mnist", batch=2048, eval_batch=1000, mean=(0.1307,), std=(0.3081,)),
    loss=Classification(),
    optim=SGD(peak_lr=6.0, momentum=0.9, schedule="linear", final_fraction=0.2),
    place=PlacementSpec(),
    run=Run(
        steps=880,
        accumulate=32,
        ema=0.96,
        eval_every=220,
        save_every=220,
        log_every=110,
        metric="eval/accuracy",
        maximize=True,
    ),
    privacy=Privacy(epsilon=3.0, delta=1e-5, clip_norm=0.1),
)
