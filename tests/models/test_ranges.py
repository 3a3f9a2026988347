"""Every number in the fields of every model has a range; what is outside is refused before anything is built."""

import dataclasses
import importlib
import pkgutil
import re

import jax.numpy as jnp
import numpy as np
import pytest

import jaxlm.models
from jaxlm.data.images.sources import Digits
from jaxlm.errors import BadInput
from jaxlm.losses import Classification
from jaxlm.models.actor_critic import ActorCritic
from jaxlm.models.adapted import Adapted
from jaxlm.models.bert import BERT, MaskedLanguageModel
from jaxlm.models.clip import CLIP
from jaxlm.models.cnn import CNN
from jaxlm.models.conformer import Conformer
from jaxlm.models.dalle import DALLE
from jaxlm.models.detr import DETR
from jaxlm.models.dit import DiT
from jaxlm.models.dlrm import DLRM
from jaxlm.models.factorization import MatrixFactorization
from jaxlm.models.fcos import FCOS
from jaxlm.models.ft_transformer import FTTransformer
from jaxlm.models.gan import GAN
from jaxlm.models.gpt import GPT
from jaxlm.models.heads import Classifier, SpanClassifier, TokenClassifier
from jaxlm.models.inception import Inception
from jaxlm.models.latent_diffusion import LatentDiffusion
from jaxlm.models.lstm import LSTM
from jaxlm.models.lstm_text_to_text import LSTMTextToText
from jaxlm.models.matcha import Matcha
from jaxlm.models.mlp import MLP
from jaxlm.models.neumf import NeuMF
from jaxlm.models.q_network import QNetwork
from jaxlm.models.resnet import ResNet
from jaxlm.models.sasrec import SASRec
from jaxlm.models.soft_actor_critic import SoftActorCritic
from jaxlm.models.speech_to_tokens import BiLSTM, SpeechToTokens
from jaxlm.models.t5 import T5
from jaxlm.models.table_mlp import TableMLP
from jaxlm.models.table_resnet import TableResNet
from jaxlm.models.tanh_cnn import TanhCNN
from jaxlm.models.transformer import Transformer
from jaxlm.models.two_tower import TwoTower
from jaxlm.models.unet import UNet
from jaxlm.models.vgg import VGG
from jaxlm.models.vit import ViT
from jaxlm.models.vocos import Vocos
from jaxlm.models.vq_vae import VQVAE
from jaxlm.models.whisper import Whisper
from jaxlm.models.wide_and_deep import WideAndDeep
from jaxlm.nn.feature_tokens import FeatureTokens
from jaxlm.nn.lora import LoRA
from jaxlm.nn.module import Module
from jaxlm.nn.position import RotaryScaling
from jaxlm.optim import SGD
from jaxlm.parallel import local
from jaxlm.train import Config
from jaxlm.train.compose import supervised

ENCODER = BERT(vocab=9, depth=1, width=4, heads=2)
MODELS = (
    ENCODER,
    MaskedLanguageModel(ENCODER),
    GPT(vocab=9, depth=1, width=4, heads=2, context=8),
    T5(vocab=9, depth=1, width=4, heads=2, hidden=8),
    Transformer(vocab=9, depth=1, width=4, heads=2, hidden=8),
    Whisper(vocab=9, depth=1, width=4, heads=2, bands=4, source_context=4, context=8),
    LSTM(vocab=9, width=4),
    LSTMTextToText(vocab=9, width=4),
    Classifier(ENCODER, classes=2),
    TokenClassifier(ENCODER, classes=2),
    SpanClassifier(ENCODER),
    MLP(classes=2),
    CNN(classes=2),
    VGG(classes=2, stages=((4,), (4, 4))),
    ResNet(classes=2, stages=(1, 1)),
    Inception(classes=2),
    ViT(classes=2, patch=2, depth=1, width=4, heads=2),
    BiLSTM(depth=1, width=4),
    Conformer(depth=1, width=4, heads=2),
    SpeechToTokens(vocab=9, encoder=BiLSTM(depth=1, width=4)),
    Matcha(vocab=9, speakers=2),
    Vocos(),
    MatrixFactorization(users=3, items=4),
    NeuMF(users=3, items=4),
    TwoTower(items=4, hidden=(3,), item_hidden=(3,)),
    SASRec(items=4),
    TableMLP(FeatureTokens()),
    TableResNet(FeatureTokens()),
    WideAndDeep(FeatureTokens()),
    DLRM(FeatureTokens()),
    FCOS(classes=2),
    DETR(classes=2),
    LatentDiffusion(VQVAE(), DiT(ENCODER, patch=1, depth=1, width=8, heads=2)),
    FTTransformer(FeatureTokens()),
    DiT(ENCODER, patch=2, depth=1, width=8, heads=2),
    UNet(ENCODER, widths=(4, 8)),
    GAN(ENCODER),
    VQVAE(),
    DALLE(VQVAE(), GPT(vocab=200, depth=1, width=4, heads=2, context=60)),
    CLIP(ENCODER),
    ActorCritic(actions=2),
    QNetwork(actions=2),
    SoftActorCritic(actions=2),
    TanhCNN(classes=2),
)
# Made by models alone:
LAYERS = {"Block", "MaskedHead", "Basic", "Bottleneck", "Attention", "Stack", "Inner", "TextToText", "ConformerBlock"}
LAYERS |= {"AttentionDecoder", "FixedPositions", "ConditionedBlock", "JudgeBlock", "Tower"}
LAYERS |= {"ResidualBlock", "ImageEncoder", "ImageDecoder", "AttendingBlock", "BoxHeads"}


