"""Learn the value of each action from a replay of what was experienced, and act by it (deep Q-network).

python experiments/dqn.py configs/dqn_cartpole.py [--loss.replay.alpha 0.6 ...]
"""

from typing import Any

import jax
import jax.numpy as jnp

from jaxlm import steps
from jaxlm.environments import Discrete, check_environment, play, rollout
from jaxlm.environments.replay import draw_places, experience, n_step, remember, reprioritise
from jaxlm.errors import BadInput
from jaxlm.losses.q_learning import temporal_difference
from jaxlm.metrics.episodes import episode_metrics
from jaxlm.parallel import Placement
from jaxlm.predict import Predictor
from jaxlm.predict.agents.actions import action_predictor
from jaxlm.runs.directory import RunDirectory
from jaxlm.runs.settings import COMPOSED
from jaxlm.steps import Mean, transforms
from jaxlm.train import Config, Evaluation, Experiment, main
from jaxlm.train.compose import joint_updates


def build(config: Config, place: Placement) -> Experiment:
    """Compose Mnih et al. 2015, algorithm 1: act, remember, draw, descend, renew the target."""
    model, data, dqn, run = config.model, config.data, config.loss, config.run
    check(config, place)
    environment, kept, total = data.environment, dqn.replay, run.steps * dqn.updates
    tx, count = config.optim(total), kept.batch // data.environments
    loss = transforms.freeze(transforms.cast(dqn(model), run.dtype), config.optim.frozen)
    difference = temporal_difference(model, dqn.double)

    def greedy(variables: Any, observation: jax.Array) -> jax.Array:
        return model.apply(variables, observation).argmax(-1).astype(jnp.int32)

    def random_action(key: jax.Array) -> jax.Array:
        return jax.random.randint(key, (), 0, model.actions)

    def act(params: Any, epsilon: jax.Array, observation: jax.Array, keys: jax.Array) -> tuple[jax.Array, None]:
        at_random = jax.vmap(lambda key: jax.random.uniform(key) < epsilon)(keys)
        action = greedy({"params": params}, observation)
        return jnp.where(at_random, jax.vmap(lambda key: random_action(jax.random.fold_in(key, 1)))(keys), action), None

    def learn(parts: dict[str, Any], keys: jax.Array) -> tuple[dict[str, Any], steps.Metrics]:
        agent, target, worlds, replay = (parts[name] for name in ("agent", "target", "worlds", "replay"))
        done = agent.step / total
        epsilon, beta = dqn.epsilon(done), kept.beta + done * (1 - kept.beta)
        act_keys, draw_keys = jax.vmap(jax.random.split, out_axes=1)(keys)

        worlds, moves = rollout(environment, lambda o, k: act(agent.params, epsilon, o, k), worlds, act_keys, dqn.acts)
        replay = remember(replay, moves)
        drawn = draw_places(replay, draw_keys, count, kept.steps, uniform=not kept.alpha)
        sample = n_step(replay, drawn.place_BK, kept.steps, dqn.discount)
        sample["weight"] = drawn.weight_BK.reshape(-1) ** beta
        if kept.alpha:
            found = jnp.abs(difference(agent.params, target, sample)).reshape(drawn.place_BK.shape)
            replay = reprioritise(replay, drawn.place_BK, (found + kept.floor) ** kept.alpha)

        grad = transforms.lend(steps.accumulate(steps.grad(loss), run.accumulate), "target", lambda _: target)
        update = steps.update(place.reduce(grad), tx)
        agent, metrics = (transforms.ema(update, run.ema) if run.ema else update)(agent, sample)
        target = renewed(dqn, target, agent)
        metrics |= place.sum(episode_metrics(moves.score, moves.length, moves.done))
        metrics["epsilon"] = Mean(epsilon, jnp.ones(()))
        return {"agent": agent, "target": target, "worlds": worlds, "replay": replay}, metrics

    def init(key: jax.Array) -> steps.Joint:
        keys = jax.random.split(key, 3)
        agent = steps.init(model, tx, data.example(), keys[0], ema=run.ema > 0)

        def anything(_: jax.Array, keys: jax.Array) -> tuple[jax.Array, None]:
            return jax.vmap(random_action)(keys), None

        worlds, replay = experience(environment, anything, keys[1], data.environments, kept)
        target = jax.tree.map(jnp.copy, agent.params)
        return steps.joint(keys[2], agent=agent, target=target, worlds=worlds, replay=replay)

    def outputs(state: steps.Joint, batch: Any) -> steps.Metrics:
        keys = steps.typed_keys(batch["keys"])
        variables = applied(state)
        return episode_metrics(*play(environment, lambda o, _: (greedy(variables, o), None), keys), batch["mask"])

    return Experiment(
        init=init,
        step=transforms.skip_nonfinite(joint_updates(learn, dqn.updates), run.skip_limit),
        train_data=data.train(run.seeds.data, run.seeds.noise),
        evaluations={"eval": Evaluation(data.eval(), outputs)},
        throughput=(data.environments * dqn.acts * dqn.updates, "steps"),
        learning_rate=lambda count: config.optim.learning_rate(total)(count * dqn.updates),
        rules=(("parts/worlds", ("examples",)), ("parts/replay/(items|priority)", ("examples",))),
        composes=COMPOSED,
        log_lines=data.log_lines(),
        artefacts=data.artefacts(),
    )


def check(config: Config, place: Placement) -> None:
    """Check that model, environment and numbers go together; raises BadInput."""
    config.model.validate()
    config.data.check(config.model, config.run.repeat)
    config.loss.check(config.data.environments)
    if not isinstance(config.data.environment.action_space, Discrete):
        raise BadInput(f"{config.data.environment} has no choice of actions, which a DQN needs: use experiments/sac.py")
    if config.init.path is not None:
        raise BadInput(f"init.path is {config.init.path}, and an agent starts from new weights: leave it out")
    check_environment(config.data.environment, place.devices)


def renewed(dqn: Any, target: Any, agent: steps.TrainState) -> Any:
    """Return the target net after an update, renewed every `target_every` updates."""
    kept = jnp.where(agent.step % dqn.target_every == 0, dqn.target_decay, 1.0)
    return jax.tree.map(lambda old, new: kept * old + (1 - kept) * new, target, agent.params)


def applied(state: steps.Joint) -> Any:
    """Return what an evaluation applies: the average of the agent where there is one."""
    agent = state.parts["agent"]
    return steps.eval_variables(agent.params, agent.variables, agent.ema)


def predictor(config: Config, run: RunDirectory) -> Predictor:
    """Answer an observation with the action of the highest value, and the values of all."""
    del run

    def act(variables: Any, observation: jax.Array) -> Any:
        values = config.model.apply(variables["agent"], observation)
        return {"action": values.argmax(-1), "values": values}

    return action_predictor(act, config.data)


if __name__ == "__main__":
    main(build)
