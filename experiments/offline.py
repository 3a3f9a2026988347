"""Learn to act from a file of recorded transitions alone: conservative Q-learning, or behaviour cloning.

python experiments/offline.py configs/cql_cartpole.py --data.path FILE [--loss.alpha 0.1 ...]
"""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from jaxlm import steps
from jaxlm.environments import Discrete, check_environment, play
from jaxlm.errors import BadInput
from jaxlm.metrics.episodes import episode_metrics
from jaxlm.parallel import Placement
from jaxlm.predict import Predictor
from jaxlm.predict.agents.actions import action_predictor
from jaxlm.runs.directory import RunDirectory
from jaxlm.steps import transforms
from jaxlm.train import Config, Experiment, main
from jaxlm.train.compose import supervised


def build(config: Config, place: Placement) -> Experiment:
    """Compose a loss whose target net is the average of the parameters, and an evaluation by playing."""
    model, data, run = config.model, config.data, config.run
    check(config, place)
    loss = transforms.cast(transforms.freeze(config.loss(model), config.optim.frozen), run.dtype)
    grad, tx = steps.accumulate(steps.grad(loss), run.accumulate), config.optim(run.steps)

    def step(state: steps.TrainState, batch: Any) -> tuple[steps.TrainState, steps.Metrics]:
        target = state.ema["params"] if run.ema else state.params
        update = steps.update(place.reduce(transforms.lend(grad, "target", lambda _: target)), tx)
        return (transforms.ema(update, run.ema, "run.ema") if run.ema else update)(state, batch)

    def outputs(state: steps.TrainState, batch: Any) -> steps.Metrics:
        variables = steps.eval_variables(state.params, state.variables, state.ema)
        keys = steps.typed_keys(batch["keys"])

        def policy(observation: jax.Array, _: jax.Array) -> tuple[jax.Array, None]:
            return model.apply(variables, observation).argmax(-1), None

        return episode_metrics(*play(data.environment, policy, keys), batch["mask"])

    composed = supervised(lambda config: config.loss(config.model), config, place, evaluate=outputs)
    return replace(composed, step=transforms.skip_nonfinite(step, run.skip_limit))


def check(config: Config, place: Placement) -> None:
    """Check that loss, environment and options go together; raises BadInput."""
    space = config.data.environment.action_space
    if not isinstance(space, Discrete):
        raise BadInput(f"actions are {space}: these losses are for actions to choose from")
    if config.loss.needs_target and not config.run.ema:
        raise BadInput("run.ema is 0, and the average of the parameters is the target net: set --run.ema 0.995")
    check_environment(config.data.environment, place.devices)


def predictor(config: Config, run: RunDirectory) -> Predictor:
    """Answer an observation with the best action, and the value or logit of each."""
    del run

    def act(variables: Any, observation: jax.Array) -> Any:
        values = config.model.apply(variables, observation)
        return {"action": jnp.argmax(values, -1), "values": values}

    return action_predictor(act, config.data)


if __name__ == "__main__":
    main(build)
