"""A federated run over a network, by Flower: what its server and its clients do.

An app's pyproject.toml names `jaxlm.federated.flower:server` and `jaxlm.federated.flower:client`, as the one in
scripts/flower_app does. Its run config has "config", a config file of a federated run or its name; "rounds"; and "out",
where the server writes the run. A client's node config has "client", its number (see `Participant`).
"""

import dataclasses
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from jaxlm.errors import BadInput
from jaxlm.federated.client import Participant, check_machines
from jaxlm.federated.config import FederatedConfig
from jaxlm.optim import SGD
from jaxlm.runs.load import load_module
from jaxlm.runs.shipped import find_file
from jaxlm.train.config import load_config
from jaxlm.train.replay.fork import appearing, begin

server = ServerApp()
client = ClientApp()


@client.train()
def train_client(message: Message, context: Context) -> Message:
    """Answer the server's parameters with the client's, its weight and its loss."""
    participant = _participant(str(context.run_config["config"]), int(context.node_config["client"]))
    params = from_record(message.content["arrays"])
    own, weight, loss = participant.train(params, int(message.content["config"]["server-round"]) - 1)
    found = {"arrays": to_record(own), "metrics": MetricRecord({"num-examples": weight, "loss": loss})}
    return Message(content=RecordDict(found), reply_to=message)


@server.main()
def average_clients(grid: Grid, context: Context) -> None:
    """Average the clients for some rounds, measure the model after each, and write it as a run."""
    words = context.run_config
    path, rounds, out = find_file("config", str(words["config"])), int(words["rounds"]), Path(str(words["out"]))
    config = load_config(path)
    config = dataclasses.replace(config, run=dataclasses.replace(config.run, steps=rounds, directory=str(out)))
    check_server(config)
    build = load_module(find_file("experiment", "federated")).build
    with appearing(build, config, out) as recorder:
        state = recorder.place.init(recorder.experiment.init, jax.random.key(config.run.seeds.init))

        def measure(number: int, arrays: ArrayRecord) -> MetricRecord:
            return MetricRecord(recorder.numbers(state.replace(params=from_record(arrays))))

        result = strategy(words).start(grid, to_record(state.params), rounds, evaluate_fn=measure)
        state = state.replace(params=from_record(result.arrays), step=state.step + rounds)
        begin(recorder, build, {"run": "clients of Flower", "step": 0, "changed": {}, "lineage": {}})
        for number, found in result.evaluate_metrics_serverapp.items():
            recorder.run_dir.append_metrics(number, dict(found))
        recorder.checkpoints.save(rounds, state, dict(result.evaluate_metrics_serverapp[rounds]))


def check_server(config: FederatedConfig) -> None:
    """Raise BadInput for what Flower's server would leave out: it averages, from new weights."""
    check_machines(config)
    if config.run.ema:
        raise BadInput(f"run.ema is {config.run.ema}, and this server keeps no average over rounds: set it to 0")
    if config.init.path is not None:
        raise BadInput(f"init.path is {config.init.path}, and this server starts from new weights: leave it out")
    if config.optim != SGD(peak_lr=1.0, schedule="constant"):
        raise BadInput(f'optim is {config.optim}, and this server averages: set SGD(peak_lr=1.0, schedule="constant")')


def strategy(words: Any) -> FedAvg:
    """Return federated averaging over all clients that are there, of which there must be `nodes`."""
    nodes = int(words["nodes"])
    return FedAvg(fraction_evaluate=0.0, min_train_nodes=nodes, min_available_nodes=nodes)


def to_record(params: Any) -> ArrayRecord:
    """Return parameters as Flower sends them, by path."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return ArrayRecord(
        {jax.tree_util.keystr(path, simple=True, separator="/"): Array(np.asarray(x)) for path, x in leaves}
    )


def from_record(record: ArrayRecord) -> Any:
    """Return the parameters of a record, as nested dicts."""
    params: dict[str, Any] = {}
    for path, array in record.items():
        *parents, name = path.split("/")
        place = params
        for parent in parents:
            place = place.setdefault(parent, {})
        place[name] = array.numpy()
    return params


@lru_cache(maxsize=2)
def _participant(config: str, number: int) -> Participant:
    """Return a client, which a process that trains it more than once composes once."""
    return Participant(load_config(find_file("config", config)), number)
