#!/usr/bin/env python3
"""Train a small network on digits alone and with a teacher, over the same seeds, and compare in pairs.

    python scripts/measure_distillation.py --seeds 5 --folder runs/distillation

It prints the accuracy of the teacher, of each pair, and the mean difference with its 95 % interval (t, over seeds).
"""

import argparse
import dataclasses
import json
import resource
import statistics
from pathlib import Path
from typing import Any

from scipy import stats

from jaxlm.compress.distill import student_config
from jaxlm.runs.directory import RunDirectory
from jaxlm.runs.load import load_module
from jaxlm.train import train
from jaxlm.train.config import load_config
from jaxlm.train.main import keep_compiled_programs

ROOT = Path(__file__).resolve().parent.parent
BUILD = load_module(ROOT / "experiments" / "image_classification.py").build


def main() -> None:
    """Train the teacher, and a student alone and with it for each seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--widths", type=int, nargs="+", default=[2, 4], help="channels of the student's stages")
    parser.add_argument("--hidden", type=int, default=8)
    parser.add_argument("--temperature", type=float, default=4.0)
    parser.add_argument("--weight", type=float, default=0.9)
    parser.add_argument("--folder", type=Path, default=Path("runs/distillation"))
    words = parser.parse_args()
    keep_compiled_programs()
    config = load_config(ROOT / "configs" / "cnn_digits.py")
    whole = dataclasses.replace(config, run=dataclasses.replace(config.run, steps=words.steps))
    print(f"teacher: {accuracy(whole, words.folder / 'teacher'):.4f}", flush=True)
    model = dataclasses.replace(config.model, widths=tuple(words.widths), hidden=words.hidden)
    differences = []
    for seed in range(words.seeds):
        alone = dataclasses.replace(whole, model=model, run=dataclasses.replace(whole.run, seed=seed))
        home, out = RunDirectory(words.folder / "teacher"), words.folder / f"distilled-{seed}"
        options = {"temperature": words.temperature, "weight": words.weight}
        taught = student_config(alone, home, words.steps, out, **options)
        scores = accuracy(alone, words.folder / f"alone-{seed}"), accuracy(taught, out)
        print(f"seed {seed}: alone {scores[0]:.4f}, distilled {scores[1]:.4f}", flush=True)
        differences.append(scores[1] - scores[0])
    mean, error = statistics.mean(differences), statistics.stdev(differences) / len(differences) ** 0.5
    reach = stats.t.ppf(0.975, len(differences) - 1) * error
    used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    print(f"distilled - alone: {mean:+.4f} ({mean - reach:+.4f} to {mean + reach:+.4f}), {used:.0f} s of CPU time")


def accuracy(config: Any, folder: Path) -> float:
    """Train a run, and return its accuracy at the end."""
    train(BUILD, config, folder)
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [record["eval/accuracy"] for record in records if "eval/accuracy" in record][-1]


if __name__ == "__main__":
    main()
