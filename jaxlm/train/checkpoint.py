"""Sealed checkpoints: Orbax writes them, a manifest of digests says that they are whole.

Orbax saves asynchronously and puts a finished folder in place by a rename, but a flipped bit restores silently, a
dtype is cast silently, and some of its files are not fsynced. So every checkpoint gets a seal, written
last: the SHA-256 of each file and the shape and dtype of each leaf. Only sealed checkpoints are restored, or counted
when old ones are removed.
"""

import errno
import hashlib
import logging
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from jaxlm.errors import BadInput
from jaxlm.train.seal import SEAL, leaf_table, read_seal, verify, write_seal

Say = Callable[[str], None]
PARTIAL = "orbax-checkpoint-tmp"  # in the name of a folder that Orbax has not finished


class Checkpoints:
    """The checkpoints of one run: a folder for each, named by the updates completed.

    keep_last: newest checkpoints kept.    keep_best: further ones kept for their value of `metric`.
    """

    def __init__(
        self,
        directory: str | Path,
        keep_last: int = 2,
        keep_best: int = 0,
        metric: str = "eval/loss",
        maximize: bool = False,
    ):
        self.directory = Path(directory).absolute()
        self._keep_last, self._keep_best, self._metric, self._maximize = keep_last, keep_best, metric, maximize
        self._orbax: Any = None
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    def steps(self) -> list[int]:
        """The updates completed at each sealed checkpoint, ascending."""
        if not self.directory.is_dir():
            return []
        return sorted(int(path.parent.name) for path in self.directory.glob(f"*/{SEAL}") if path.parent.name.isdigit())

    def save(self, step: int, state: Any, metrics: dict[str, float] | None = None) -> None:
        """Copy the state off the devices and write it in the background; waits for the save before it.

        Raises BadInput where the save before it failed.
        """
        self.wait()
        target = self.directory / str(step)
        if target.exists():
            shutil.rmtree(target)
        self.directory.mkdir(parents=True, exist_ok=True)
        seal = {"step": step, "metrics": metrics or {}, "leaves": leaf_table(state)}
        try:
            self._checkpointer().save(target, state)
        except Exception as error:
            raise self._explain(step, error) from error
        self._thread = threading.Thread(target=self._finish, args=(step, target, seal), name="seal", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise BadInput if a save in the background has failed."""
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def wait(self) -> None:
        """Wait for the save in the background and raise if it failed."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.check()

    def close(self) -> None:
        """Let the save in the background end, whatever becomes of it: Orbax must not outlive the interpreter."""
        if self._thread is not None:
            self._thread.join()

    def _finish(self, step: int, target: Path, seal: dict[str, Any]) -> None:
        try:
            self._checkpointer().wait_until_finished()
            write_seal(target, seal)
            self._prune()
        except Exception as error:
            for path in self.directory.glob(f"{step}*"):
                if path == target or path.name.startswith(f"{step}.{PARTIAL}"):
                    shutil.rmtree(path, ignore_errors=True)
            self._failure = self._explain(step, error)

    def _explain(self, step: int, error: BaseException) -> BadInput:
        last = self.steps()
        kept = f"the checkpoint at update {last[-1]} is intact" if last else "no earlier checkpoint exists"
        return BadInput(
            f"the checkpoint at update {step} could not be written to {self.directory}: {reason(error)}; {kept}: "
            "make room and run the same command again"
        )

    def _prune(self) -> None:
        steps = self.steps()
        keep = set(steps[-self._keep_last :])
        scores = {step: read_seal(self.directory / str(step))["metrics"].get(self._metric) for step in steps}
        scored = [step for step in steps if scores[step] is not None]
        scored.sort(key=lambda step: (-scores[step] if self._maximize else scores[step], step))
        keep |= set(scored[: self._keep_best])
        for step in set(steps) - keep:
            path = self.directory / str(step)
            (path / SEAL).unlink()
            shutil.rmtree(path)

    def tidy(self) -> None:
        """Remove what a killed process left half-written."""
        sealed = {str(step) for step in self.steps()}
        for path in self.directory.iterdir() if self.directory.is_dir() else ():
            unsealed = path.name.isdigit() and path.name not in sealed
            if unsealed or PARTIAL in path.name:
                shutil.rmtree(path)

    def best(self) -> int | None:
        """The sealed checkpoint with the best value of `metric`, or None where none has one."""
        scores = {step: read_seal(self.directory / str(step))["metrics"].get(self._metric) for step in self.steps()}
        known = {step: score for step, score in scores.items() if score is not None}
        return (max if self._maximize else min)(known, key=known.__getitem__) if known else None

    def newest_whole(self, say: Say = print) -> int | None:
        """The newest checkpoint whose files agree with its seal, or None where there is none at all.

        Each damaged one is named. Raises BadInput where there are checkpoints and all are damaged.
        """
        steps = self.steps()
        for step in reversed(steps):
            damage = verify(self.directory / str(step))
            if damage is None:
                return step
            say(f"checkpoint {self.directory / str(step)} is damaged ({damage}): falling back to the one before")
        if steps:
            raise BadInput(f"every checkpoint in {self.directory} is damaged: start anew in another --run.directory")
        return None

    def restore(self, step: int, template: Any) -> Any:
        """The state at a checkpoint in the layout of the template (ShapeDtypeStructs with shardings).

        Raises BadInput naming the first leaf whose path, shape or dtype differs from the template's.
        """
        path = self.directory / str(step)
        saved, wanted = read_seal(path)["leaves"], leaf_table(template)
        for name in sorted(saved.keys() | wanted.keys()):
            if saved.get(name) != wanted.get(name):
                raise BadInput(
                    f"checkpoint {path} does not fit: {name} is {saved.get(name, 'absent')} in it and "
                    f"{wanted.get(name, 'absent')} in this configuration"
                )
        return self._checkpointer().restore(path, template)

    def restore_raw(self, step: int) -> dict[str, Any]:
        """The state at a checkpoint as nested dicts on one device, with no template: for looking and sampling."""
        path = self.directory / str(step)
        damage = verify(path)
        if damage is not None:
            raise BadInput(f"checkpoint {path} is damaged ({damage}): choose another with --step")
        metadata = self._checkpointer().metadata(path)
        sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        arrays = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
            getattr(metadata, "item_metadata", metadata),
        )
        return self._checkpointer().restore(path, arrays)

    def _checkpointer(self) -> Any:
        if self._orbax is None:
            import orbax.checkpoint as ocp

            # A failed save raises here, and is told in one line; Orbax would log its traceback twice besides.
            logging.getLogger("absl").addFilter(lambda record: "orbax" not in record.pathname)
            self._orbax = ocp.StandardCheckpointer()
        return self._orbax


def digests(state: dict[str, Any]) -> dict[str, str]:
    """SHA-256 of every group of leaves of a state ("params", "opt_state", ...): names, shapes, dtypes and bytes."""
    groups = {}
    for name, group in state.items():
        total = hashlib.sha256()
        for path, leaf in jax.tree_util.tree_leaves_with_path(group):
            if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
                leaf = jax.random.key_data(leaf)
            total.update(f"{jax.tree_util.keystr(path)} {leaf.shape} {leaf.dtype}\n".encode())
            total.update(jax.device_get(leaf).tobytes())
        groups[name] = total.hexdigest()
    return groups


def reason(error: BaseException) -> str:
    """Why writing failed, in a few words."""
    return "the disk is full" if _is_full(error) else f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"


def _is_full(error: BaseException | None) -> bool:
    while error is not None:
        text = str(error)
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or os.strerror(errno.ENOSPC) in text:
            return True
        if "RESOURCE_EXHAUSTED" in text or "ENOSPC" in text:
            return True
        error = error.__cause__ or error.__context__
    return False
