"""Print which models of jaxlm can be written as ONNX, with how many rows, and how near onnxruntime's outputs are.

    python scripts/onnx_table.py [NAME ...]

Each is made small, with random weights, and converted by `jaxlm.export.onnx`; a file that onnxruntime does not open, or
whose outputs differ by more than 1e-4, counts as none. Nothing of it is trained.
"""

import argparse
import logging
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tabulate import tabulate

from jaxlm.errors import BadInput
from jaxlm.export.onnx import MODEL, convert_to_onnx
from jaxlm.models.actor_critic import ActorCritic
from jaxlm.models.bert import BERT, MaskedLanguageModel
from jaxlm.models.clip import CLIP
from jaxlm.models.cnn import CNN
from jaxlm.models.conformer import Conformer
from jaxlm.models.dalle import DALLE
from jaxlm.models.dit import DiT
from jaxlm.models.dlrm import DLRM
from jaxlm.models.factorization import MatrixFactorization
from jaxlm.models.fcos import FCOS
from jaxlm.models.ft_transformer import FTTransformer
from jaxlm.models.gan import GAN
from jaxlm.models.gpt import GPT
from jaxlm.models.heads import Classifier, SpanClassifier, TokenClassifier
from jaxlm.models.inception import Inception
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

ROWS = 3
DRAW = np.random.default_rng(0)
PLAIN = BERT(vocab=20, depth=1, width=8, heads=2, context=8)
GPT_SMALL = GPT(vocab=20, depth=1, width=8, heads=2, context=8)
PICTURE = VQVAE(shape=(8, 8, 1), widths=(4,), book=8, code_width=4)


def drawn(*shape: int) -> np.ndarray:
    """Return random numbers, float32 [3, *shape]."""
    return DRAW.normal(size=(ROWS, *shape)).astype(np.float32)


def whole(*shape: int, below: int = 4) -> np.ndarray:
    """Return random integers, int32 [3, *shape]."""
    return DRAW.integers(0, below, (ROWS, *shape)).astype(np.int32)


def full(value: int, *shape: int) -> np.ndarray:
    """Return an integer everywhere, int32 [3, *shape]."""
    return np.full((ROWS, *shape), value, np.int32)


IMAGE, LARGE, GREY = [drawn(16, 16, 3)], [drawn(64, 64, 3)], drawn(8, 8, 1)
TEXT, PAIR, TABLE = [whole(8)], [whole(8), whole(6)], [drawn(3)]
CAPTION = [whole(3), full(1, 3)]
HEARD = [drawn(24, 8), full(24)]
TIMES = np.array([0.1, 0.5, 0.9], np.float32)
VOICE = [whole(4), full(4), full(1), drawn(12, 8), full(12), drawn(12, 8), TIMES]
LLAMA = GPT_SMALL.clone(norm="rms", activation="swiglu", positions="rotary", kv_heads=1, bias=False)

