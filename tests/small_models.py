"""Models with random weights as an experiment's predictor has them, for tests that train nothing."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.data.tokenizers.specs import ByteTokenizer
from jaxlm.export.card import ModelFacts
from jaxlm.export.write import write_artefact
from jaxlm.losses import IMAGE
from jaxlm.models.gpt import GPT
from jaxlm.models.mlp import MLP
from jaxlm.predict.classes import ClassProbabilities
from jaxlm.predict.continuations import TokenizePrompts, language_writer
from jaxlm.predict.images import ReadImages
from jaxlm.predict.load import LoadedModel
from jaxlm.predict.predictor import Predictor, forward, in_evaluation, zeros
from jaxlm.steps import transforms


def image_classifier(seed=0):
    """A classifier of images of 4 x 4 grey pixels, whose evaluation has batches of 6."""
    model = MLP(classes=3, hidden=(8,))
    variables = model.init(jax.random.key(seed), np.zeros((1, 4, 4, 1), np.float32))
    example = zeros({"image": np.zeros((4, 4, 1), np.uint8)}, 6)
    logits = transforms.prepare(forward(model, IMAGE), lambda batch: {"image": batch["image"] / jnp.float32(255)})
    read, write = ReadImages((4, 4, 1)), ClassProbabilities(("a", "b", "c"))
    return LoadedModel(Predictor(read, in_evaluation(logits), write, (example,)), variables)


def images(count):
    """Arrays that the classifier reads, uint8 [4, 4, 1]."""
    return list(np.random.default_rng(0).integers(0, 256, (count, 4, 4, 1), np.uint8))


def text_model():
    """A language model of bytes with a context of 32."""
    model = GPT(vocab=256, depth=1, width=16, heads=2, context=32)
    variables = model.init(jax.random.key(0), np.zeros((1, 4), np.int32))
    return LoadedModel(language_writer(model, TokenizePrompts(tokenizer=ByteTokenizer(), context=32), ()), variables)


def write_models(home, **models):
    """Write models as artefacts with these names below a folder, and return it."""
    for name, model in models.items():
        (home / name).mkdir()
        write_artefact(home / name, model, ModelFacts(name, 1))
    return home
