"""Train a WordPiece vocabulary, as BERT has: pieces that are often adjacent are merged into one."""

from collections.abc import Iterable

from jaxlm.data.tokenizers.convert import word_piece
from jaxlm.data.tokenizers.library import PretrainedTokenizer
from jaxlm.data.tokenizers.protocol import Special
from jaxlm.errors import BadInput

NAMES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]  # ids 0 to 4
SPECIAL = Special(pad=0, unk=1, cls=2, sep=3, mask=4)


def train_word_piece(training: Iterable[str], size: int, lower: bool) -> PretrainedTokenizer:
    """Train a WordPiece tokenizer (Schuster & Nakajima 2012; Devlin et al. 2019); the same text gives the same one.

    The single characters are given to the library in a fixed order, as if they were special tokens. Otherwise it
    orders them at random, and with them the pairs that are equally frequent.

    Args:
        training: pieces of the text.
        size: number of ids.
        lower: whether texts are lower-cased.

    Raises:
        BadInput: `size` is smaller than the number of special tokens and characters, or the text has no word.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    texts = list(training)
    inner = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    inner.normalizer = normalizers.BertNormalizer(lowercase=lower)
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    seen: set[str] = set().union(*(inner.normalizer.normalize_str(text) for text in texts))
    letters = sorted(letter for letter in seen if not letter.isspace())
    inside = ["##" + letter for letter in letters if len(inner.pre_tokenizer.pre_tokenize_str("a" + letter)) == 1]
    fixed = [*NAMES, *letters, *inside]
    if not letters:
        raise BadInput("the text has no word: give more text")
    if size < len(fixed):
        raise BadInput(f"tokenizer.size is {size}: this text has {len(fixed)} special and single characters alone")
    trainer = trainers.WordPieceTrainer(vocab_size=size, special_tokens=fixed, show_progress=False)
    inner.train_from_iterator(texts, trainer)
    ids = inner.get_vocab()
    return PretrainedTokenizer(word_piece(sorted(ids, key=ids.__getitem__), lower), SPECIAL)
