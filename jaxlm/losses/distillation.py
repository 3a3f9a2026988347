"""Distillation: a student learns the probabilities that a teacher gives, besides the labels."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxlm.errors import BadInput
from jaxlm.losses.classification import Mix
from jaxlm.steps import LossFn, PyTree, transforms

TEACHER = "teacher"  # the collection in which a loss is lent the teacher's logits


def distil(
    loss_of: Callable[[Mix | None], LossFn],
    teacher: Callable[[PyTree], jax.Array],
    *,
    temperature: float = 4.0,
    weight: float = 0.5,
) -> LossFn:
    """Mix the loss of a student with its distance from a teacher's probabilities, in training (Hinton et al. 2015).

    The loss of an example is `(1 - weight) loss + weight T^2 KL(softmax(t / T), softmax(s / T))` in nats, with the
    logits t of the teacher, s of the student and the temperature T (arXiv:1503.02531, section 2): T^2 keeps the size of
    the gradient. The teacher's logits are lent to the loss (`transforms.lend`), so that nothing is differentiated by
    its parameters and none of them is in the state. In an evaluation the loss is the student's.

    Law: with `weight` 0 it is the student's loss, bit for bit.

    Args:
        loss_of: mix -> loss, such as `lambda mix: classification(model, mix=mix)`.
        teacher: batch -> logits (B, K).
        temperature: T, above 0; 1 keeps the probabilities as they are.
        weight: share of the teacher, from 0 to 1.

    Raises:
        BadInput: a temperature or weight out of range.
    """
    if not 0 < temperature < float("inf"):
        raise BadInput(f"the temperature of a distillation is {temperature}: give a number above 0")
    if not 0 <= weight <= 1:
        raise BadInput(f"the weight of the teacher is {weight}: give a share from 0 to 1")
    if not weight:
        return loss_of(None)

    def mix(nats_B: jax.Array, logits_BK: jax.Array, variables: PyTree) -> jax.Array:
        theirs_BK = jax.nn.log_softmax(variables[TEACHER]["logits"].astype(jnp.float32) / temperature)
        ours_BK = jax.nn.log_softmax(logits_BK / temperature)
        apart_B = (jnp.exp(theirs_BK) * (theirs_BK - ours_BK)).sum(-1)
        return (1 - weight) * nats_B + weight * temperature**2 * apart_B

    plain, mixed = loss_of(None), loss_of(mix)
    lent = transforms.lend(mixed, TEACHER, lambda batch: {"logits": teacher(batch)})

    def loss(params: PyTree, variables: PyTree, batch: PyTree, key: jax.Array, *, train: bool) -> tuple:
        return (lent if train else plain)(params, variables, batch, key, train=train)

    return loss
