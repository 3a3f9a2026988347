"""A plain convolutional network for small images: digits at 8 x 8, MNIST at 28 x 28.

B batch, H height, W width, C channels, F features.
"""

from typing import Literal

import flax.linen as nn
import jax

from jaxlm.errors import BadInput
from jaxlm.nn.conv import Conv, max_pool
from jaxlm.nn.dropout import Dropout
from jaxlm.nn.image_norm import ImageNorm
from jaxlm.nn.linear import Dense
from jaxlm.nn.module import Module


class CNN(Module):
    """Classify small images with a convolutional network: [B, H, W, channels], normalised, to logits [B, classes].

    With the defaults it takes 4.8 million multiply-adds for a 28 x 28 image, and 18.7 million with widths (32, 64).

    Attributes:
        classes: number of classes.
        widths: channels of each stage. A stage is two 3x3 convolutions, each with its norm and a ReLU, then a 2x2
            max-pooling that halves height and width, rounded down.
        hidden: width of the layer before the last one.
        norm: see `ImageNorm`; with "none" the convolutions have a bias instead.
        dropout: rate before the last layer in training; it needs an rng named "dropout".
        axis_name: see `ImageNorm`.
        patches: see `Conv`.
    """

    classes: int
    widths: tuple[int, ...] = (16, 32)
    hidden: int = 128
    norm: Literal["batch", "group", "none"] = "batch"
    dropout: float = 0.0
    axis_name: str | None = None
    patches: bool = False

    hyperparameters = ("dropout",)

    @nn.compact
    def __call__(self, image_BHWC: jax.Array, *, train: bool = False) -> jax.Array:
        """Return the logits of each class.

        Raises:
            BadInput: images too small for the number of poolings.
        """
        least, (height, width) = 2 ** len(self.widths), image_BHWC.shape[1:3]
        if min(height, width) < least:
            raise BadInput(
                f"images of {height} x {width} are too small: model.widths {self.widths} need {least} x {least}"
            )
        x_BHWC = image_BHWC
        for stage, features in enumerate(self.widths):
            for number in (1, 2):
                name = f"stage_{stage}_{{}}_{number}"
                conv = Conv(features, bias=self.norm == "none", patches=self.patches, name=name.format("conv"))
                x_BHWC = conv(x_BHWC)
                if self.norm != "none":
                    x_BHWC = ImageNorm(self.norm, self.axis_name, name=name.format("norm"))(x_BHWC, train=train)
                x_BHWC = nn.relu(x_BHWC)
            x_BHWC = max_pool(x_BHWC, 2, 2)
        x_BF = x_BHWC.reshape(x_BHWC.shape[0], -1)
        x_BF = nn.relu(Dense(self.hidden, kernel_init=nn.initializers.he_normal(), name="hidden")(x_BF))
        x_BF = Dropout(self.dropout, deterministic=not train)(x_BF)
        return Dense(self.classes, name="head")(x_BF)
