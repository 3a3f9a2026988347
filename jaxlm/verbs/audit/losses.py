"""The loss of each single example, of training data and of others."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.data.epoch import Epoch, permutation
from jaxlm.data.images.decoded import Subset
from jaxlm.data.loader import batches
from jaxlm.data.order import InOrder, RowSource
from jaxlm.data.poisson import Padded, Poisson, sampled_source
from jaxlm.data.ragged import Bucketed
from jaxlm.errors import BadInput
from jaxlm.train.recorder import Recorder

BATCH = 256


def members_and_others(recorder: Recorder) -> tuple[RowSource, RowSource]:
    """Return the examples that a run was trained on, and those that it is evaluated on.

    Raises:
        BadInput: the data of the run are no rows, or it has no evaluation.
    """
    experiment = recorder.experiment
    if "eval" not in experiment.evaluations:
        raise BadInput(f"{recorder.run_dir.path} has no evaluation, whose examples are held out")
    trained, held = experiment.train_data, experiment.evaluations["eval"].data
    members = trained.source if isinstance(trained, Poisson) else sampled_source(trained)
    others = Padded(held.source, held.widths) if isinstance(held, Bucketed) else getattr(held, "source", None)
    if others is None:
        raise BadInput(f"the evaluation data of {recorder.run_dir.path} are no rows: it cannot be audited")
    return members, others


def losses_of(recorder: Recorder, state: Any, source: RowSource, count: int) -> np.ndarray:
    """Return the losses of a random choice of examples, one by one, as an evaluation measures them; float64 [count].

    Args:
        recorder: of the run whose loss it is.
        state: of that run.
        source: the examples.
        count: how many; all where there are fewer.

    Raises:
        BadInput: the run's evaluation has no loss of single examples.
    """
    outputs = recorder.experiment.evaluations["eval"].outputs

    def of_each(state: Any, batch: Any) -> jax.Array:
        def one(example: Any) -> jax.Array:
            metrics = outputs(state, jax.tree.map(lambda x: x[None], example))
            loss = metrics["loss"] if isinstance(metrics, dict) and "loss" in metrics else None
            if loss is None or recorder.experiment.evaluations["eval"].score is not None:
                raise BadInput(f"{recorder.run_dir.path} is not evaluated by its loss: it cannot be audited")
            return loss.total / jnp.maximum(loss.weight, 1e-9)

        return jax.vmap(one)(batch)

    program, place = recorder.place.map(of_each), recorder.place
    chosen = np.sort(permutation(Epoch(0, 0), len(source))[:count])
    size = -(-min(BATCH, len(chosen)) // place.devices) * place.devices
    data = InOrder(Subset(source, chosen), size, keys=True)
    found = [np.asarray(program(state, batch)) for batch in batches(data, 0, len(data), put=place.put)]
    return np.concatenate(found).astype(np.float64)[: len(chosen)]
