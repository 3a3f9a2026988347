"""Compose what a private run does otherwise than others: its gradient, and the batches that it samples."""

from collections.abc import Callable
from typing import Any

from jaxlm import steps
from jaxlm.data.poisson import Poisson, sampled_source
from jaxlm.errors import BadInput
from jaxlm.parallel import Placement
from jaxlm.privacy.plan import Plan, make_plan
from jaxlm.runs.settings import Run
from jaxlm.steps import GradFn, LossFn, transforms


def private_plan(config: Any) -> Plan | None:
    """Return the plan of a config with `privacy`, or None without; raises BadInput where it cannot be private."""
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
    source = sampled_source(config.data.train())
    return make_plan(config.privacy, len(source), config.data.batch, config.run.steps)


def private_gradient(
    loss: LossFn, plan: Plan, place: Placement, micro_batches: int, augment: Callable[[Any], Any] | None
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
    grad = steps.accumulate(steps.clip_each(loss, privacy.clip_norm, copies=privacy.copies), micro_batches)
    return steps.add_noise(place.reduce(grad), plan.noise_multiplier * privacy.clip_norm, plan.expected)


def private_batches(config: Any, plan: Plan, devices: int) -> Poisson:
    """Return training data by Poisson sampling, in arrays that divide over micro-batches and devices."""
    seeds, multiple = config.run.seeds, config.run.accumulate * devices
    source = sampled_source(config.data.train(seeds.data, seeds.noise))
    room = -(-plan.limit // multiple) * multiple
    return Poisson(source, plan.rate, plan.limit, room, plan.updates, seeds.data, seeds.noise)
