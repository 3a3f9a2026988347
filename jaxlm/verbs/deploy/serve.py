"""`jaxlm serve`: a service of runs and artefacts over HTTP."""

import argparse
import os
from pathlib import Path

from jaxlm.errors import BadInput

TOKENS = "JAXLM_TOKENS"


def serve(words: argparse.Namespace) -> int:
    """Open models and serve them until SIGTERM or Ctrl-C.

    Raises:
        BadInput: the extra is not installed, a model cannot be opened, or everybody could ask it.
    """
    try:
        from jaxlm.serve.app import Limits, make_app
        from jaxlm.serve.feedback.store import Store
        from jaxlm.serve.server import LOOPBACK, serve_app
    except ModuleNotFoundError as error:
        raise BadInput(f"{error.name} is not installed: pip install 'jaxlm[serve]'") from None
    from jaxlm.serve.limits import read_tokens
    from jaxlm.serve.model import Batching
    from jaxlm.serve.operate.trial import Trial
    from jaxlm.train.main import keep_compiled_programs

    _check(words)
    tokens = read_tokens(words.tokens, os.environ.get(TOKENS))
    if words.host not in LOOPBACK and not tokens and not words.open:
        raise BadInput(
            f"--host {words.host} lets other machines ask, and no token is set: give --tokens FILE or {TOKENS}, or add "
            "--open to let everybody"
        )
    trial = Trial(_path(words.shadow), _path(words.canary), 0.1 if words.share is None else words.share)
    store = None if words.feedback is None else Store(words.feedback, words.keep_days)
    keep_compiled_programs()
    batching = Batching(words.batch, words.batch_invariant, words.wait_ms / 1000, words.queue, words.slots)
    app = make_app(
        [Path(path) for path in words.models],
        batching=batching,
        limits=Limits(words.max_body, words.timeout, words.requests),
        tokens=tokens,
        store=store,
        keep=words.keep_predictions,
        trial=trial if trial.shadow or trial.canary else None,
    )
    try:
        serve_app(app, words.host, words.port)
    finally:
        if store is not None:
            store.close()
    return 0


def _check(words: argparse.Namespace) -> None:
    """Raise BadInput for a number that cannot be, and for options that do not go together."""
    numbers: dict[str, float] = {"port": 0, "queue": 1, "slots": 1, "requests": 1, "max_body": 1, "wait_ms": 0}
    numbers |= {"timeout": 0.001, "keep_days": 0.001}
    for name, least in numbers.items():
        if not getattr(words, name) >= least:  # so that nan is refused, too
            raise BadInput(f"--{name.replace('_', '-')} is {getattr(words, name)}: it must be at least {least}")
    if words.port > 65535:
        raise BadInput(f"--port is {words.port}: it must be at most 65535")
    if words.batch is not None and words.batch < 1:
        raise BadInput(f"--batch is {words.batch}: it must be at least 1")
    if words.batch is not None and words.batch_invariant:
        raise BadInput("--batch-invariant takes the batch of the evaluation: leave --batch out")
    if words.feedback is None and words.keep_predictions:
        raise BadInput("--keep-predictions needs a place to keep them: give --feedback FILE")
    if words.share is not None and words.canary is None:
        raise BadInput("--share is that of a canary: give --canary MODEL, too")


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)
