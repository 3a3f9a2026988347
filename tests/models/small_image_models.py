"""Small image models that tests share, and their variables."""

from functools import cache, partial

import jax

from jaxlm.models.cnn import CNN
from jaxlm.models.inception import Inception
from jaxlm.models.mlp import MLP
from jaxlm.models.resnet import ResNet
from jaxlm.models.vgg import VGG
from jaxlm.models.vit import ViT

CLASSES = 5
NARROW = {"classes": CLASSES, "width": 8, "zero_residual": False}
STAGES = ((8,), (8, 8))
MODELS = {
    "mlp": MLP(CLASSES, hidden=(16, 8)),
    "cnn": CNN(CLASSES, widths=(4, 8), hidden=16),
    "cnn group": CNN(CLASSES, widths=(4, 8), hidden=16, norm="group"),
    "cnn none": CNN(CLASSES, widths=(4, 8), hidden=16, norm="none"),
    "vgg": VGG(CLASSES, STAGES, hidden=16, dropout=0.0),
    "vgg small": VGG(CLASSES, ((12,), (12, 12)), norm="group", classifier="small", dropout=0.0),
    "vgg batch": VGG(CLASSES, STAGES, norm="batch", classifier="small", dropout=0.0),
    "resnet": ResNet(stages=(1, 1), **NARROW),
    "resnet bottleneck": ResNet(stages=(1, 1), block="bottleneck", stem="small", norm="group", **NARROW),
    "resnet pad": ResNet(stages=(1, 2), stem="small", shortcut="pad", **NARROW),
    "inception": Inception(CLASSES, width=1, grid_35=(2,), grid_17=(2,), grid_8=1, dropout=0.0),
    "vit": ViT(CLASSES, patch=4, depth=2, width=8, heads=2),
    "vit mean": ViT(CLASSES, patch=4, depth=2, width=8, heads=2, pool="mean", remat=True),
}


def images(model, batch=4, seed=1):
    size = 75 if isinstance(model, Inception) else 8
    return jax.random.normal(jax.random.key(seed), (batch, size, size, 3))


@cache
def make_variables(model):
    """As initialised, but statistics that evaluation cannot confuse with those of a batch."""
    variables = jax.jit(model.init)(jax.random.key(0), images(model, 1))
    stats = jax.tree.map(lambda x: x + 0.1, variables.get("batch_stats", {}))
    return {"params": variables["params"], **({"batch_stats": stats} if stats else {})}


@partial(jax.jit, static_argnames=("model", "train"))
def forward(model, variables, x, train=False, **inputs):
    mutable = ["batch_stats"] if train else False
    y = model.apply(variables, x, train=train, mutable=mutable, **inputs)
    return y[0] if train else y
