"""Serve an artefact with LitServe instead of `jaxlm serve`: the peer of bench_serve.py.

    pip install litserve
    python scripts/serve_litserve.py ARTEFACT [--batch 64] [--port 8000]

One process answers HTTP and another holds the model, as LitServe does it. Requests that wait for the model are computed
together. Paths and bodies are those of `jaxlm serve`, for requests of one input.
"""

import argparse
from pathlib import Path
from typing import Any

import jax
import litserve

import jaxlm
from jaxlm.decode.generate import power_of_two
from jaxlm.export.artefact import from_wire, open_artefact
from jaxlm.predict.predictor import stack_rows

WAIT = 1e-3  # seconds that LitServe waits for more requests; with 0 it computes each alone


class Model(litserve.LitAPI):
    """What LitServe asks: the model of an artefact."""

    def __init__(self, path: Path, batch: int):
        super().__init__(max_batch_size=batch, batch_timeout=WAIT, api_path="/v1/predict")
        self._path = path

    def setup(self, device: str) -> None:
        """Load the model, and compile its programs for batches of 1, 2, 4 and so on."""
        loaded, (given, _) = jaxlm.load(self._path), open_artefact(self._path).probes()[0]
        self._predictor, self._variables = loaded.predictor, jax.device_put(loaded.variables)
        self._program = jax.jit(self._predictor.apply)
        for size in range(self.max_batch_size.bit_length()):
            self.predict([given] * (1 << size))

    def decode_request(self, request: dict[str, Any], **kwargs: Any) -> Any:
        """Return the input of a request."""
        (given,) = request["inputs"]
        return from_wire(given)

    def batch(self, inputs: list[Any]) -> list[Any]:
        """Keep inputs as a list."""
        return inputs

    def predict(self, x: Any, **kwargs: Any) -> Any:
        """Return the answers to a list of inputs of one row each, or to one input where batches have one."""
        if not isinstance(x, list):
            return self.predict([x])[0]
        found = list(self._predictor.preprocess(x))
        batch = stack_rows([one.rows[0] for one in found], power_of_two(len(found)))
        outputs = jax.device_get(self._program(self._variables, batch))
        rows = [{name: values[place] for name, values in outputs.items()} for place in range(len(found))]
        return [self._predictor.postprocess([row], one.context) for row, one in zip(rows, found, strict=True)]

    def unbatch(self, output: list[Any]) -> list[Any]:
        """Return the answers of a batch."""
        return output

    def encode_response(self, output: Any, **kwargs: Any) -> dict[str, Any]:
        """Return an answer as JSON."""
        return {"outputs": [output]}


def main() -> None:
    """Serve until it is stopped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artefact", type=Path)
    parser.add_argument("--batch", type=int, default=64, help="requests computed together at most")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    server = litserve.LitServer(Model(options.artefact, options.batch), accelerator="cpu", healthcheck_path="/livez")
    server.run(host="127.0.0.1", port=options.port, log_level="error", generate_client_file=False)


if __name__ == "__main__":
    main()
