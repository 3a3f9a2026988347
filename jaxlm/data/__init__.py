"""Sources of data as random-access batches; importing this imports NumPy and nothing heavier."""

from jaxlm.data.arrays import Arrays, Examples
from jaxlm.data.chat import Chat, Preferences
from jaxlm.data.loader import batches
from jaxlm.data.masking import Masked
from jaxlm.data.order import InOrder, Shuffled
from jaxlm.data.packing import Packed
from jaxlm.data.protocol import Batch, Data
from jaxlm.data.text import LanguageData, Text
from jaxlm.data.tfds_text import TfdsText
from jaxlm.data.tokenizers import BPE, Bytes, Characters, Pretrained, Tokenizer, WordPiece, Words, load_tokenizer

__all__ = [
    "BPE",
    "Arrays",
    "Batch",
    "Bytes",
    "Characters",
    "Chat",
    "Data",
    "Examples",
    "InOrder",
    "LanguageData",
    "Masked",
    "Packed",
    "Preferences",
    "Pretrained",
    "Shuffled",
    "Text",
    "TfdsText",
    "Tokenizer",
    "WordPiece",
    "Words",
    "batches",
    "load_tokenizer",
]
