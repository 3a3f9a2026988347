"""Compose what a private run does otherwise than others: its gradient, and the batches that it samples."""

from collections.abc import Callable
from typing import Any

import jax

from jaxlm import steps
from jaxlm.data.poisson import Poisson, sampled_source
from jaxlm.errors import BadInput
from jaxlm.parallel import Placement
from jaxlm.privacy.ghost import clip_each_by_ghost_norms
from jaxlm.privacy.plan import PrivacyPlan, make_plan
from jaxlm.runs.settings import Run
from jaxlm.steps import GradFn, LossFn, transforms


def private_plan(config: Any, *, unit: str = "example") -> PrivacyPlan | None:
    """Return the plan of a config with `privacy`, or None without; raises BadInput where it cannot be private.

    Args:
        config: of the run.
        unit: what a row of the data is: "example", or "client" for `data.clients.Clients`.
    """
    if config.privacy is None:
        return None
    config.privacy.validate()
    if config.run.overfit:
        raise BadInput(f"run.overfit is {config.run.overfit}, and privacy needs all of the data: leave one out")
    if config.run.skip_limit != Run().skip_limit:
        raise BadInput("a private run skips no update, since that would depend on single examples: no run.skip_limit")
    for operation in getattr(config.data, "augment", ()):
        if getattr(operation, "mixes", False):
            raise BadInput(f"{type(operation).__name__} mixes examples, and privacy is of single ones: leave it out")
    check_no_batch_norm(config)
    source = sampled_source(config.data.train())
    return make_plan(config.privacy, len(source), config.data.batch, config.run.steps, unit=unit)


def check_no_batch_norm(config: Any) -> None:
    """Raise BadInput for a model whose outputs for an example depend on the other examples of a batch."""
    example = config.data.example()
    inputs = example if isinstance(example, tuple) else (example,)
    if "batch_stats" in jax.eval_shape(config.model.init, jax.random.key(0), *inputs):
        raise BadInput(
            "the model normalises over a batch, which mixes examples, and privacy is of single ones: take a model "
            "without batch normalisation, such as --model.norm group"
        )


def private_gradient(
    loss: LossFn, plan: PrivacyPlan, place: Placement, micro_batches: int, augment: Callable[[Any], Any] | None
) -> GradFn:
    """Compose a gradient of clipped examples with noise, summed over micro-batches and devices.

    Args:
        loss: of a batch.
        plan: the noise and the bounds.
        place: where the step runs.
        micro_batches: of a batch; the gradients of single examples are in memory for one of them at a time.
        augment: batch -> batch, here of single examples.
    """
    privacy = plan.privacy
    loss = loss if augment is None else transforms.prepare(loss, augment)
    clip = clip_each_by_ghost_norms if privacy.norms == "ghost" else steps.clip_each
    grad = steps.accumulate(clip(loss, privacy.clip_norm, copies=privacy.copies), micro_batches)
    return steps.add_noise(place.reduce(grad), plan.std, plan.expected)


def private_batches(config: Any, plan: PrivacyPlan, devices: int) -> Poisson:
    """Return training data by Poisson sampling, in arrays that divide over micro-batches and devices."""
    seeds, multiple = config.run.seeds, config.run.accumulate * devices
    source = sampled_source(config.data.train(seeds.data, seeds.noise))
    room = -(-plan.limit // multiple) * multiple
    return Poisson(source, plan.rate, plan.limit, room, plan.updates, seeds.data, seeds.noise)
