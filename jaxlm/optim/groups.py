"""Parameter groups: weight decay and learning rate by the path of the parameter."""

import dataclasses
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
from optax import MaskedNode, Params

from jaxlm.errors import BadInput


def require(fine: bool, complaint: str) -> None:
    """Raise BadInput about the optimizer of a config, in one line, unless a condition is met."""
    if not fine:
        raise BadInput(f"optim: {complaint}")


def require_pattern(pattern: str, name: str) -> None:
    """Raise BadInput for an invalid regular expression."""
    try:
        re.compile(pattern)
    except re.error as error:
        raise BadInput(f"optim: {name} is {pattern!r}, which is not a regular expression: {error}") from None


@dataclass(frozen=True)
class Group:
    """A parameter group: the parameters whose path matches a pattern, and their multipliers.

    Attributes:
        name: the group's name, for messages.
        pattern: regular expression searched for (`re.search`; anchor with ^ and $) in the parameter's "/"-joined path,
            such as "decoder/block_0/attention/qkv/kernel".
        rank: restrict the group to vectors (at most one axis) or matrices (two axes and more).
        decay: multiplier of the spec's weight decay, l1 and l2.
        rate: multiplier of the spec's learning rate.
    """

    name: str
    pattern: str = ""
    rank: Literal["any", "vector", "matrix"] = "any"
    decay: float = 1.0
    rate: float = 1.0

    def matches(self, path: str, axes: int) -> bool:
        """Return whether a parameter with this path and number of axes belongs to the group."""
        fits = {"any": True, "vector": axes <= 1, "matrix": axes >= 2}[self.rank]
        return fits and re.search(self.pattern, path) is not None

    def validate(self) -> None:
        """Check the fields; raises BadInput with one line."""
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
    """Return a parameter's name: the keys on the way to it, joined by "/"."""
    return jax.tree_util.keystr(key_path, simple=True, separator="/")


def match_groups(groups: tuple[Group, ...], params: Params) -> list[Group]:
    """Return the group of every parameter, in the order of `jax.tree.leaves`.

    Every parameter must match exactly one group: a rule that silently misses a parameter, or that depends on the order
    of the groups, would change a result without a trace.

    Raises:
        BadInput: names the parameters that match no group or several.
    """
    found = []
    for key_path, leaf in jax.tree_util.tree_leaves_with_path(params):
        path = path_of(key_path)
        found.append((path, [group for group in groups if group.matches(path, len(leaf.shape))]))
    wrong = [f"{path} ({_several(matches)})" for path, matches in found if len(matches) != 1]
    more = f" and {len(wrong) - 8} more" if len(wrong) > 8 else ""
    names = ", ".join(group.name for group in groups)
    require(
        not wrong,
        f"every parameter must match exactly one of the groups [{names}]; not so: {', '.join(wrong[:8])}{more}. "
        "Fix a pattern of optim.groups",
    )
    return [matches[0] for _, matches in found]


def _several(matches: list[Group]) -> str:
    return " and ".join(group.name for group in matches) or "none"


def map_with_group(function: Callable[..., Any], groups: tuple[Group, ...], params: Params, *trees: Params) -> Params:
    """Map `function(group, parameter, *leaves)` over a tree of parameters and trees of the same structure."""
    matched = jax.tree.unflatten(jax.tree.structure(params), match_groups(groups, params))
    return jax.tree.map(function, matched, params, *trees)


def without(params: Params, frozen: Callable[[str], bool]) -> Params:
    """Replace the leaves of some paths by an empty `optax.MaskedNode`, so that they need no optimizer state."""
    return jax.tree_util.tree_map_with_path(lambda path, x: MaskedNode() if frozen(path_of(path)) else x, params)


def fill(updates: Params, params: Params) -> Params:
    """Fill in zero updates for the parameters that `without` removed."""
    return jax.tree.map(
        lambda update, parameter: jnp.zeros_like(parameter) if isinstance(update, MaskedNode) else update,
        updates,
        params,
        is_leaf=lambda x: isinstance(x, MaskedNode),
    )


def layerwise(layers: Sequence[str], decay: float, groups: tuple[Group, ...] = TRANSFORMER_GROUPS) -> tuple[Group, ...]:
    """Return groups whose learning rate falls by a factor `decay` with every layer away from the output.

    Howard and Ruder 2018 (arXiv:1801.06146), section 3.2, "discriminative fine-tuning".
    `layerwise(["stem", "stage_0", "stage_1", "head"], 0.5)` gives the head the rate 1 and the stem 1/8.

    Args:
        layers: regular expressions for the paths of each layer, from the input to the output; a parameter belongs to
            the first one that is found in its path.
        decay: factor of the learning rate from one layer to the one before it.
        groups: the groups to divide by layer.
    """
    made = []
    for number, layer in enumerate(layers):
        before = "".join(f"(?!.*(?:{earlier}))" for earlier in layers[:number])
        for group in groups:
            pattern = f"^(?={before}.*(?:{layer}))(?=.*(?:{group.pattern}))"
            rate = group.rate * decay ** (len(layers) - 1 - number)
            made.append(dataclasses.replace(group, name=f"{group.name} of {layer}", pattern=pattern, rate=rate))
    return tuple(made)
