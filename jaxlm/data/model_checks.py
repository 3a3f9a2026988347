"""Whether data fit a model: as many classes, rows within its context, ids within its vocabulary."""

from collections.abc import Sequence
from typing import Any

from jaxlm.data.tokenizers.protocol import Tokenizer
from jaxlm.errors import BadInput


def check_classes(model: Any, names: Sequence[str]) -> None:
    """Raise BadInput unless a model has an output (`classes`) for each class of the data."""
    classes = read_size(model, "classes")
    if len(names) != classes:
        raise BadInput(
            f"the data has {len(names)} classes ({first_names(names)}) and the model {classes}: "
            f"set --model.classes {len(names)}"
        )


def check_tokens(model: Any, tokenizer: Tokenizer, length: int, option: str) -> None:
    """Raise BadInput unless a model, or its encoder, has a place and an embedding for each token of the longest row.

    Args:
        model: has `vocab`, the rows of its embedding, and `context` where its length is limited; or an `encoder` that
            has.
        tokenizer: gives the ids.
        length: tokens in the longest row.
        option: the setting that `length` comes from, such as "data.length".
    """
    encoder = getattr(model, "encoder", model)
    context, vocab = getattr(encoder, "context", None), read_size(encoder, "vocab")
    if context is not None and length > context:
        raise BadInput(
            f"rows of {length} tokens ({option}) are longer than the model's context of {context}: "
            "lower the one or raise the other"
        )
    if tokenizer.vocab > vocab:
        raise BadInput(
            f"the tokenizer has {tokenizer.vocab} tokens and the model's vocabulary {vocab}: "
            f"set it to {tokenizer.vocab} (or a multiple of 64 above), or take the tokenizer of the pretrained weights"
        )


def read_size(model: Any, name: str) -> int:
    """Return a field of a model.

    Raises:
        BadInput: the model has no such field, so that it is a model for other data.
    """
    try:
        return getattr(model, name)
    except AttributeError:
        raise BadInput(
            f"the model {type(model).__name__} has no `{name}`, which these data need: "
            "take a model and data of one task"
        ) from None


def first_names(names: Sequence[str]) -> str:
    """Return the first few names of classes, for a message."""
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