def changed(value):
    """Values outside of the range of a field: a number in the place of each of its numbers."""
    if isinstance(value, tuple):
        return [(*value[:at], bad, *value[at + 1 :]) for at, item in enumerate(value) for bad in changed(item)]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return []
    return [-5] if isinstance(value, int) else [-0.1, np.inf, np.nan]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_a_number_outside_of_its_range_is_refused_in_one_line_that_names_it(model):
    model.validate()
    for field in dataclasses.fields(model):
        value = getattr(model, field.name)
        if value is None and "int" in str(field.type) and field.name != "image":
            value = 1  # an optional size
        bad = changed(value)
        if field.name == "dropout":
            bad += [1.0, 2.0]
        elif value.__class__ is int and field.name not in model.may_be_zero:
            bad += [0]
        for one in bad:
            with pytest.raises(BadInput, match=rf"^model.{field.name} is {re.escape(str(one))}: it must be [^\n]+$"):
                model.clone(**{field.name: one}).validate()
    assert changed(getattr(model, "widths", ())) == [(-5, 32), (16, -5)] or not isinstance(model, CNN)


def test_every_model_is_among_those_above():
    modules = [
        importlib.import_module(f"jaxlm.models.{found.name}") for found in pkgutil.iter_modules(jaxlm.models.__path__)
    ]
    classes = {
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Module) and value.__module__ == module.__name__
    }
    assert {value.__name__ for value in classes - {type(model) for model in MODELS}} <= LAYERS


@pytest.mark.parametrize("wrap", [lambda model: Classifier(model, classes=2), MaskedLanguageModel, Adapted])
def test_the_model_inside_of_another_is_checked_too(wrap):
    with pytest.raises(BadInput, match=r"^model.hidden is -5: it must be at least 1$"):
        wrap(ENCODER.clone(hidden=-5)).validate()


def test_adapters_and_positions_refuse_numbers_that_cannot_be():
    for fields in ({"rank": -1}, {"alpha": 0.0}, {"alpha": np.inf}):
        with pytest.raises(BadInput, match=f"^lora.{next(iter(fields))} is "):
            LoRA(**fields)
    for fields in ({"factor": 0.0}, {"low": 4.0}, {"original": 0}):
        with pytest.raises(BadInput, match=r"^RotaryScaling[^\n]+ cannot be: "):
            RotaryScaling(**fields)
    with pytest.raises(BadInput, match=r"^model.rotary_base is 0"):
        GPT(vocab=9, depth=1, width=4, heads=2, context=8, rotary_base=0.0).validate()


def test_a_traced_rate_is_not_checked():
    MLP(classes=2, dropout=jnp.float32(2)).validate()


@pytest.mark.parametrize(
    "model", [MLP(classes=10, dropout=2.0), CNN(classes=10, hidden=-5), CNN(classes=10, widths=(0,))]
)
def test_the_usual_composition_checks_the_model_first(model):
    config = Config(model, Digits(), SGD(), loss=Classification())
    with pytest.raises(BadInput, match=r"^model.(dropout|hidden|widths) is "):
        supervised(lambda config: config.loss(config.model), config, local())
