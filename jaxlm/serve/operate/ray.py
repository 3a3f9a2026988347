"""Several replicas of a service on Ray Serve, on one machine or on a cluster whose nodes all see the models.

from ray import serve
serve.run(on_ray_serve(["artefact"], replicas=2))
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxlm.errors import BadInput
from jaxlm.serve.app import Limits, make_app
from jaxlm.serve.feedback.store import Store
from jaxlm.serve.model import Batching
from jaxlm.serve.shelf import freeze_heap

NAME = "jaxlm"


def on_ray_serve(
    paths: Sequence[str | Path],
    *,
    replicas: int = 2,
    num_cpus: float = 1,
    num_gpus: float = 0,
    batching: Batching | None = None,
    limits: Limits | None = None,
    tokens: Sequence[str] = (),
    feedback: str | None = None,
    keep: bool = False,
) -> Any:
    """Return the application of a service as `ray.serve.run` takes it: each replica is one of its own.

    A request goes to one replica, which forms batches of its own, so /metrics are those of one of them. A reload
    changes one replica alone: run the application again instead, which Ray Serve does without losing a request.

    Args:
        paths: of runs and artefacts, as every node sees them.
        replicas: processes, each with all models.
        num_cpus: that Ray keeps for a replica.
        num_gpus: that Ray keeps for a replica.
        batching: see `make_app`.
        limits: of a request, in each replica.
        tokens: see `make_app`.
        feedback: the database of feedback, which all replicas write: a URL of PostgreSQL; None: none.
        keep: whether inputs and answers are kept there, too.

    Raises:
        BadInput: Ray Serve is not installed, or feedback would be kept in a file.
    """
    try:
        from ray import serve
    except (ModuleNotFoundError, ImportError) as error:
        raise BadInput(f"Ray Serve is not there ({error}): pip install 'jaxlm[ray-serve]'") from None
    if feedback is not None and "://" not in feedback:
        raise BadInput(f"feedback is {feedback}, a file of one machine: give postgresql://USER@HOST/NAME")
    folders = [Path(path).absolute() for path in paths]

    def build() -> Any:
        store = None if feedback is None else Store(feedback)
        app = make_app(folders, batching=batching, limits=limits, tokens=tokens, store=store, keep=keep)
        freeze_heap()
        return app

    deployment: Any = serve.deployment(
        name=NAME,
        num_replicas=replicas,
        max_ongoing_requests=(limits or Limits()).requests + 1,  # of more than its limit a replica says so itself
        ray_actor_options={"num_cpus": num_cpus, "num_gpus": num_gpus},
    )
    return deployment(serve.ingress(build)()).bind()
