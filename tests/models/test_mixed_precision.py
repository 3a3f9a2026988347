"""Training in bfloat16: every model's gradient is a sum in float32, so that micro-batches do not change it."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_gpts
import small_image_models

from jaxlm import models, steps
from jaxlm.losses import (
    TABLE,
    TEXT,
    Adversarial,
    Detection,
    FlowMatching,
    NextCode,
    SetPrediction,
    TextToMel,
    VectorQuantisation,
    classification,
    contrastive,
    ctc,
    dpo,
    flow_matching,
    next_item,
    next_token,
    recommendation,
)
from jaxlm.losses.flow_matching import in_latents
from jaxlm.models.actor_critic import ActorCritic
from jaxlm.models.adapted import Adapted
from jaxlm.models.bert import BERT, MaskedLanguageModel
from jaxlm.models.clip import CLIP
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
from jaxlm.models.heads import Classifier, TokenClassifier
from jaxlm.models.latent_diffusion import LatentDiffusion
from jaxlm.models.lstm import LSTM
from jaxlm.models.lstm_text_to_text import LSTMTextToText
from jaxlm.models.matcha import Matcha
from jaxlm.models.neumf import NeuMF
from jaxlm.models.q_network import QNetwork
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
from jaxlm.models.vocos import Vocos
from jaxlm.models.vq_vae import VQVAE
from jaxlm.models.whisper import Whisper
from jaxlm.models.wide_and_deep import WideAndDeep
from jaxlm.nn.feature_tokens import FeatureTokens
from jaxlm.nn.lora import LoRA
from jaxlm.steps import Mean
from jaxlm.steps.transforms import cast, lend
from low_precision_sums import find_half_sums

KEY = jax.random.key(0)
BATCH, LENGTH, CLASSES = 64, 12, 5
TOKENS = jax.random.randint(KEY, (BATCH, LENGTH), 0, 4)
TEXTS = {"tokens": TOKENS, "targets": TOKENS, "segments": jnp.ones_like(TOKENS)}
LABELS = {"label": jnp.zeros(BATCH, jnp.int32)}
ANSWERS = {name: x.reshape(-1, 2, LENGTH) for name, x in TEXTS.items()}
BERT_TINY = BERT(vocab=11, depth=1, width=8, heads=2, context=LENGTH)
ENCODERS = {"bert": BERT_TINY, "lstm": LSTM(vocab=11, width=8), "gpt": small_gpts.SMALL}


class Repeat:
    """An encoder-decoder that writes its source once more, with the interface of a language model."""

    def __init__(self, model):
        self.model = model

    def init(self, key, tokens):
        return self.model.init(key, tokens, tokens)

    def apply(self, variables, tokens, *, segments, **options):
        return self.model.apply(variables, tokens, tokens, segments=segments, target_segments=segments, **options)


class Hear(Repeat):
    """A model of sound that writes the tokens, with the interface of a language model."""

    def init(self, key, tokens):
        return self.model.init(key, SOUND, tokens)

    def apply(self, variables, tokens, *, segments, **options):
        sound = SOUND.astype(variables["params"]["embed"]["embedding"].dtype)
        return self.model.apply(variables, sound, tokens, target_segments=segments, **options)


SOUND = jax.random.normal(KEY, (BATCH, 8, 4))
SMALL_WHISPER = Whisper(vocab=11, depth=1, width=8, heads=2, bands=4, source_context=4, context=LENGTH)
SMALL_T5 = T5(vocab=11, depth=2, width=16, heads=2, hidden=24, head_width=6, buckets=8, reach=10)
SMALL_TRANSFORMER = Transformer(vocab=11, depth=2, width=16, heads=2)


def of_texts(model):
    return model, next_token(model), TEXTS


def of_labelled_texts(encoder, pool):
    model = Classifier(encoder.clone(), CLASSES, pool)
    return model, classification(model, inputs=TEXT), TEXTS | LABELS


def of_images(model):
    return model, classification(model), {"image": small_image_models.images(model, BATCH), **LABELS}


def of_speech(encoder):
    model, frames = SpeechToTokens(vocab=5, encoder=encoder, bands=8, channels=4), jnp.full(BATCH, 24)
    batch = {"features": jax.random.normal(KEY, (BATCH, 24, 8)), "frames": frames, "targets": TOKENS[:, :2]}
    batch |= {"target_lengths": jnp.full(BATCH, 2), "mask": jnp.ones(BATCH)}
    return model, ctc(model), batch


def of_voices():
    model = Matcha(vocab=11, speakers=2, bands=8, width=8, hidden=12, depth=1, decoder_depth=1, kernel=3)
    lengths, keys = jnp.full(BATCH, 4), jnp.zeros((BATCH, 2), jnp.uint32)
    batch = {"tokens": TOKENS[:, :4], "token_lengths": lengths, "speaker": jnp.zeros(BATCH, jnp.int32), "keys": keys}
    return model, TextToMel()(model), batch | FRAMES


def of_vocoder():
    model = Vocos(bands=8, fft=16, width=8, hidden=12, depth=1, kernel=3)

    def loss(params, variables, batch, key, *, train):
        spectra = model.apply({"params": params, **variables}, batch["mel"], batch["frames"], train=train)
        return {"loss": Mean(jnp.square(jnp.abs(spectra)).sum(), jnp.float32(BATCH))}, variables

    return model, loss, FRAMES


def of_tables(kind, numbers="piecewise", **fields):
    model = kind(FeatureTokens(vocab=9, width=8, size=3, kind=numbers), CLASSES, **fields)
    batch = {"numbers": jax.random.normal(KEY, (BATCH, 3)), "categories": TOKENS[:, :2]}
    return model, classification(model, inputs=TABLE), batch | LABELS


def of_interactions(model, objective="logistic"):
    batch = {"user": TOKENS[:, 0], "positives": TOKENS[:, :2], "negatives": TOKENS[:, 2:4], "seen": TOKENS[:, 4:8]}
    loss = next_item(model) if isinstance(model, SASRec) else recommendation(model, objective)
    return model, loss, batch


def of_captions(model):
    batch = {"image": jax.random.normal(KEY, (BATCH, 4, 4, 1)), "tokens": TOKENS[:, :3]}
    batch |= {"segments": jnp.ones((BATCH, 3), jnp.int32), "keys": jnp.zeros((BATCH, 2), jnp.uint32)}
    return model, flow_matching(model, FlowMatching()), batch


def of_boxes(model, spec):
    batch = {"image": jax.random.normal(KEY, (BATCH, 32, 32, 3)), "classes": jnp.zeros((BATCH, 1), jnp.int32)}
    return model, spec(model), batch | {"boxes": jnp.tile(jnp.array([[[2.0, 3, 28, 29]]]), (BATCH, 1, 1))}


class OneNet:
    """One of the two nets of a GAN."""

    def __init__(self, model, method):
        self.model, self.method = model, method

    def init(self, key, image, times, *caption):
        first = image if self.method == "judge" else jnp.zeros((len(image), self.model.latent))
        return self.model.init(key, first, *caption, method=self.method)


def of_two_nets(method, residual):
    model = GAN(BERT_TINY, shape=(4, 4, 1), latent=3, widths=(8, 4), residual=residual)
    batch = of_captions(None)[2]
    other = "make" if method == "judge" else "judge"
    drawn = jax.eval_shape(OneNet(model, other).init, KEY, batch["image"], None, batch["tokens"], batch["segments"])
    lent = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), drawn["params"])
    game = Adversarial(spectral=residual, penalty="gradient" if residual else "r1")
    loss = game.judging(model) if method == "judge" else game.making(model)
    return OneNet(model, method), lend(loss, {"make": "maker"}.get(other, other), lambda _: lent), batch


class Pairs:
    """A model of images and captions, which are a part of what models of paths are initialised with."""

    def __init__(self, model):
        self.model = model

    def init(self, key, image, times, *caption):
        return self.model.init(key, image, *caption)


class InLatents(Pairs):
    """A model of latents, which it is initialised with in the place of images."""

    def init(self, key, image, *times_and_caption):
        return self.model.init(key, jnp.zeros((len(image), *self.model.latent_shape)), *times_and_caption)


def of_latents(model):
    return InLatents(model), in_latents(flow_matching(model, FlowMatching()), model), of_captions(None)[2]


class Acting:
    """A net of an agent, by one of its methods."""

    def __init__(self, model, method="__call__", *actions):
        self.model, self.method, self.actions = model, method, actions

    def init(self, key, observation):
        return self.model.init(key, observation, *self.actions, method=self.method)

    def loss(self, params, variables, batch, key, *, train):
        given = (batch["observation"], *self.actions)
        found = self.model.apply({"params": params, **variables}, *given, method=self.method)
        total = sum(jnp.square(x.astype(jnp.float32)).sum() for x in jax.tree.leaves(found))
        return {"loss": Mean(total, jnp.float32(BATCH))}, variables


def of_agents(*parts):
    acting = Acting(*parts)
    return acting, acting.loss, {"observation": jax.random.normal(KEY, (BATCH, 6))}


IMAGES = {"image": jax.random.normal(KEY, (BATCH, 14, 14, 1))}
SMALL_VQVAE, SMALL_TANH = VQVAE(shape=(4, 4, 1), widths=(4,), book=8, code_width=4), TanhCNN(CLASSES, (3, 4), 5)
SMALL_DALLE = DALLE(SMALL_VQVAE, GPT(vocab=20, depth=1, width=8, heads=2, context=6))
SMALL_DETR = DETR(classes=2, queries=2, widths=(4,), width=8, heads=2, encoder_depth=1, decoder_depth=1)
SMALL_CLIP = CLIP(BERT_TINY, widths=(4,), width=6)
FRAMES = {"mel": jax.random.normal(KEY, (BATCH, 24, 8)), "frames": jnp.full(BATCH, 24), "mask": jnp.ones(BATCH)}
ADAPTED = Adapted(small_gpts.SMALL, LoRA(rank=2, dora=True, full="embed|bias|scale"), bits=8)
CASES = {
    **{f"gpt {name}": of_texts(model) for name, model in small_gpts.VARIANTS.items()},
    "gpt of many tokens": of_texts(GPT(vocab=3000, depth=1, width=16, heads=2, context=LENGTH)),
    "adapted gpt": of_texts(ADAPTED),
    "preferences": (ADAPTED, dpo(ADAPTED), ANSWERS | {"mask": jnp.ones(ANSWERS["tokens"].shape)}),
    "masked language model": of_texts(MaskedLanguageModel(BERT_TINY)),
    "tagger": of_texts(TokenClassifier(BERT_TINY.clone(), 4)),
    "t5": of_texts(Repeat(SMALL_T5)),
    "t5 1.1": of_texts(Repeat(SMALL_T5.clone(activation="geglu", tied=False))),
    "whisper": of_texts(Hear(SMALL_WHISPER)),
    "transformer": of_texts(Repeat(SMALL_TRANSFORMER)),
    "transformer post-norm": of_texts(Repeat(SMALL_TRANSFORMER.clone(pre_norm=False))),
    "lstm text to text": of_texts(Repeat(LSTMTextToText(vocab=11, width=8, depth=2))),
    **{f"{name} mean": of_labelled_texts(encoder, "mean") for name, encoder in ENCODERS.items()},
    **{f"lstm {pool}": of_labelled_texts(ENCODERS["lstm"], pool) for pool in ("first", "max", "last")},
    "bert pooler": of_labelled_texts(BERT_TINY, "pooler"),
    "speech lstm": of_speech(BiLSTM(depth=1, width=8)),
    "speech conformer": of_speech(Conformer(depth=1, width=8, heads=2, kernel=3)),
    "voices": of_voices(),
    "vocoder": of_vocoder(),
    "table mlp": of_tables(TableMLP, hidden=(6,)),
    "wide and deep": of_tables(WideAndDeep, hidden=(6,)),
    "dlrm": of_tables(DLRM, bottom=(5,), hidden=(6,)),
    "table mlp periodic": of_tables(TableMLP, "periodic", hidden=(6,)),
    "table mlp linear": of_tables(TableMLP, "linear", hidden=(6,)),
    "table resnet": of_tables(TableResNet, depth=1, width=8, hidden=6),
    "table transformer": of_tables(FTTransformer, depth=1, heads=2),
    "factorization": of_interactions(MatrixFactorization(users=4, items=7, width=4)),
    "factorization, all items": of_interactions(MatrixFactorization(users=4, items=7, width=4), "softmax"),
    "neumf": of_interactions(NeuMF(users=4, items=7, factors=3, width=4, hidden=(6,))),
    "two towers": of_interactions(TwoTower(items=7, width=4, hidden=(5,), item_hidden=(6,)), "softmax"),
    "sasrec": of_interactions(SASRec(items=7, context=3, depth=1, width=4)),
    "dit": of_captions(DiT(BERT_TINY, patch=2, depth=1, width=8, heads=2)),
    "unet": of_captions(UNet(BERT_TINY, widths=(4, 8), heads=2)),
    "fcos": of_boxes(FCOS(classes=2, widths=(4, 4, 4, 4), width=4, depth=1), Detection()),
    "detr": of_boxes(SMALL_DETR, SetPrediction()),
    "latents": of_latents(LatentDiffusion(SMALL_VQVAE, DiT(BERT_TINY, patch=1, depth=1, width=8, heads=2))),
    "vq vae": (SMALL_VQVAE, VectorQuantisation()(SMALL_VQVAE), {"image": IMAGES["image"][:, :4, :4]}),
    "dalle": (Pairs(SMALL_DALLE), NextCode()(SMALL_DALLE), of_captions(None)[2]),
    "clip": (Pairs(SMALL_CLIP), contrastive(SMALL_CLIP), of_captions(None)[2]),
    "tanh cnn": (SMALL_TANH, classification(SMALL_TANH), IMAGES | LABELS),
    "actor critic": of_agents(ActorCritic(actions=2, hidden=(5,))),
    "q network": of_agents(QNetwork(actions=2, hidden=(5, 5), duelling=True)),
    "soft actor": of_agents(SoftActorCritic(actions=2, hidden=(5,))),
    "soft critic": of_agents(SoftActorCritic(actions=2, hidden=(5,)), "judge", jnp.zeros((BATCH, 2))),
    **{
        f"{method} {'residual' * residual}": of_two_nets(method, residual)
        for method in ("make", "judge")
        for residual in (False, True)
    },
    **{name: of_images(model) for name, model in small_image_models.MODELS.items()},
}


def inputs_of(batch):
    """The arguments that a model is initialised with."""
    if "speaker" in batch:
        text = [batch[name] for name in ("tokens", "token_lengths", "speaker")]
        return (*text, batch["mel"], batch["frames"], batch["mel"], jnp.zeros(BATCH))
    if "numbers" in batch:
        return batch["numbers"], batch["categories"]
    if "positives" in batch:
        return jnp.zeros(1, jnp.int32), jnp.zeros((1, 1), jnp.int32)
    if "keys" in batch:
        return batch["image"], jnp.zeros(BATCH), batch["tokens"], batch["segments"]
    if "observation" in batch:
        return (batch["observation"],)
    of_sound = next((name for name in ("features", "mel") if name in batch), None)
    return (batch[of_sound], batch["frames"]) if of_sound else (batch.get("image", TOKENS),)


def floats_of(batch):
    """The inputs that are cast."""
    return tuple(name for name in ("image", "features", "mel", "numbers", "observation") if name in batch)


def half(x):
    return x.astype(jnp.bfloat16).astype(jnp.float32) if x.dtype == jnp.float32 else x


@pytest.mark.parametrize("name", CASES)
def test_no_sum_of_many_terms_is_in_half_precision(name):
    model, loss, batch = CASES[name]
    grad = steps.grad(cast(loss, jnp.bfloat16, inputs=floats_of(batch)))
    variables = dict(jax.eval_shape(model.init, KEY, *inputs_of(batch)))
    assert find_half_sums(grad, variables.pop("params"), variables, batch, KEY) == []


def test_every_architecture_is_among_the_cases():
    parts = [getattr(model, "model", model) for model, _, _ in CASES.values()]
    parts += [model.encoder for model in parts if hasattr(model, "encoder")]
    files = {path.stem for path in Path(models.__file__).parent.glob("*.py") if not path.stem.endswith("_shapes")}
    shared = {"__init__", "block", "encoder_decoder", "encoder_decoder_layers"}
    assert files - shared == {type(part).__module__.rpartition(".")[2] for part in parts}


@pytest.mark.parametrize("name", CASES)
def test_variables_are_in_single_precision_with_64_bits_enabled_too(name):
    """So that a checkpoint of one setting is one of the other."""
    model, _, batch = CASES[name]
    plain = jax.eval_shape(model.init, KEY, *inputs_of(batch))
    with jax.enable_x64(True):
        assert jax.eval_shape(model.init, KEY, *inputs_of(batch)) == plain


FEW = ("cnn none", "gpt of many tokens", "lstm mean")
MORE = ("gpt gpt2", "gpt scan llama", "masked language model", "t5", "mlp", "cnn group", "vit mean", "vgg")


@pytest.mark.skipif(
    jax.__version_info__ >= (0, 11),
    reason="on a CPU jax 0.12 rounds partial sums of bfloat16 products, so other micro-batches round otherwise",
)
@pytest.mark.parametrize("name", [*FEW, *(pytest.param(name, marks=pytest.mark.slow) for name in MORE)])
def test_micro_batches_change_a_gradient_by_the_rounding_of_its_result(name):
    """The terms are the same bits in any micro-batch, so only their sum can differ; in float32 the terms differ too."""
    model, loss, batch = CASES[name]
    variables = jax.tree.map(half, dict(jax.jit(model.init)(KEY, *inputs_of(batch))))
    params, batch = variables.pop("params"), jax.tree.map(half, batch)
    grad = steps.grad(cast(loss, jnp.bfloat16, inputs=floats_of(batch)))

    def compute(grad):
        return jax.jit(grad)(params, variables, batch, KEY)[0]

    whole, full = compute(grad), compute(steps.grad(loss))
    for micro_batches in (8, 32):
        assert_near(compute(steps.accumulate(grad, micro_batches)), whole, 2**-7)
    assert_near(whole, full, 2**-4)  # a ReLU or a maximum may decide otherwise


def assert_near(actual, expected, tolerance):
    """Every leaf within a tolerance of its norm, and of a hundredth of the largest leaf's."""
    norms = jax.tree.map(lambda x: np.linalg.norm(np.asarray(x, np.float64)), expected)
    least = max(jax.tree.leaves(norms)) / 100
    for (path, a), b, norm in zip(
        jax.tree_util.tree_leaves_with_path(actual), jax.tree.leaves(expected), jax.tree.leaves(norms), strict=True
    ):
        assert np.linalg.norm(np.asarray(a - b, np.float64)) <= tolerance * (norm + least), jax.tree_util.keystr(path)
