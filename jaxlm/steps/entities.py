"""How well entities are found in tagged text, as counts that are exact for any batches and devices.

The numbers are seqeval's (Nakayama 2018), whose default mode is that of the CoNLL-2000 script `conlleval`: a tag that
cannot follow the one before it begins an entity of its own. `strict` counts only entities that follow their scheme.

Shapes: B rows, T tokens, E types of entities.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.errors import BadInput
from jaxlm.steps.classification import row

OUTSIDE = "O"


@dataclass(frozen=True)
class Tags:
    """Names of tags, by index: "O", and "B-", "I-", and in the scheme BIOES also "E-" and "S-", before a type.

    B is where an entity begins, I goes on, E is its end, and S an entity of one word. Raises BadInput for other names.
    """

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse what is no tag."""
        for name in self.names:
            if name != OUTSIDE and (name[:1] not in set("BIES") or name[1:2] != "-" or not name[2:]):
                raise BadInput(f"{name!r} is no tag: a tag is O, or B-, I-, E- or S- before the type of an entity")

    @property
    def types(self) -> tuple[str, ...]:
        """The types of entities, sorted."""
        return tuple(sorted({name[2:] for name in self.names if name != OUTSIDE}))

    def mark(self, prefixes: str) -> np.ndarray:
        """Whether each tag has one of these prefixes, bool by index."""
        return np.array([name[0] in prefixes for name in self.names])

    def type_of(self) -> np.ndarray:
        """The index in `types` of each tag's type, int32 by index; -1 for O."""
        return np.array([-1 if name == OUTSIDE else self.types.index(name[2:]) for name in self.names], np.int32)


class Entities(NamedTuple):
    """Entities by type, int32 (E,) each: rightly found, predicted, and true. Right is one of equal type and extent."""

    right: Any
    predicted: Any
    true: Any

    @classmethod
    def of(
        cls,
        predicted_BT: jax.Array,
        targets_BT: jax.Array,
        mask_BT: jax.Array | None,
        tags: Tags,
        segments_BT: jax.Array | None = None,
        strict: bool = False,
    ) -> "Entities":
        """Count integer tags against integer tags.

        mask_BT: what is not above 0 is left out, as if it did not stand between its neighbours: padding, and all pieces
          of a word but the first; none leaves out nothing. segments_BT: no entity reaches from one segment to another.
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
        """Precision, recall and F1 over all entities (the micro average), and the mean F1 of the types that occur."""
        scores = averages(self)
        micro = {f"entity_{name}": value for name, value in scores["micro"].items()}
        return micro | {"entity_f1_macro": scores["macro"]["f1"]}


class _Extents(NamedTuple):
    """Where entities begin, and for each place the type that stands there and the next place at which one ends."""

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
    """Of each type, on the host: "precision", "recall" and "f1" float64 (E,); what would be divided by zero is 0."""
    right, predicted, true = (np.asarray(x, np.int64) for x in counts)
    precision, recall = right / np.maximum(predicted, 1), right / np.maximum(true, 1)
    both = precision + recall
    return {"precision": precision, "recall": recall, "f1": 2 * precision * recall / np.where(both == 0, 1, both)}


def averages(counts: Entities) -> dict[str, dict[str, float]]:
    """The averages "micro", "macro" and "weighted" (by true entities) of `per_type`, over the types that occur."""
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


def report(counts: Entities, types: Sequence[str], digits: int = 2) -> str:
    """The text of seqeval's `classification_report(..., zero_division=0)`; types: what each of the E is called."""
    scores, mean, true = per_type(counts), averages(counts), np.asarray(counts.true)
    occur = [e for e in range(len(types)) if counts.predicted[e] + true[e]]
    width = max(len("weighted avg"), digits, *(len(types[e]) for e in occur)) if occur else len("weighted avg")

    def line(name: str, values: Any, support: int) -> str:
        return row(name, [f"{values[column]:.{digits}f}" for column in ("precision", "recall", "f1")], support, width)

    lines = [row("", ("precision", "recall", "f1-score"), "support", width), "\n"]
    lines += [line(types[e], {name: x[e] for name, x in scores.items()}, true[e]) for e in occur]
    return "".join([*lines, "\n", *(line(f"{kind} avg", mean[kind], true.sum()) for kind in mean)])
