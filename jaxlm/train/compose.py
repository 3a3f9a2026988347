"""The usual composition of a run, written once: one model, one loss, one optimizer.

An experiment whose optimisation *is* the idea, such as a GAN or an agent, writes these lines out for itself.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxlm import steps
from jaxlm.parallel import Placement
from jaxlm.privacy.compose import private_batches, private_gradient, private_plan
from jaxlm.privacy.plan import PrivacyPlan
from jaxlm.runs.settings import COMPOSED
from jaxlm.steps import EvalFn, LossFn, Metrics, StepFn, transforms
from jaxlm.train.config import Config
from jaxlm.train.evaluate import Evaluation
from jaxlm.train.experiment import Experiment
from jaxlm.train.hyperparameters import hyperparameters, with_hyperparameters


def descend(
    loss: LossFn,
    config: Config,
    place: Placement,
    *,
    augment: Callable[[Any], Any] | None = None,
    weights: Callable[[Any], Any] | None = None,
    plan: PrivacyPlan | None = None,
) -> StepFn:
    """Compose the training step that `config.run` and `config.optim` ask for.

    Args:
        loss: the loss of a batch as sums.
        config: read are `run.accumulate`, `run.ema`, `run.skip_limit`, `run.steps` and `optim`.
        place: where the step runs.
        augment: batch -> batch, once before the micro-batches are split, so that examples of the whole batch mix.
        weights: augmented batch -> sums of the whole batch that the loss reads in training, see `transforms.weigh`.
        plan: of a private run, whose examples are augmented one by one and which skips no update.
    """
    run = config.run
    loss = transforms.freeze(loss, config.optim.frozen)
    if plan is not None:
        grad = private_gradient(loss, plan, place, run.accumulate, augment)
    else:
        grad = steps.accumulate(steps.grad(loss), run.accumulate)
        grad = grad if weights is None else transforms.weigh(grad, weights, place.sum)
        grad = grad if augment is None else transforms.prepare(grad, augment)
        grad = place.reduce(grad)
    step = steps.update(grad, config.optim(run.steps))
    step = transforms.ema(step, run.ema, "run.ema") if run.ema else step
    return step if plan is not None else transforms.skip_nonfinite(step, run.skip_limit)


def supervised(
    loss_of: Callable[[Config], LossFn],
    config: Config,
    place: Placement,
    *,
    augment: Callable[[Any], Any] | None = None,
    weights: Callable[[Any], Any] | None = None,
    evaluate: EvalFn | None = None,
    evaluations: Mapping[str, Evaluation] | None = None,
    example: Any = None,
    private: bool = False,
    **parts: Any,
) -> Experiment:
    """Compose a run that trains `config.model` on `config.data` by one loss.

    Args:
        loss_of: config -> loss. It is called again with traced values in the place of the hyperparameters that the
            state has (`train.hyperparameters`), so that runs which differ in them share a program.
        config: of the run.
        place: where it runs.
        augment: see `descend`.
        weights: see `descend`.
        evaluate: (state, batch) -> Metrics for the evaluation called "eval"; the default is that of the loss.
        evaluations: further ones by name.
        example: the inputs that the model is initialised with, where they are not `data.example()`.
        private: whether it may be trained as `config.privacy` says: the loss is a sum over examples that do not mix.
        **parts: other fields of the `Experiment`, which go before those composed here.
    """
    if hasattr(config.model, "validate"):  # a model of the user's own need not have it
        config.model.validate()
    config.data.check(config.model, config.run.repeat)
    held, data, seeds = hyperparameters(config), config.data, config.run.seeds
    loss = transforms.inject(lambda values: loss_of(with_hyperparameters(config, values)), held)
    tx = config.optim(config.run.steps)
    plan = private_plan(config) if private else None
    sampled = data.train(seeds.data, seeds.noise) if plan is None else private_batches(config, plan, place.devices)
    composed = {
        "train_data": sampled,
        "throughput": data.throughput(),
        "log_lines": [*data.log_lines(), *(plan.log_lines() if plan else ())],
        "artefacts": data.artefacts(),
        "composes": (*COMPOSED, "privacy") if private else COMPOSED,
        "privacy": plan,
        "init_from": config.init,
    }
    return Experiment(
        init=lambda key: steps.init(
            config.model,
            tx,
            data.example() if example is None else example,
            key,
            ema=config.run.ema > 0,
            hyperparameters=held,
        ),
        step=descend(loss, config, place, augment=augment, weights=weights, plan=plan),
        evaluations={"eval": Evaluation(data.eval(), evaluate or steps.evaluate(loss)), **(evaluations or {})},
        learning_rate=config.optim.learning_rate(config.run.steps),
        hyperparameters=held,
        **{**composed, **parts},
    )


def joint_updates(learn: Callable[[Any, jax.Array], tuple[Any, Metrics]], updates: int) -> StepFn:
    """Make a step of a joint state of several updates in one program, each with a key for each environment.

    Args:
        learn: (parts, typed PRNG keys [B]) -> (parts, metrics).
        updates: in a step.

    Returns:
        (state, batch with "keys" uint32 [B, 2]) -> (state, metrics merged over the updates); update n draws from
        `fold_in(key, n)`.
    """

    def step(state: steps.Joint, batch: Any) -> tuple[steps.Joint, Metrics]:
        keys_B = steps.typed_keys(batch["keys"])
        fold = jax.vmap(lambda number: jax.vmap(lambda key: jax.random.fold_in(key, number))(keys_B))
        parts, metrics = jax.lax.scan(learn, state.parts, fold(jnp.arange(updates)))
        return state.replace(step=state.step + 1, parts=parts), jax.tree.map(lambda x: x.sum(0), metrics)

    return step
