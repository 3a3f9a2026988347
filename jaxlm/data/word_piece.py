"""Training a WordPiece vocabulary: pairs of pieces that often stand together become one, as in BERT's tokenizer."""

from collections.abc import Iterable

from jaxlm.data.tokenizer_files import word_piece
from jaxlm.data.tokenizer_library import PretrainedTokenizer
from jaxlm.data.tokenizer_protocol import Special
from jaxlm.errors import BadInput

NAMES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]  # ids 0 to 4
SPECIAL = Special(pad=0, unk=1, cls=2, sep=3, mask=4)


def train_word_piece(training: Iterable[str], size: int, lower: bool) -> PretrainedTokenizer:
    """Return the tokenizer of a text (Schuster & Nakajima 2012; Devlin et al. 2019), the same for the same text.

    The single characters are given to the library in a fixed order, in the place of special tokens: left alone it
    orders them by chance, and with them the pairs that are equally frequent.

    Raises:
        BadInput: fewer ids than special tokens and single characters, or a text without a word.
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
        raise BadInput("there is no word in the text: give more of it")
    if size < len(fixed):
        raise BadInput(f"tokenizer.size is {size}: this text has {len(fixed)} special and single characters alone")
    trainer = trainers.WordPieceTrainer(vocab_size=size, special_tokens=fixed, show_progress=False)
    inner.train_from_iterator(texts, trainer)
    ids = inner.get_vocab()
    return PretrainedTokenizer(word_piece(sorted(ids, key=ids.__getitem__), lower), SPECIAL)
