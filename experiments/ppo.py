"""Train a policy and its value on what the policy itself does in an environment: PPO, or A2C as its special case.

python experiments/ppo.py configs/ppo_cartpole.py [--run.seed 1 ...]
"""

from typing import Any

import jax
import jax.numpy as jnp

from jaxlm import steps
from jaxlm.environments import Box, Policy, Transitions, check_environment, play, rollout, start
from jaxlm.errors import BadInput
from jaxlm.losses.advantages import generalised_advantages, whiten
from jaxlm.metrics.episodes import episode_metrics
from jaxlm.nn.running_norm import MOMENTS, add_to_moments, no_moments
from jaxlm.parallel import Placement
from jaxlm.predict import Predictor
from jaxlm.predict.agents.actions import action_predictor
from jaxlm.runs.directory import RunDirectory
from jaxlm.steps import transforms
from jaxlm.train import Config, Evaluation, Experiment, main


def build(config: Config, place: Placement) -> Experiment:
    """Compose algorithm 1 of arXiv:1707.06347: an update of the run is a rollout, and epochs over minibatches of it."""
    model, data, run, ppo, environment = config.model, config.data, config.run, config.loss, config.data.environment
    check(config, place)
    visits = ppo.epochs * ppo.minibatches
    tx = config.optim(run.steps * visits)
    loss = transforms.freeze(ppo(model), config.optim.frozen)
    descend = steps.update(place.reduce(steps.accumulate(steps.grad(loss), run.accumulate)), tx)

    def step(state: steps.Joint, batch: Any) -> tuple[steps.Joint, steps.Metrics]:
        agent, worlds, rewards = (state.parts[name] for name in ("agent", "worlds", "rewards"))
        keys = steps.typed_keys(batch["keys"])
        worlds, seen = rollout(environment, sampled(model, applied(agent)), worlds, keys, ppo.horizon)
        if ppo.normalise_rewards:
            seen, rewards = scaled(seen, rewards, ppo.discount, place)
        examples = with_advantages(config, applied(agent), seen)

        def visit(agent: steps.TrainState, rows: jax.Array) -> tuple[steps.TrainState, steps.Metrics]:
            minibatch = {name: of_environments(x[rows]) for name, x in examples.items()}
            if ppo.normalise_advantages:
                minibatch["advantage"] = whiten(minibatch["advantage"], place.sum)
            return descend(agent, minibatch)

        orders = shuffled(jax.random.fold_in(state.key, state.step), ppo)
        agent, metrics = jax.lax.scan(visit, agent, orders)
        if model.normalise:
            agent = agent.replace(variables=with_seen(agent.variables, seen.observation, place))
        metrics = jax.tree.map(lambda x: x.sum(0), metrics)
        metrics |= place.sum(episode_metrics(seen.score, seen.length, seen.done))
        parts = {"agent": agent, "worlds": worlds, "rewards": rewards}
        return state.replace(step=state.step + 1, parts=parts), metrics

    def init(key: jax.Array) -> steps.Joint:
        keys = jax.random.split(key, 3)
        worlds = start(environment, jax.random.split(keys[0], data.environments))
        rewards = {"moments": no_moments(()), "discounted": jnp.zeros(data.environments)}
        agent = steps.init(model, tx, data.example(), keys[1])
        return steps.joint(keys[2], agent=agent, worlds=worlds, rewards=rewards)

    def outputs(state: steps.Joint, batch: Any) -> steps.Metrics:
        policy = greedy(model, applied(state.parts["agent"]))
        return episode_metrics(*play(environment, policy, steps.typed_keys(batch["keys"])), batch["mask"])

    rate = config.optim.learning_rate(run.steps * visits)
    return Experiment(
        init=init,
        step=transforms.skip_nonfinite(step, run.skip_limit),
        train_data=data.train(run.seeds.data, run.seeds.noise),
        evaluations={"eval": Evaluation(data.eval(), outputs)},
        throughput=(data.environments * ppo.horizon, "steps"),
        learning_rate=lambda update: rate(update * visits),
        rules=((r"parts/worlds|rewards/discounted", ("examples",)),),
        composes=("accumulate", "skip_limit"),
        log_lines=data.log_lines(),
        artefacts=data.artefacts(),
    )


