"""Train one agent at several seeds in one vmapped program, and print what each of them reached.

    python scripts/measure_agents.py ppo_cartpole --seeds 20 [--first 0] [--run.steps 100 ...]

For each seed: the mean return of (at least) the last 100 episodes of training, and that of the greedy policy in the
episodes of the evaluation. Equal to a run of `jaxlm train` at the same seed, to rounding.
"""

import argparse
import dataclasses
import json
import time
from typing import Any

import numpy as np

from jaxlm.parallel import local, together
from jaxlm.runs.load import load_module
from jaxlm.runs.settings import Seeds
from jaxlm.runs.shipped import find_file
from jaxlm.steps import compute
from jaxlm.train.config import load_config, override
from jaxlm.train.evaluate import Evaluator
from jaxlm.train.init_from import initialise

LAST = 100  # episodes of training that are averaged


def measure(build: Any, config: Any, seeds: range) -> list[dict[str, float]]:
    """Return what each seed reached, with the seconds that all of them took together."""
    place, pack = local(), together("vmapped")
    runs = [build(dataclasses.replace(config, run=dataclasses.replace(config.run, seed=seed)), place) for seed in seeds]
    states = pack.place([initialise(runs[0], place, Seeds(seed, seed, seed)) for seed in seeds])
    batches = [pack.put([run.train_data[update] for run in runs]) for update in range(config.run.steps)]
    step = pack.compile(runs[0].step, states, batches[0])
    began, cpu, returns = time.perf_counter(), time.process_time(), []
    for batch in batches:
        states, metrics = step(states, batch)
        returns.append(metrics["return"])
    totals, counts = (np.stack([np.asarray(x[part], np.float64) for x in returns]) for part in (0, 1))
    took = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu}
    evaluator = Evaluator(runs[0].evaluations, place)
    found = []
    for at, seed in enumerate(seeds):
        numbers = compute(evaluator.sums("eval", pack.take(states, at)))
        last = last_mean(totals[:, at], counts[:, at])
        found.append({"seed": seed, "last_100": last, "greedy": numbers["return"]} | took)
    return found


def last_mean(totals: np.ndarray, counts: np.ndarray) -> float:
    """Return the mean return of the last updates that have at least `LAST` episodes together."""
    behind = np.cumsum(counts[::-1])
    take = int(np.searchsorted(behind, LAST)) + 1
    return float(totals[-take:].sum() / max(counts[-take:].sum(), 1))


def main() -> None:
    """Measure the config of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0)
    words, overrides = parser.parse_known_args()
    file = find_file("config", words.config)
    build = load_module(find_file("experiment", load_module(file).experiment)).build
    config = override(load_config(file), overrides)
    found = measure(build, config, range(words.first, words.first + words.seeds))
    for one in found:
        print(json.dumps(one))
    for name in ("last_100", "greedy"):
        values = np.array([one[name] for one in found])
        print(f"{name}: mean {values.mean():.4g}, std {values.std():.3g}, least {values.min():.4g}")


if __name__ == "__main__":
    main()
