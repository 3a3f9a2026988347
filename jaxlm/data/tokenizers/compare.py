"""Compare the vocabularies of two tokenizers."""

from jaxlm.data.tokenizers.protocol import Tokenizer


def vocabulary_difference(one: Tokenizer, other: Tokenizer) -> str | None:
    """Say where two vocabularies differ, or return None where every id that both have is the same piece of text.

    Weights of an embedding belong to a vocabulary, so they can be taken over where this is None, even if the two
    tokenizers split a text in other ways, or one has tokens more at its end.

    Returns:
        The end of a sentence about the first id that differs, such as "token 5 is 'the' there and 'and' here".
    """
    for index in range(min(one.vocab, other.vocab)):
        there, here = one.decode([index]), other.decode([index])
        if there != here:
            return f"token {index} is {there!r} there and {here!r} here"
    return None