def check(config: Config, place: Placement) -> None:
    """Check that model, environment and options go together.

    Raises:
        BadInput: one line that says what does not fit.
    """
    model, environment = config.model, config.data.environment
    model.validate()
    config.data.check(model, config.run.repeat)
    check_environment(environment, place.devices)
    shape, name = environment.observation_space.shape, type(environment).__name__
    if isinstance(environment.action_space, Box) != model.continuous:
        option = "--model.no-continuous" if model.continuous else "--model.continuous"
        raise BadInput(f"{name} has actions {environment.action_space}: set {option}")
    if model.channels and len(shape) != 3:
        raise BadInput(f"{name} has observations {list(shape)}, and model.channels are for images: leave them out")
    if config.init.path is not None:
        raise BadInput(f"init.path is {config.init.path}, and an agent starts from new weights: leave it out")


def applied(agent: steps.TrainState) -> Any:
    """Return the variables that the agent acts with."""
    return steps.eval_variables(agent.params, agent.variables, agent.ema)


def sampled(model: Any, variables: Any) -> Policy:
    """Return the policy that draws its actions, with the logarithm of their probabilities."""

    def policy(observation: jax.Array, keys: jax.Array) -> tuple[jax.Array, jax.Array]:
        found = model.apply(variables, observation, method="policy")
        action = jax.vmap(type(found).sample)(found, keys)
        return action, found.log_prob(action)

    return policy


def greedy(model: Any, variables: Any) -> Policy:
    """Return the policy that takes the likeliest action."""
    return lambda observation, keys: (model.apply(variables, observation, method="policy").mode(), None)


def scaled(seen: Transitions, rewards: Any, discount: float, place: Placement) -> tuple[Transitions, Any]:
    """Divide rewards by the running standard deviation of the discounted returns of all environments so far."""

    def add(sum_B: jax.Array, now: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        reward_B, done_B = now
        sum_B = discount * sum_B + reward_B
        return jnp.where(done_B, 0, sum_B), sum_B

    discounted, sums_TB = jax.lax.scan(add, rewards["discounted"], (seen.reward, seen.done))
    moments = add_to_moments(rewards["moments"], sums_TB, place.sum)
    reward_TB = seen.reward * jax.lax.rsqrt(moments["variance"] + 1e-8)
    return seen._replace(reward=reward_TB), {"moments": moments, "discounted": discounted}


def with_advantages(config: Config, variables: Any, seen: Transitions) -> dict[str, jax.Array]:
    """Return what is learned from: steps with their values, advantages and targets, each [T, B, ...]."""

    def values(observation: jax.Array) -> jax.Array:
        rows = observation.reshape(-1, *observation.shape[2:])
        return config.model.apply(variables, rows, method="value").reshape(observation.shape[:2])

    value, ppo = values(seen.observation), config.loss
    advantage = generalised_advantages(
        seen.reward, value, values(seen.next_observation), seen.terminated, seen.done, ppo.discount, ppo.trace
    )
    examples = {"observation": seen.observation, "action": seen.action, "log_prob": seen.extras}
    return examples | {"value": value, "advantage": advantage, "target": advantage + value}


def shuffled(key: jax.Array, ppo: Any) -> jax.Array:
    """Return the steps of each minibatch of each epoch, int32 [epochs * minibatches, horizon / minibatches].

    A minibatch has these steps of all environments, so that it does not depend on how they are divided over devices.
    """
    orders = jax.vmap(lambda key: jax.random.permutation(key, ppo.horizon))(jax.random.split(key, ppo.epochs))
    return orders.reshape(ppo.epochs * ppo.minibatches, -1)


def of_environments(x: jax.Array) -> jax.Array:
    """Return steps [T, B, ...] as rows [B * T, ...], those of an environment side by side."""
    return x.swapaxes(0, 1).reshape(-1, *x.shape[2:])


def with_seen(variables: Any, observation: jax.Array, place: Placement) -> Any:
    """Return variables whose moments count further observations."""
    moments = add_to_moments(variables[MOMENTS]["norm"], observation, place.sum)
    return {**variables, MOMENTS: {"norm": moments}}


def predictor(config: Config, run: RunDirectory) -> Predictor:
    """Answer an observation with the likeliest action, and its value."""
    del run

    def act(variables: Any, observation: jax.Array) -> Any:
        policy, value = config.model.apply(variables["agent"], observation)
        chances = {} if config.model.continuous else {"probabilities": jax.nn.softmax(policy.logits)}
        return {"action": policy.mode(), "value": value, **chances}

    return action_predictor(act, config.data)


if __name__ == "__main__":
    main(build)
