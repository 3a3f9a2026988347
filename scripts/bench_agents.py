"""Measure how fast PPO trains on CartPole, in turn with Stable-Baselines3 on the same machine and numbers.

    python -m venv SB3 && SB3/bin/pip install stable-baselines3
    python scripts/bench_agents.py --peer SB3/bin/python [--rounds 3]

Both train two networks of 64-64 in 16 environments: 128 steps of each, 4 epochs of 4 minibatches. Time is that of
training after one warm-up (jaxlm: after compiling), of the clock and of the processors, which says more on a machine
that others use too. Then: one seed of 500,000 steps, and ten seeds in one program.
"""

import argparse
import json
import statistics
import subprocess
import time
from collections.abc import Callable
from typing import Any, NamedTuple

ENVIRONMENTS, HORIZON, UPDATES = 16, 128, 245


class Timed(NamedTuple):
    """Seconds of the clock and of the processors."""

    clock: float
    cpu: float


def timed(work: Callable[[], Any]) -> Timed:
    """Return how long some work takes."""
    began, cpu = time.perf_counter(), time.process_time()
    work()
    return Timed(time.perf_counter() - began, time.process_time() - cpu)


def time_peer(updates: int) -> Timed:
    """Return how long Stable-Baselines3 takes for some updates."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_vec_env

    numbers = {"n_steps": HORIZON, "batch_size": 512, "n_epochs": 4, "ent_coef": 0.01, "learning_rate": 1e-3}
    model = PPO("MlpPolicy", make_vec_env("CartPole-v1", ENVIRONMENTS, seed=0), device="cpu", seed=0, **numbers)
    model.learn(ENVIRONMENTS * HORIZON)
    return timed(lambda: model.learn(updates * ENVIRONMENTS * HORIZON))


class Ours:
    """PPO of the config `ppo_cartpole` at some seeds in one program, compiled once."""

    def __init__(self, seeds: int):
        from jaxlm.parallel import local, together
        from jaxlm.runs.load import load_module
        from jaxlm.runs.settings import Seeds
        from jaxlm.runs.shipped import find_file
        from jaxlm.train.config import load_config
        from jaxlm.train.init_from import initialise

        config = load_config(find_file("config", "ppo_cartpole"))
        experiment = load_module(find_file("experiment", "ppo")).build(config, local())
        self.pack = together("vmapped") if seeds > 1 else None
        states = [initialise(experiment, local(), Seeds(seed, seed, seed)) for seed in range(seeds)]
        self.state = self.pack.place(states) if self.pack else states[0]
        data = [config.data.train(seed) for seed in range(seeds)]
        self.batches: list[Any] = [self._joined([one[update] for one in data]) for update in range(UPDATES)]
        step, first = experiment.step, self.batches[0]
        self.step = self.pack.compile(step, self.state, first) if self.pack else self._compiled(step, first)

    def _joined(self, batches: list[Any]) -> Any:
        return self.pack.put(batches) if self.pack else batches[0]

    def _compiled(self, step: Any, batch: Any) -> Any:
        import jax

        return jax.jit(step, donate_argnums=0).lower(self.state, batch).compile()

    def time(self, updates: int) -> Timed:
        """Return how long some updates take."""
        return timed(lambda: self._train(updates))

    def _train(self, updates: int) -> None:
        import jax

        for batch in self.batches[:updates]:
            self.state, metrics = self.step(self.state, batch)
        jax.block_until_ready(metrics)


def main() -> None:
    """Measure in turn and print a line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", default=None, help="a Python that has stable-baselines3")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--updates", type=int, default=40, help="of each measurement against the peer")
    parser.add_argument("--peer-updates", type=int, default=2)
    parser.add_argument("--whole", type=int, default=UPDATES, help="updates of one seed against ten")
    parser.add_argument("--time-peer", action="store_true", help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.time_peer:
        print(json.dumps(time_peer(words.peer_updates)))
        return
    one, steps = Ours(1), ENVIRONMENTS * HORIZON
    one.time(2)
    ours, theirs = [], []
    for _ in range(words.rounds):
        ours.append(one.time(words.updates))
        if words.peer is not None:
            command = [words.peer, __file__, "--time-peer", "--peer-updates", str(words.peer_updates)]
            theirs.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    for at, kind in enumerate(Timed._fields):
        rates = {"jaxlm": [words.updates * steps / found[at] for found in ours]}
        rates |= {"stable-baselines3": [words.peer_updates * steps / found[at] for found in theirs]} if theirs else {}
        for name, found in rates.items():
            print(
                f"{name}: {statistics.median(found):,.0f} steps/s of {kind} ({', '.join(f'{x:,.0f}' for x in found)})"
            )
        if theirs:
            print(f"ratio: {statistics.median(rates['jaxlm']) / statistics.median(rates['stable-baselines3']):.1f}")
    ten = Ours(10)
    ten.time(2)
    pairs = [(one.time(words.whole), ten.time(words.whole)) for _ in range(words.rounds)]
    for at, kind in enumerate(Timed._fields):
        alone, packed = (statistics.median(pair[side][at] for pair in pairs) for side in (0, 1))
        print(
            f"{words.whole * steps:,} steps, seconds of {kind}: one seed {alone:.1f}; ten in one program {packed:.1f}, "
            f"{packed / alone:.2f} times"
        )


if __name__ == "__main__":
    main()
