"""Precision, recall and F1 of entities in tagged text, from counts that are exact for any batches and devices.

The numbers are seqeval's (Nakayama 2018), whose default mode is that of the CoNLL-2000 script `conlleval`: a tag that
cannot follow the one before it begins a new entity. `strict` counts only entities that follow their scheme.

Shapes: B rows, T tokens, E types of entities.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.errors import BadInput

_OUTSIDE = "O"


@dataclass(frozen=True)
class Tags:
    """The names of tags, by index, in the scheme BIO or BIOES.

    A tag is "O", or a prefix before the type of an entity: B- where an entity begins, I- inside, and in BIOES also E-
    at its end and S- for an entity of one word. Raises BadInput for other names.

    Attributes:
        names: the tags.
    """

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse names that are not tags."""
        for name in self.names:
            if name != _OUTSIDE and (name[:1] not in set("BIES") or name[1:2] != "-" or not name[2:]):
                raise BadInput(f"{name!r} is not a tag: a tag is O, or B-, I-, E- or S- before the type of an entity")

    @property
    def types(self) -> tuple[str, ...]:
        """The types of entities, sorted."""
        return tuple(sorted({name[2:] for name in self.names if name != _OUTSIDE}))

    def mark(self, prefixes: str) -> np.ndarray:
        """Return whether each tag has one of these prefixes, bool by index."""
        return np.array([name[0] in prefixes for name in self.names])

    def type_of(self) -> np.ndarray:
        """Return the index in `types` of each tag's type, int32 by index; -1 for O."""
        return np.array([-1 if name == _OUTSIDE else self.types.index(name[2:]) for name in self.names], np.int32)


class Entities(NamedTuple):
    """Counts of entities by type, int32 (E,) each.

    Attributes:
        right: predicted entities that equal a true one in type and extent.
        predicted: predicted entities.
        true: true entities.
    """

    right: Any
    predicted: Any
    true: Any

    @classmethod
    def from_tags(
        cls,
        predicted_BT: jax.Array,
        targets_BT: jax.Array,
        mask_BT: jax.Array | None,
        tags: Tags,
        segments_BT: jax.Array | None = None,
        strict: bool = False,
    ) -> "Entities":
        """Count the entities of predicted tags against those of true tags.

        Args:
            predicted_BT: predicted tags, integers.
            targets_BT: true tags, integers.
            mask_BT: tokens with a mask of 0 or less are removed, as if their neighbours were adjacent: padding, and all
                pieces of a word but the first. None removes nothing.
            tags: the names of the tags.
            segments_BT: segment numbers; an entity does not extend over two segments.
            strict: count only entities that follow their scheme.
        """
        kept_BT = jnp.ones(targets_BT.shape, bool) if mask_BT is None else mask_BT > 0
        kept_BT &= (targets_BT >= 0) & (targets_BT < len(tags.names))
        order_BT = jnp.argsort(~kept_BT, axis=1, stable=True)  # moves what is kept to the left
        kept_BT, predicted_BT, targets_BT, segments_BT = (
            jnp.take_along_axis(jnp.asarray(x), order_BT, axis=1)
            for x in (kept_BT, predicted_BT, targets_BT, kept_BT if segments_BT is None else segments_BT)
        )
        found = _extents(predicted_BT, kept_BT, segments_BT, tags, strict)
        true = _extents(targets_BT, kept_BT, segments_BT, tags, strict)
        same_BT = (found.type_BT == true.type_BT) & (found.end_BT == true.end_BT)
        types_E = jnp.arange(len(tags.types))[None, None]

        def count(begins_BT: jax.Array, type_BT: jax.Array) -> jax.Array:
            return (begins_BT[..., None] & (type_BT[..., None] == types_E)).sum((0, 1), dtype=jnp.int32)

        return cls(
            right=count(found.begins_BT & true.begins_BT & same_BT, true.type_BT),
            predicted=count(found.begins_BT, found.type_BT),
            true=count(true.begins_BT, true.type_BT),
        )

    def compute(self) -> dict[str, float]:
        """Compute precision, recall and F1 over all entities (micro average), and the mean F1 of types that occur."""
        scores = entity_averages(self)
        micro = {f"entity_{name}": value for name, value in scores["micro"].items()}
        return micro | {"entity_f1_macro": scores["macro"]["f1"]}


class _Extents(NamedTuple):
    """Where entities begin, the type at each place, and the next place at which an entity ends."""

    begins_BT: jax.Array
    type_BT: jax.Array
    end_BT: jax.Array


def _extents(tag_BT: jax.Array, kept_BT: jax.Array, segments_BT: jax.Array, tags: Tags, strict: bool) -> _Extents:
    def look_up(by_tag: np.ndarray, outside: Any) -> jax.Array:
        return jnp.where(kept_BT, jnp.asarray(by_tag)[tag_BT], outside)

    def before(x_BT: jax.Array, first: Any) -> jax.Array:
        return jnp.pad(x_BT, ((0, 0), (1, 0)), constant_values=first)[:, :-1]

    def after(x_BT: jax.Array, last: Any) -> jax.Array:
        return jnp.pad(x_BT, ((0, 0), (0, 1)), constant_values=last)[:, 1:]

    type_BT = look_up(tags.type_of(), -1)
    inside_BT, first_BT, last_BT = type_BT >= 0, look_up(tags.mark("BS"), False), look_up(tags.mark("ES"), False)
    parted_BT = (type_BT != before(type_BT, -1)) | (segments_BT != before(segments_BT, 0))
    begins_BT = inside_BT & (first_BT | before(last_BT, True) | parted_BT)
    ends_BT = inside_BT & after(begins_BT | ~inside_BT, True)
    place_BT = jnp.broadcast_to(jnp.arange(tag_BT.shape[1])[None], tag_BT.shape)
    end_BT = jax.lax.cummin(jnp.where(ends_BT, place_BT, tag_BT.shape[1]), axis=1, reverse=True)
    if strict:
        begins_BT &= first_BT
        if tags.mark("ES").any():
            begins_BT &= jnp.take_along_axis(last_BT, end_BT, axis=1, mode="clip")
    return _Extents(begins_BT, type_BT, end_BT)


def per_type(counts: Entities) -> dict[str, np.ndarray]:
    """Compute precision, recall and F1 of each type, float64 (E,), on the host; a division by zero gives 0."""
    right, predicted, true = (np.asarray(x, np.int64) for x in counts)
    precision, recall = right / np.maximum(predicted, 1), right / np.maximum(true, 1)
    both = precision + recall
    return {"precision": precision, "recall": recall, "f1": 2 * precision * recall / np.where(both == 0, 1, both)}


def entity_averages(counts: Entities) -> dict[str, dict[str, float]]:
    """Average the scores of the types that occur: "micro", "macro" and "weighted" (by true entities)."""
    occur = np.asarray(counts.predicted) + np.asarray(counts.true) > 0
    chosen = Entities(*(np.asarray(x)[occur] for x in counts))
    scores, weights = per_type(chosen), np.asarray(chosen.true)

    def mean(values: np.ndarray, weights: np.ndarray | None = None) -> float:
        whole = len(values) if weights is None else weights.sum()
        return float(np.average(values, weights=weights)) if whole else 0.0

    return {
        "micro": {name: float(x[0]) for name, x in per_type(Entities(*(x.sum(keepdims=True) for x in chosen))).items()},
        "macro": {name: mean(x) for name, x in scores.items()},
        "weighted": {name: mean(x, weights) for name, x in scores.items()},
    }
