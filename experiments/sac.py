"""Learn a policy of real numbers from a replay of what was experienced (soft actor-critic).

python experiments/sac.py configs/sac_pendulum.py [--loss.entropy -1.0 ...]
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxlm import steps
from jaxlm.environments import check_environment, play, rollout
from jaxlm.environments.replay import draw_places, experience, n_step, remember
from jaxlm.environments.wrappers.unit_actions import UnitActions
from jaxlm.errors import BadInput
from jaxlm.losses.soft_actor_critic import squashed
from jaxlm.metrics.episodes import episode_metrics
from jaxlm.parallel import Placement
from jaxlm.predict import Predictor
from jaxlm.predict.agents.actions import action_predictor
from jaxlm.runs.directory import RunDirectory
from jaxlm.runs.settings import COMPOSED
from jaxlm.steps import LossFn, Mean, transforms
from jaxlm.train import Config, Evaluation, Experiment, main
from jaxlm.train.compose import joint_updates


def build(config: Config, place: Placement) -> Experiment:
    """Compose algorithm 1 of arXiv:1812.05905: act, remember, draw, and descend with critics, policy, temperature."""
    model, data, sac, run = config.model, config.data, config.loss, config.run
    check(config, place)
    environment, kept, total = UnitActions(data.environment), sac.replay, run.steps * sac.updates
    tx, count = config.optim(total), kept.batch // data.environments
    losses = {name: getattr(sac, name)(model) for name in ("critic", "actor", "temperature")}

    def descend(name: str, state: steps.TrainState, lent: dict[str, Any], batch: Any) -> Any:
        loss: LossFn = transforms.freeze(transforms.cast(losses[name], run.dtype), config.optim.frozen)
        grad: Any = steps.accumulate(steps.grad(loss), run.accumulate)
        for other in lent:
            grad = transforms.lend(grad, other, partial(given, lent[other]))
        update = steps.update(place.reduce(grad), tx)
        return (transforms.ema(update, run.ema) if run.ema and name == "actor" else update)(state, batch)

    def learn(parts: dict[str, Any], keys: jax.Array) -> tuple[dict[str, Any], steps.Metrics]:
        actor, critic, temperature, target = (parts[name] for name in ("actor", "critic", "temperature", "target"))
        keys = jax.vmap(lambda key: jax.random.split(key, 3), out_axes=1)(keys)

        def act(observation: jax.Array, keys: jax.Array) -> tuple[jax.Array, None]:
            return squashed(model, actor.params, observation, noise(keys, (model.actions,)))[0], None

        worlds, moves = rollout(environment, act, parts["worlds"], keys[0], sac.acts)
        replay = remember(parts["replay"], moves)
        drawn = draw_places(replay, keys[1], count, uniform=True)
        batch = n_step(replay, drawn.place_BK, 1, sac.discount)
        batch["weight"] = drawn.weight_BK.reshape(-1)
        batch["noise"] = noise(keys[2], (count, 2, model.actions)).reshape(-1, 2, model.actions)

        log = temperature.params["log"]
        critic, judged = descend("critic", critic, {"actor": actor.params, "target": target, "temperature": log}, batch)
        temperature, _ = descend("temperature", temperature, {"actor": actor.params}, batch)
        actor, metrics = descend("actor", actor, {"critic": critic.params, "temperature": log}, batch)
        target = jax.tree.map(lambda old, new: old + (1 - sac.target_decay) * (new - old), target, critic.params)
        metrics |= {f"critic_{name}": judged[name] for name in ("loss", "value", "grad_norm")}
        metrics |= place.sum(episode_metrics(moves.score, moves.length, moves.done))
        metrics["temperature"] = Mean(jnp.exp(log), jnp.ones(()))
        nets = {"actor": actor, "critic": critic, "temperature": temperature, "target": target}
        return {**nets, "worlds": worlds, "replay": replay}, metrics

    def init(key: jax.Array) -> steps.Joint:
        keys, seen, action = jax.random.split(key, 7), data.example(), jnp.zeros((1, model.actions))
        actor = model.init(keys[0], seen, method="act")["params"]
        critic = model.init(keys[1], seen, action, method="judge")["params"]

        def anything(_: jax.Array, keys: jax.Array) -> tuple[jax.Array, None]:
            return jax.vmap(lambda key: jax.random.uniform(key, (model.actions,), minval=-1.0))(keys), None

        worlds, replay = experience(environment, anything, keys[2], data.environments, kept)
        return steps.joint(
            keys[3],
            actor=steps.new_state(actor, tx, keys[4], ema=run.ema > 0),
            critic=steps.new_state(critic, tx, keys[5]),
            temperature=steps.new_state({"log": jnp.zeros(())}, tx, keys[6]),
            target=jax.tree.map(jnp.copy, critic),
            worlds=worlds,
            replay=replay,
        )

    def outputs(state: steps.Joint, batch: Any) -> steps.Metrics:
        keys = steps.typed_keys(batch["keys"])
        actor = state.parts["actor"]
        variables = steps.eval_variables(actor.params, actor.variables, actor.ema)

        def policy(observation: jax.Array, _: jax.Array) -> tuple[jax.Array, None]:
            return jnp.tanh(model.apply(variables, observation, method="act").mean), None

        return episode_metrics(*play(environment, policy, keys), batch["mask"])

    return Experiment(
        init=init,
        step=transforms.skip_nonfinite(joint_updates(learn, sac.updates), run.skip_limit),
        train_data=data.train(run.seeds.data, run.seeds.noise),
        evaluations={"eval": Evaluation(data.eval(), outputs)},
        throughput=(data.environments * sac.acts * sac.updates, "steps"),
        learning_rate=lambda count: config.optim.learning_rate(total)(count * sac.updates),
        rules=((r"parts/worlds|parts/replay/(items|priority)", ("examples",)),),
        composes=COMPOSED,
        log_lines=data.log_lines(),
        artefacts=data.artefacts(),
    )


def check(config: Config, place: Placement) -> None:
    """Check that model, environment and numbers go together; raises BadInput."""
    config.model.validate()
    UnitActions(config.data.environment)
    config.data.check(config.model, config.run.repeat)
    config.loss.check(config.data.environments)
    if config.init.path is not None:
        raise BadInput(f"init.path is {config.init.path}, and an agent starts from new weights: leave it out")
    check_environment(config.data.environment, place.devices)


def given(value: Any, batch: Any) -> Any:
    """Return what a loss is lent, whatever the batch."""
    del batch
    return value


def noise(keys: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Draw from N(0, 1) for each environment, float32 [B, *shape]."""
    return jax.vmap(lambda key: jax.random.normal(key, shape))(keys)


def predictor(config: Config, run: RunDirectory) -> Predictor:
    """Answer an observation with the action at the policy's mean."""
    del run

    def act(variables: Any, observation: jax.Array) -> Any:
        mean = config.model.apply(variables["actor"], observation, method="act").mean
        return {"action": UnitActions(config.data.environment).outside(jnp.tanh(mean))}

    return action_predictor(act, config.data)


if __name__ == "__main__":
    main(build)
