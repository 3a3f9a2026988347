"""Train a byte-level BPE, whose tokens are the adjacent pieces that are most frequent (Sennrich et al. 2016)."""

from collections.abc import Iterable

from jaxlm.data.tokenizers.protocol import SEPARATOR, sentinel_name
from jaxlm.errors import BadInput


def train_byte_pairs(training: Iterable[str], size: int, sentinels: int = 0) -> str:
    """Return the JSON text of a byte-level BPE; the same text and size give the same one.

    Args:
        training: pieces of the text.
        size: number of ids at most, 256 bytes, the separator and the sentinels included.
        sentinels: special tokens that stand for spans of a text, as T5 has them: "<extra_id_0>" has the last id,
            "<extra_id_1>" the one before it.

    Raises:
        BadInput: `size` is below 257 without the sentinels, or their number negative.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    if sentinels < 0 or size < 257 + sentinels:
        raise BadInput(
            f"a vocabulary of {size} tokens, {sentinels} of them sentinels: give 0 sentinels or more, and beside them "
            "at least 257 tokens, for all bytes and the separator"
        )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size - sentinels,
        special_tokens=[SEPARATOR],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(training, trainer)
    names = map(sentinel_name, reversed(range(sentinels)))
    tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in names])
    return tokenizer.to_str()
