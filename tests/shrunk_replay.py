"""Words that shrink the configs of agents with a replay or a file, and of a language model tuned on rewards."""

import jax
import numpy as np

from jaxlm.environments import CartPole, rollout, start
from whole_path import SHORT

TINY_GAME = "--data.environment.max-steps 20 --data.eval-episodes 6 --model.hidden 8"
TINY_REPLAY = f"{TINY_GAME} --data.environments 4 --loss.updates 2 --loss.replay.capacity 64 --loss.replay.batch 8 "
TINY_REPLAY += "--loss.replay.prefill 48"
REPLAYED = {
    "dqn_cartpole": f"{TINY_REPLAY} --loss.replay.steps 3 --loss.replay.alpha 0.6",
    "dqn_mountain_car": f"{TINY_REPLAY} --loss.replay.steps 2",
    "sac_pendulum": TINY_REPLAY,
    "cql_cartpole": f"{TINY_GAME} --data.path RECORDED --data.batch 8 --run.repeat 1",
    "bc_cartpole": f"{TINY_GAME} --data.path RECORDED --data.batch 8 --run.repeat 1",
}
REWARDED = {
    "gpt_sort_digits": "--model.base.depth 1 --model.base.width 8 --model.base.heads 2 --data.digits 2 --data.batch 8 "
    "--data.held-out 12 --data.eval-batch 12 --loss.group 4 --loss.length 3",
}
REPLAY_EXPERIMENTS = {
    "dqn_cartpole": "dqn.py",
    "dqn_mountain_car": "dqn.py",
    "sac_pendulum": "sac.py",
    "cql_cartpole": "offline.py",
    "bc_cartpole": "offline.py",
    "gpt_sort_digits": "reward_tuning.py",
}


def replay_words(name, tmp_path):
    """The words that shrink a config, with what random actions do as the file of one that never acts."""
    words = {**REPLAYED, **REWARDED}[name]
    if "RECORDED" in words:
        write_transitions(tmp_path / "random.npz")
        words = words.replace("RECORDED", str(tmp_path / "random.npz"))
    return [*words.split(), *SHORT]


def write_transitions(path):
    """120 transitions of random actions in CartPole, as scripts/record_episodes.py writes them."""
    keys = jax.random.split(jax.random.key(0), (2, 4))

    def policy(_, keys):
        return jax.vmap(lambda key: jax.random.randint(key, (), 0, 2))(keys), None

    _, moves = rollout(CartPole(), policy, start(CartPole(), keys[0]), keys[1], 30)
    names = ("observation", "action", "reward", "terminated", "next_observation")
    np.savez(path, **{name: np.concatenate(np.asarray(getattr(moves, name))) for name in names})
