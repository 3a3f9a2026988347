"""Token classification data, such as named entities: what all specs share. They are in `tag_sources`.

B batch, T tokens in a row. Batches have "tokens" and "segments" int32 [B, T] (segments are 1, or 0 on padding), and
"targets" int32 and "mask" float32 [B, T]: the target of a word is at its first token, where the mask is 1.
"""

import dataclasses
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from jaxlm.data.labelled_text.rows import Loaded, Part, TokenRows, to_pieces
from jaxlm.data.labelled_text.tags import Entity, Scheme, entities, tag_names, to_tags
from jaxlm.data.ragged import check_widths, ragged
from jaxlm.data.tokenizers.specs import AnyTokenizer
from jaxlm.errors import BadInput


@dataclass(frozen=True, eq=False)
class Sentence:
    """A sentence with tags.

    Attributes:
        words: of the sentence.
        tags: one for each word.
        where: position of a word -> its place for a message, such as a file and a line.
    """

    words: Sequence[str]
    tags: Sequence[str]
    where: Callable[[int], str]


@dataclass(frozen=True, kw_only=True)
class Tagged(TokenRows):
    """Spec: sentences whose words have tags.

    A word whose first token is cut off is not predicted; such words are counted in `log_lines`.

    Attributes:
        given: the tagging scheme of the data, see `jaxlm.data.labelled_text.tags`.
        scheme: the tagging scheme that a model learns.
        types: the types of entities; entities of other types are outside, and are counted. Empty: all types that occur
            in the training data.
    """

    types: tuple[str, ...] = ()
    given: Scheme = "BIO"
    scheme: Literal["BIO", "BIOES"] = "BIO"

    def load(self) -> tuple[Sequence[Sentence], Sequence[Sentence]]:
        """Return the sentences for training and for evaluation."""
        raise NotImplementedError

    def throughput(self) -> tuple[int, str]:
        """Return what one training batch counts as."""
        return self.batch, "sentences"

    def loaded(self) -> Loaded:
        """Return both splits, tokenised once a process.

        Raises:
            BadInput: the sentences cannot be read, or a tag is not valid at its position.
        """
        check_widths(self.widths)
        return _load(dataclasses.replace(self, batch=1, eval_batch=None, widths=self.widths[-1:]), self.signature())


@lru_cache(maxsize=4)
def _load(spec: Tagged, signature: Hashable) -> Loaded:
    """Return the sentences of a spec, tokenised once a process."""
    del signature
    splits = spec.load()
    found = [[read_entities(sentence, spec.given) for sentence in split] for split in splits]
    types = sorted(spec.types or {kind for sentence in found[0] for kind, *_ in sentence})
    if not any(entity[0] in types for sentence in found[0] for entity in sentence):
        raise BadInput(
            f"{splits[0][0].where(0)}: no word of the training data is in an entity: check columns and types"
        )
    for sentence, marked in zip(splits[1], found[1], strict=True):
        if not spec.types and (unknown := [entity for entity in marked if entity[0] not in types]):
            raise BadInput(
                f"{sentence.where(unknown[0][1])}: the type {unknown[0][0]!r} does not occur in the training data "
                f"({', '.join(types)}): correct it"
            )
    names = tag_names(types, spec.scheme)
    tokenizer = spec.tokenizer.build(" ".join(sentence.words) for sentence in splits[0])
    train, evaluation = (encode_sentences(spec, tokenizer, names, *both) for both in zip(splits, found, strict=True))
    return Loaded(train, evaluation, names, tokenizer)


def read_entities(sentence: Sentence, scheme: Scheme) -> list[Entity]:
    """Return the entities of a sentence.

    Raises:
        BadInput: a tag is not valid at its position; names its place.
    """
    try:
        return entities(sentence.tags, scheme)
    except ValueError as error:
        place, reason = error.args
        where = sentence.where(min(place, len(sentence.tags) - 1))
        raise BadInput(f"{where}: {reason}: correct it, or set --data.given to the scheme of the file") from None


def encode_sentences(
    spec: Tagged,
    tokenizer: AnyTokenizer,
    names: tuple[str, ...],
    sentences: Sequence[Sentence],
    found: Sequence[Sequence[Entity]],
) -> Part:
    """Encode sentences as rows of at most the largest width; a word without tokens becomes the unknown token.

    Args:
        spec: read are `widths` and `scheme`.
        tokenizer: encodes the words and the frame of a sentence.
        names: of the tags.
        sentences: the sentences.
        found: their entities.

    Raises:
        BadInput: the largest width leaves no room for words.
    """
    frame, numbers = tokenizer.frame(), {name: number for number, name in enumerate(names)}
    space = spec.widths[-1] - len(frame)
    if space < 1:
        raise BadInput(f"data.widths reach {spec.widths[-1]}, which special tokens fill: raise the last one")
    rows: dict[str, list[np.ndarray]] = {"tokens": [], "targets": [], "mask": []}
    words, lost, unknown, marks, others = 0, 0, 0, 0, 0
    pieces = to_pieces(tokenizer, [one.words for one in sentences], lambda number, word: sentences[number].where(word))
    for sentence, marked, (ids, owners, bare) in zip(sentences, found, pieces, strict=True):
        length = len(sentence.words)
        known = [entity for entity in marked if f"B-{entity[0]}" in numbers]
        tags = np.array([numbers[tag] for tag in to_tags(known, length, spec.scheme)], np.int32)
        first = np.diff(owners, prepend=-1) > 0
        ends = len(frame.before), len(frame.after)
        kept = slice(None, space)
        rows["tokens"].append(np.concatenate([frame.before, ids[kept], frame.after]).astype(np.int32))
        rows["targets"].append(np.pad(np.where(first, tags[owners], 0)[kept], ends).astype(np.int32))
        rows["mask"].append(np.pad(first[kept], ends).astype(np.float32))
        words, lost, unknown = words + length, lost + int(first[space:].sum()), unknown + bare
        marks, others = marks + len(known), others + len(marked) - len(known)
    counts = {
        "sentences": len(sentences),
        "words": words,
        "entities": marks,
        "entities of other types": others,
        "tokens": sum(map(len, rows["tokens"])),
        f"words past {spec.widths[-1]} tokens cut off": lost,
        "words without a piece": unknown,
    }
    return Part(ragged(rows, {}), counts)
