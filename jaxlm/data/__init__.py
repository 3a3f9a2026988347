"""Data as random-access batches: specs for configs, and what they are made of. Importing this needs NumPy alone."""

from jaxlm.data.agents.episodes import Episodes
from jaxlm.data.arrays import Arrays, Examples
from jaxlm.data.draws import Draws, DrawsSpec
from jaxlm.data.loader import batches
from jaxlm.data.order import InOrder, Shuffled
from jaxlm.data.protocol import Batch, Data, DataSpec
from jaxlm.data.text.chat import Chat, Preferences
from jaxlm.data.text.masked import Masked
from jaxlm.data.text.packing import Packed
from jaxlm.data.text.specs import LanguageData, Text
from jaxlm.data.text.tfds import TfdsText
from jaxlm.data.tokenizers.specs import (
    BPE,
    Bytes,
    Characters,
    Pretrained,
    Symbols,
    Tokenizer,
    WordPiece,
    Words,
    load_tokenizer,
)

__all__ = [
    "BPE",
    "Arrays",
    "Batch",
    "Bytes",
    "Characters",
    "Chat",
    "Data",
    "DataSpec",
    "Draws",
    "DrawsSpec",
    "Episodes",
    "Examples",
    "InOrder",
    "LanguageData",
    "Masked",
    "Packed",
    "Preferences",
    "Pretrained",
    "Shuffled",
    "Symbols",
    "Text",
    "TfdsText",
    "Tokenizer",
    "WordPiece",
    "Words",
    "batches",
    "load_tokenizer",
]
