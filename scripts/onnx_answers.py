"""Compare the answers that onnxruntime gives with those of jaxlm on every example of a run's evaluation.

    python scripts/onnx_answers.py RUN

The run is converted with whole weights and with weights in 8 bits, as `jaxlm export RUN DIR --to onnx` and
`jaxlm compress RUN DIR --int8 --to onnx` do, and each is compared with what jaxlm computes with the same weights.
"""

import argparse
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tabulate import tabulate

from jaxlm.compress.weights import quantise_model
from jaxlm.export.onnx import MODEL, onnx_difference, open_onnx, write_onnx
from jaxlm.predict.load import LoadedModel, load_run
from jaxlm.train.recorder import Recorder


def examples(run: str, names: set[str]) -> Iterator[tuple[Mapping[str, np.ndarray], np.ndarray]]:
    """Yield the arrays of each batch of the first evaluation of a run, and which of its rows are examples."""
    data = next(iter(Recorder.existing(run).experiment.evaluations.values())).data
    for number in range(len(data)):
        batch = data[number]
        arrays = {name: np.asarray(batch[name]) for name in names}
        rows = len(next(iter(arrays.values())))
        yield arrays, np.asarray(batch.get("mask", np.ones(rows))) > 0


def compare(run: str, model: LoadedModel) -> list[Any]:
    """Return a row of the table: rows a call, bytes, examples, other answers, and the largest difference."""
    predictor = model.predictor
    program = jax.jit(predictor.apply)
    count, others, worst = 0, 0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        written = write_onnx(Path(folder), model)
        run_onnx, size = open_onnx(Path(folder) / MODEL), (Path(folder) / MODEL).stat().st_size
        for batch, inside in examples(run, set(predictor.examples[-1])):
            expected, found = jax.device_get(program(model.variables, batch)), run_onnx(dict(batch))
            worst = max(worst, *(onnx_difference(found[name][inside], x[inside]) for name, x in expected.items()))
            for place in np.flatnonzero(inside):
                ours, theirs = ({name: x[place] for name, x in outputs.items()} for outputs in (expected, found))
                labels = [predictor.postprocess([row], None)["label"] for row in (ours, theirs)]
                count, others = count + 1, others + (labels[0] != labels[1])
    return [written.rows or "any", f"{size / 1000:.0f}", count, others, f"{worst:.1g}"]


def main() -> None:
    """Print a table of both forms of a run of a classifier."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="RUN", help="of a classifier")
    options = parser.parse_args()
    whole = load_run(options.run)
    found = {"float32": whole, "int8": quantise_model(whole, 8)}
    head = ["weights", "rows a call", "KB", "examples", "other classes", "largest difference"]
    rows = [[name, *compare(options.run, model)] for name, model in found.items()]
    print(tabulate(rows, head, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
