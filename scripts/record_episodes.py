"""Write what an agent does in its environment to a file, for experiments/offline.py.

    python scripts/record_episodes.py RUN --episodes 200 [--random 0.5] [--seed 0] --to FILE.npz

Each action is a random one with the given chance, else the agent's. The file has one row a transition: "observation",
"action", "reward", "terminated", "truncated", "next_observation", "episode" (its number) and "score" (the sum of the
rewards of the episode up to the row).
"""

import argparse
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.environments import Discrete, Transitions, Worlds, rollout, start
from jaxlm.errors import BadInput
from jaxlm.predict.load import load_run
from jaxlm.runs.directory import RunDirectory

TOGETHER = 16  # environments


def record(run: str, episodes: int, random: float, seed: int) -> dict[str, np.ndarray]:
    """Return the transitions of whole episodes.

    Raises:
        BadInput: no run of an agent, or numbers that cannot be.
    """
    if episodes < 1 or not 0 <= random <= 1:
        raise BadInput(f"--episodes {episodes} --random {random}: record 1 episode or more, with a share from 0 to 1")
    loaded, data = load_run(run), RunDirectory.existing(run).config().data
    environment = getattr(data, "environment", None)
    if environment is None or not isinstance(environment.action_space, Discrete):
        raise BadInput(f"{run} is no run of an agent with actions to choose from: give one of experiments/dqn.py")
    count = environment.action_space.n

    def policy(observation: jax.Array, keys: jax.Array) -> tuple[jax.Array, None]:
        best = loaded.predictor.apply(loaded.variables, {"observation": observation})["action"]
        free = jax.vmap(lambda key: jax.random.uniform(key) < random)(keys)
        other = jax.vmap(lambda key: jax.random.randint(jax.random.fold_in(key, 1), (), 0, count))(keys)
        return jnp.where(free, other, best).astype(jnp.int32), None

    def piece(worlds: Worlds, key: jax.Array) -> tuple[Worlds, Transitions]:
        return rollout(environment, policy, worlds, jax.random.split(key, TOGETHER), 256)

    played, key = jax.jit(piece), jax.random.key(seed)
    worlds, done = start(environment, jax.random.split(key, TOGETHER)), 0
    pieces: list[Transitions] = []
    while done < episodes + TOGETHER:
        worlds, moves = played(worlds, jax.random.fold_in(key, len(pieces)))
        pieces.append(jax.device_get(moves))
        done += int(moves.done.sum())
    return whole_episodes({name: np.concatenate([getattr(x, name) for x in pieces]) for name in KEPT}, episodes)


KEPT = ("observation", "action", "reward", "terminated", "truncated", "next_observation", "score")


def whole_episodes(moves: dict[str, np.ndarray], episodes: int) -> dict[str, np.ndarray]:
    """Return the rows of the episodes that end first; arrays [T, B, ...] become [N, ...], with "episode" int32 [N]."""
    done = moves["terminated"] | moves["truncated"]
    ends = np.argwhere(done)[:episodes].tolist()  # in the order of time
    last = dict.fromkeys(range(done.shape[1]), -1)
    rows = []
    for number, (t, b) in enumerate(ends):
        rows.append(({name: x[last[b] + 1 : t + 1, b] for name, x in moves.items()}, number))
        last[b] = t
    found = {name: np.concatenate([part[name] for part, _ in rows]) for name in moves}
    return found | {"episode": np.concatenate([np.full(len(part["reward"]), n, np.int32) for part, n in rows])}


def main() -> int:
    """Record what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--random", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--to", type=Path, required=True)
    words = parser.parse_args()
    try:
        if words.to.suffix != ".npz":
            raise BadInput(f"--to is {words.to}: give a file that ends in .npz")
        found = record(words.run, words.episodes, words.random, words.seed)
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    np.savez(words.to, **found)  # type: ignore[arg-type]
    ends = found["terminated"] | found["truncated"]
    scores = found["score"][ends]
    print(f"{len(ends):,} transitions of {len(scores):,} episodes, mean return {scores.mean():.1f}: {words.to}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
