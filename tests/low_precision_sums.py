"""Find the sums of a program that are accumulated in half precision."""

import math

import jax
import jax.numpy as jnp
from jax.extend.core import jaxprs_in_params

SUMS = ("reduce_sum", "cumsum", "reduce_window_sum", "scatter-add", "select_and_scatter_add")


def find_half_sums(function, *args):
    """List the operations of a function that add many terms in bfloat16 or float16, loops and inner programs included.

    Products are not listed: backends accumulate them in float32, which is a test of its own.
    """
    return list(_walk(jax.make_jaxpr(function)(*args).jaxpr))


def _walk(jaxpr):
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        if name in SUMS and _is_half(equation.outvars[0]) and _adds_many(equation):
            yield str(equation).strip().splitlines()[0]
        if name == "scan":
            yield from _sums_over_steps(equation)
        for each in jaxprs_in_params(equation.params):
            yield from _walk(each)


def _sums_over_steps(scan):
    """List the carries of a loop that serve only to add something to them at each step."""
    body = scan.params["jaxpr"].jaxpr
    if "ft_in" in scan.params:  # jax 0.12
        consts, carries, _ = map(len, scan.params["ft_in"].unpack())
    else:
        consts, carries = scan.params["num_consts"], scan.params["num_carry"]
    made_by = {variable: equation for equation in body.eqns for variable in equation.outvars}
    for before, after in zip(body.invars[consts : consts + carries], body.outvars[:carries], strict=True):
        uses = [equation for equation in body.eqns if any(x is before for x in equation.invars)]
        last = made_by.get(after)
        if _is_half(before) and uses == [last] and last.primitive.name in ("add", "add_any"):
            yield f"a loop adds {before.aval.str_short()} over its steps"


def _is_half(variable):
    return variable.aval.dtype in (jnp.bfloat16, jnp.float16)


def _adds_many(equation):
    """Return whether one entry is the sum of many terms; a pixel in four windows of a pooling has four."""
    sizes, given = equation.invars[0].aval.shape, equation.params
    if "axes" in given:
        return math.prod(sizes[axis] for axis in given["axes"]) > 1
    if "window_dimensions" in given:
        pairs = zip(given["window_dimensions"], given["window_strides"], strict=True)
        return math.prod(-(-window // stride) for window, stride in pairs) > 4
    return True