CASES: Mapping[str, tuple[Any, list[Any]]] = {
    "MLP": (MLP(classes=3, hidden=(8,)), IMAGE),
    "CNN": (CNN(classes=3, widths=(4, 8), hidden=8), IMAGE),
    "TanhCNN": (TanhCNN(classes=3), IMAGE),
    "VGG": (VGG(classes=3, stages=((4,), (8,)), classifier="small"), IMAGE),
    "ResNet (photo)": (ResNet(classes=3, stages=(1, 1), width=8), IMAGE),
    "ResNet (small)": (ResNet(classes=3, stages=(1, 1), width=8, stem="small"), IMAGE),
    "Inception": (Inception(classes=3, width=1, grid_35=(1,), grid_17=(1,), grid_8=1), [drawn(96, 96, 3)]),
    "ViT": (ViT(classes=3, patch=4, depth=1, width=8, heads=2), IMAGE),
    "FCOS": (FCOS(classes=2, widths=(4, 4, 8, 8), width=4, depth=1), LARGE),
    "GPT (GPT-2)": (GPT_SMALL, TEXT),
    "GPT (Llama)": (LLAMA, TEXT),
    "BERT": (PLAIN, TEXT),
    "MaskedLanguageModel": (MaskedLanguageModel(PLAIN), TEXT),
    "Classifier": (Classifier(PLAIN, classes=3), TEXT),
    "TokenClassifier": (TokenClassifier(PLAIN, classes=3), TEXT),
    "SpanClassifier": (SpanClassifier(PLAIN), TEXT),
    "LSTM": (Classifier(LSTM(vocab=20, width=8), classes=3, pool="mean"), TEXT),
    "LSTMTextToText": (LSTMTextToText(vocab=20, width=8), PAIR),
    "Transformer": (Transformer(vocab=20, depth=1, width=8, heads=2), PAIR),
    "T5": (T5(vocab=20, depth=1, width=8, heads=2, hidden=16), PAIR),
    "Whisper": (
        Whisper(vocab=20, depth=1, width=8, heads=2, bands=8, source_context=12, context=8),
        [drawn(24, 8), whole(6)],
    ),
    "SpeechToTokens (BiLSTM)": (SpeechToTokens(vocab=5, encoder=BiLSTM(1, 8), bands=8, channels=4), HEARD),
    "SpeechToTokens (Conformer)": (
        SpeechToTokens(vocab=5, encoder=Conformer(1, 8, heads=2, kernel=3), bands=8, channels=4),
        HEARD,
    ),
    "Matcha": (Matcha(vocab=7, speakers=2, bands=8, width=8, hidden=12, depth=1, decoder_depth=2, kernel=3), VOICE),
    "Vocos": (Vocos(bands=8, fft=16, width=8, hidden=12, depth=1, kernel=3), HEARD),
    "CLIP": (CLIP(PLAIN, widths=(4,), width=6), [GREY, *CAPTION]),
    "DiT": (DiT(PLAIN, patch=2, depth=1, width=8, heads=2), [GREY, TIMES, *CAPTION]),
    "UNet": (UNet(PLAIN, widths=(4, 8), heads=2), [GREY, TIMES, *CAPTION]),
    "GAN": (GAN(PLAIN, shape=(8, 8, 1), latent=4, widths=(8, 4)), [drawn(4), *CAPTION]),
    "VQVAE": (PICTURE, [GREY]),
    "DALLE": (
        DALLE(PICTURE, GPT(vocab=20 + 1 + 8, depth=1, width=8, heads=2, context=19)),
        [GREY, *CAPTION],
    ),
    "TableMLP": (TableMLP(FeatureTokens(), hidden=(8,)), TABLE),
    "TableResNet": (TableResNet(FeatureTokens(), depth=1, width=8, hidden=8), TABLE),
    "WideAndDeep": (WideAndDeep(FeatureTokens(), hidden=(8,)), TABLE),
    "DLRM": (DLRM(FeatureTokens(), bottom=(8,), hidden=(8,)), TABLE),
    "FTTransformer": (FTTransformer(FeatureTokens(), depth=1, heads=2), TABLE),
    "MatrixFactorization": (MatrixFactorization(users=4, items=5, width=4), [whole()]),
    "NeuMF": (NeuMF(users=4, items=5, factors=4, width=4, hidden=(8,)), [whole()]),
    "TwoTower": (TwoTower(items=5, width=4), [whole(), whole(3)]),
    "SASRec": (SASRec(items=5, context=4, depth=1, width=4), [whole(), whole(4)]),
    "ActorCritic": (ActorCritic(actions=2, hidden=(8,)), [drawn(4)]),
    "QNetwork": (QNetwork(actions=2, hidden=(8,)), [drawn(4)]),
    "SoftActorCritic": (SoftActorCritic(actions=2, hidden=(8,)), [drawn(4)]),
}
KEYWORDS = {"TwoTower": "seen", "SASRec": "seen"}  # the last array, by its name


def nudged(x: jax.Array) -> jax.Array:
    """Return a parameter plus random numbers, so that none is zero."""
    return x + 0.1 * DRAW.normal(size=x.shape).astype(x.dtype)


def row_of(name: str) -> list[str]:
    """Convert a model and return its row of the table: name, rows, difference, reason."""
    model, arrays = CASES[name]
    batch = {f"x{number}": x for number, x in enumerate(arrays)}

    def call(method: Any, *first: Any, given: Mapping[str, Any]) -> Any:
        values = [given[key] for key in sorted(given)]
        named = {KEYWORDS[name]: values.pop()} if name in KEYWORDS else {}
        return method(*first, *values, **named)

    try:
        variables = jax.jit(lambda: call(model.init, jax.random.key(0), given=batch))()
        variables["params"] = jax.tree.map(nudged, variables["params"])  # layers that begin with zeros, too

        def apply(given: Mapping[str, Any]) -> dict[str, Any]:
            leaves = jax.tree.leaves(call(model.apply, variables, given=given))
            return {f"y{number}": x for number, x in enumerate(leaves)}

        with tempfile.TemporaryDirectory() as folder:
            found = convert_to_onnx(Path(folder) / MODEL, apply, batch)
    except BadInput as error:
        return [name, "none", "", str(error).partition("(")[2].rpartition(")")[0]]
    return [name, "any" if found.rows is None else "fixed", f"{found.difference:.0e}", found.reason or ""]


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(CASES)} (default: all)")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    rows = []
    for name in options.names or CASES:
        rows.append(row_of(name))
        print(*rows[-1], sep=" | ", file=sys.stderr, flush=True)
    print(tabulate(rows, ["model", "rows", "difference", "why not any"], tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
