"""Parameter groups: who is decayed and how fast it learns, by the path of the parameter."""

import dataclasses
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
from optax import MaskedNode

from jaxlm.errors import BadInput

Params = Any  # any pytree of arrays


def require(fine: bool, complaint: str) -> None:
    """BadInput about the optimizer of a config, in one line, where something is not fine."""
    if not fine:
        raise BadInput(f"optim: {complaint}")


def require_pattern(pattern: str, name: str) -> None:
    """BadInput where a pattern is no regular expression."""
    try:
        re.compile(pattern)
    except re.error as error:
        raise BadInput(f"optim: {name} is {pattern!r}, which is no regular expression: {error}") from None


@dataclass(frozen=True)
class Group:
    """The parameters whose path a pattern is found in, and what is special about them.

    `pattern` is a regular expression searched for (`re.search`; anchor with ^ and $) in the parameter's "/"-joined
    path, such as "decoder/block_0/attention/qkv/kernel". `rank` narrows it to vectors (at most one axis) or matrices
    (two axes and more). `decay` multiplies the spec's decay, l1 and l2; `rate` multiplies its learning rate.
    """

    name: str
    pattern: str = ""
    rank: Literal["any", "vector", "matrix"] = "any"
    decay: float = 1.0
    rate: float = 1.0

    def holds(self, path: str, axes: int) -> bool:
        """Whether a parameter of this path and number of axes belongs here."""
        fits = {"any": True, "vector": axes <= 1, "matrix": axes >= 2}[self.rank]
        return fits and re.search(self.pattern, path) is not None

    def validate(self) -> None:
        """Refuse, in one line (BadInput), what cannot be meant."""
        for name, value in (("decay", self.decay), ("rate", self.rate)):
            fine = 0 <= value < float("inf")
            require(fine, f"group {self.name!r} has {name} {value}: it must be finite, not negative")
        require_pattern(self.pattern, f"the pattern of group {self.name!r}")


_UNDECAYED = r"(^|/)(bias|scale)$"

TRANSFORMER_GROUPS = (
    Group("vectors", rank="vector", decay=0.0),
    Group("stacked biases and scales", _UNDECAYED, rank="matrix", decay=0.0),
    Group("matrices", rf"^(?!.*{_UNDECAYED})", rank="matrix"),
)
"""Decay what multiplies activations: matrices, convolution kernels and embeddings (a tied embedding is the output
matrix too, and GPT-2 decays it). Leave vectors alone, and biases and norm scales of any rank: layers that are scanned
or split into heads have biases and scales with several axes. Works on any tree of arrays."""


def path_of(key_path: tuple[Any, ...]) -> str:
    """A parameter's name: the keys on the way to it, joined by "/"."""
    return jax.tree_util.keystr(key_path, simple=True, separator="/")


def match_groups(groups: tuple[Group, ...], params: Params) -> list[Group]:
    """The group of every parameter, in the order of `jax.tree.leaves`.

    Raises BadInput that names the parameters which match no group or several: a rule that silently misses a parameter,
    or that depends on the order of the groups, changes a result without a trace.
    """
    found = []
    for key_path, leaf in jax.tree_util.tree_leaves_with_path(params):
        path = path_of(key_path)
        found.append((path, [group for group in groups if group.holds(path, len(leaf.shape))]))
    wrong = [f"{path} ({_several(matches)})" for path, matches in found if len(matches) != 1]
    more = f" and {len(wrong) - 8} more" if len(wrong) > 8 else ""
    names = ", ".join(group.name for group in groups)
    require(
        not wrong,
        f"every parameter must match exactly one of the groups [{names}]; not so: {', '.join(wrong[:8])}{more}. "
        "Mend a pattern of optim.groups",
    )
    return [matches[0] for _, matches in found]


def _several(matches: list[Group]) -> str:
    return " and ".join(group.name for group in matches) or "none"


def map_with_group(function: Callable[..., Any], groups: tuple[Group, ...], params: Params, *trees: Params) -> Params:
    """`function(group, parameter, *leaves)` over a tree of parameters and trees of the same structure."""
    matched = jax.tree.unflatten(jax.tree.structure(params), match_groups(groups, params))
    return jax.tree.map(function, matched, params, *trees)


def without(params: Params, frozen: Callable[[str], bool]) -> Params:
    """The tree without the leaves of some paths: an `optax.MaskedNode`, which holds nothing, is in their place."""
    return jax.tree_util.tree_map_with_path(lambda path, x: MaskedNode() if frozen(path_of(path)) else x, params)


def fill(updates: Params, params: Params) -> Params:
    """Updates with zeros where `without` left out a parameter."""
    return jax.tree.map(
        lambda update, parameter: jnp.zeros_like(parameter) if isinstance(update, MaskedNode) else update,
        updates,
        params,
        is_leaf=lambda x: isinstance(x, MaskedNode),
    )


def layerwise(layers: Sequence[str], decay: float, groups: tuple[Group, ...] = TRANSFORMER_GROUPS) -> tuple[Group, ...]:
    """Groups whose learning rate falls by a factor `decay` with every layer away from the output.

    layers: regular expressions for the paths of each layer, from the input to the output; a parameter belongs to the
    first that is found in its path. `layerwise(["stem", "stage_0", "stage_1", "head"], 0.5)` gives the head the rate 1
    and the stem 1/8. Howard and Ruder 2018 (arXiv:1801.06146), section 3.2, "discriminative fine-tuning".
    """
    made = []
    for number, layer in enumerate(layers):
        before = "".join(f"(?!.*(?:{earlier}))" for earlier in layers[:number])
        for group in groups:
            pattern = f"^(?={before}.*(?:{layer}))(?=.*(?:{group.pattern}))"
            rate = group.rate * decay ** (len(layers) - 1 - number)
            made.append(dataclasses.replace(group, name=f"{group.name} of {layer}", pattern=pattern, rate=rate))
    return tuple(made)
