"""What packing the runs of an ablation saves: 8 seeds x 4 learning rates of a small MLP and a small transformer.

    python3 scripts/env.py python scripts/bench_ablate.py [--model mlp|transformer] [--seeds 8] [--steps 1500]

Peers, each timed from its start to the last record, with initialisation, compilation, evaluation and checkpoints:

- processes: as many separate starts of the experiment file; a few are timed, and their mean is multiplied;
- one after another: all runs in this process with one compilation (`--packing shared`);
- the packings asked for.

The overhead of a cell is the time of a peer without that of its updates, as its runs record it, by cell: its share of
compilation, initialisation, evaluation, checkpoints, and the files of a run.

The cells go to a folder that is removed, and compiled programs are not kept between peers.
"""

import argparse
import dataclasses
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench import Others, machine, prepare_environment

ROOT = Path(__file__).resolve().parent.parent
PEAKS = (1e-3, 2e-3, 4e-3, 8e-3)
MLP = """
from jaxlm.data.images.sources import Digits
from jaxlm.losses import Classification
from jaxlm.models.mlp import MLP
from jaxlm.optim import AdamW
from jaxlm.train import Config, Run

config = Config(
    model=MLP(classes=10, hidden=(32,)),
    data=Digits(batch=64, eval_batch=360),
    loss=Classification(),
    optim=AdamW(peak_lr=1e-3, warmup=10),
    run=Run(steps={steps}, log_every=100, metric="eval/accuracy", maximize=True),
)
"""
TRANSFORMER = """
from jaxlm.data import Bytes, Text
from jaxlm.models.gpt import GPT
from jaxlm.optim import AdamW
from jaxlm.train import Config, Run

config = Config(
    model=GPT(vocab=256, depth=2, width=64, heads=2, context=64),
    data=Text(path={text!r}, tokenizer=Bytes(), batch=8, length=64),
    optim=AdamW(peak_lr=1e-3, warmup=10),
    run=Run(steps={steps}, log_every=100),
)
"""


def main() -> None:
    """Time the peers, repeat by repeat, and tell totals and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=("mlp", "transformer"), default="mlp")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=1500, help="updates of each run (default 1500)")
    parser.add_argument("--repeats", type=int, default=3, help="turns of the peers in this process (default 3)")
    parser.add_argument("--processes", type=int, default=3, help="separate starts that are timed (default 3)")
    parser.add_argument("--packings", nargs="+", default=["vmapped"], choices=("devices", "vmapped"))
    words = parser.parse_args()
    prepare_environment()
    others = Others()
    with tempfile.TemporaryDirectory() as folder:
        source = MLP if words.model == "mlp" else TRANSFORMER
        config = Path(folder) / f"{words.model}.py"
        config.write_text(source.format(steps=words.steps, text=str(ROOT / "docs" / "design.md")))
        totals, overheads = bench(words, config, Path(folder))
    count = words.seeds * len(PEAKS)
    print(machine(os.cpu_count() or 1))
    print(f"{words.model}: {count} runs of {words.steps} updates; others had {others.share():.0%} of the machine\n")
    base = statistics.median(totals["one after another"])
    print(f"{'':<20}{'median s':>10}{'min s':>10}{'overhead s a cell':>20}{'against one after another':>28}")
    for name, found in totals.items():
        middle, overhead = statistics.median(found), statistics.median(overheads[name])
        print(f"{name:<20}{middle:>10.1f}{min(found):>10.1f}{overhead:>20.2f}{base / middle:>27.2f}x")


def bench(words: argparse.Namespace, config: Path, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Seconds of every peer by turn, and its overhead by cell."""
    experiment = ROOT / "experiments" / f"{'image_classification' if words.model == 'mlp' else 'language_model'}.py"
    count = words.seeds * len(PEAKS)
    starts = [separate(experiment, config, folder / f"process{number}", number) for number in range(words.processes)]
    totals = {"separate processes": [statistics.mean(starts) * count]}
    updates = seconds_of_updates(folder.glob("process*"))
    overheads = {"separate processes": [statistics.mean(starts) - updates / words.processes]}
    peers = {"one after another": "shared"} | {packing: packing for packing in words.packings}
    for turn in range(words.repeats):
        for name, packing in peers.items():
            home = folder / f"{packing}{turn}"
            took = together(experiment, config, home, packing, words.seeds)
            totals.setdefault(name, []).append(took)
            updates = seconds_of_updates(path.parent for path in home.glob("cells/*/metrics.jsonl"))
            overheads.setdefault(name, []).append((took - updates) / count)
            print(f"turn {turn}: {name} {took:.1f} s", flush=True)
    return totals, overheads


def seconds_of_updates(runs: Iterable[Path]) -> float:
    """Return the time of the updates of runs; those of a pack are recorded by each of its runs."""
    from jaxlm.runs.directory import RunDirectory

    total = 0.0
    for home in map(RunDirectory, runs):
        records = [record for record in home.metrics() if "time/step" in record]
        ends = [0, *(record["step"] for record in records)]
        took = sum(
            record["time/step"] * (end - begin) for record, begin, end in zip(records, ends, ends[1:], strict=False)
        )
        total += took / home.lineage()["sessions"][-1].get("runs", 1)
    return total


def separate(experiment: Path, config: Path, directory: Path, seed: int) -> float:
    """Seconds of a run in a process of its own."""
    command = [sys.executable, str(experiment), str(config), "--run.directory", str(directory), "--run.seed", str(seed)]
    began = time.perf_counter()
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": "", "PYTHONPATH": str(ROOT)}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    return time.perf_counter() - began


def together(experiment: Path, config: Path, directory: Path, packing: Any, seeds: int) -> float:
    """Seconds of all runs in this process, with nothing compiled before."""
    import jax

    from jaxlm.ablate.arms import Arm
    from jaxlm.ablate.cell import with_seed
    from jaxlm.ablate.execute.plan import group_cells, plan
    from jaxlm.ablate.execute.runner import Runner
    from jaxlm.ablate.sources import Sources
    from jaxlm.runs.load import load_module
    from jaxlm.train.config import load_config

    jax.clear_caches()
    directory.mkdir()
    began = time.perf_counter()
    build, base, sources = load_module(experiment).build, load_config(config), Sources(experiment)
    cells = []
    for peak in PEAKS:
        chosen = dataclasses.replace(base, optim=dataclasses.replace(base.optim, peak_lr=peak))
        arm = Arm(f"peak {peak}", ("--optim.peak-lr", str(peak)))
        cells += [plan(build, arm, with_seed(chosen, seed), sources, packing) for seed in range(seeds)]
    runner = Runner(build, directory)
    done = [record for group in group_cells(cells) for _, record in runner.run(group)]
    if len(done) != len(cells) or any(record["failed"] for record in done):
        raise RuntimeError("a run failed, so the times say nothing")
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
