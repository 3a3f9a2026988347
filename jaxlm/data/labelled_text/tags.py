"""Tags of words that mark entities: three tagging schemes, and conversion between them.

IOB1    I- inside of an entity, B- only where it directly follows another one of its type (the files of CoNLL-2003)
BIO     B- at the first word of an entity, I- at the others (IOB2)
BIOES   as BIO, with E- at the last word, and S- on an entity of one word (Ratinov and Roth 2009)

An entity is (type, first word, one past its last word).
"""

from collections.abc import Iterable, Sequence
from typing import Literal

Scheme = Literal["IOB1", "BIO", "BIOES"]
Entity = tuple[str, int, int]
_OUTSIDE = "O"
PREFIXES = {"IOB1": "BI", "BIO": "BI", "BIOES": "BIES"}


def tag_names(types: Iterable[str], scheme: Scheme) -> tuple[str, ...]:
    """Return all tags of these types of entities, "O" first."""
    return (_OUTSIDE, *(f"{prefix}-{kind}" for kind in sorted(types) for prefix in PREFIXES[scheme]))


def entities(tags: Sequence[str], scheme: Scheme) -> list[Entity]:
    """Return the entities of the words of one sentence.

    Raises:
        ValueError: (position, reason) of the first tag that is not valid at its position.
    """
    found: list[Entity] = []
    start, kind = 0, ""  # of the entity that is open, "" for none
    for place, tag in enumerate([*tags, _OUTSIDE]):
        prefix, inner = _parse(place, tag, scheme)
        before = tags[place - 1] if place else "the beginning"
        goes_on = prefix in tuple("IE") and inner == kind
        if scheme == "BIOES" and kind and not goes_on:
            raise ValueError(place, f"{tag} after {before}, whose entity has no end")
        if kind and not goes_on:
            found.append((kind, start, place))
            kind = ""
        if scheme != "IOB1" and prefix in tuple("IE") and not kind:
            raise ValueError(place, f"{tag} after {before}: no entity of its type is open there")
        if inner and not kind:
            start, kind = place, inner
        if prefix in tuple("ES"):
            found.append((kind, start, place + 1))
            kind = ""
    return found


def _parse(place: int, tag: str, scheme: Scheme) -> tuple[str, str]:
    """Return the prefix and the type of a tag; both are "" for "O"."""
    if tag == _OUTSIDE:
        return "", ""
    prefix, dash, kind = tag.partition("-")
    if prefix not in tuple(PREFIXES[scheme]) or not dash or not kind:
        raise ValueError(
            place, f"{tag!r} is not a tag of {scheme}: O, or one of {', '.join(PREFIXES[scheme])} and -TYPE"
        )
    return prefix, kind


def to_tags(found: Iterable[Entity], length: int, scheme: Scheme) -> list[str]:
    """Return the tags of a sentence.

    Args:
        found: its entities, in order.
        length: the number of its words.
        scheme: of the tags.
    """
    tags = [_OUTSIDE] * length
    last: Entity = ("", 0, 0)
    for entity in found:
        kind, start, stop = entity
        tags[start:stop] = [f"I-{kind}"] * (stop - start)
        if scheme != "IOB1" or (last[0] == kind and last[2] == start):
            tags[start] = f"B-{kind}"
        if scheme == "BIOES":
            tags[stop - 1] = f"E-{kind}" if stop - start > 1 else f"S-{kind}"
        last = entity
    return tags


def convert(tags: Sequence[str], scheme: Scheme, to: Scheme) -> list[str]:
    """Convert the tags of a sentence from one scheme to another.

    Raises:
        ValueError: see `entities`.
    """
    return to_tags(entities(tags, scheme), len(tags), to)
