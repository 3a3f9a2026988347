"""Write and restore sealed checkpoints: Orbax writes them, a seal of digests says that they are whole.

Orbax saves asynchronously, but it restores flipped bits and casts dtypes without an error, and does not fsync some of
its files. So every checkpoint is written to `STEP.saving`, gets a seal with the SHA-256 of each file and the shape and
dtype of each leaf, and is then renamed to `STEP`. Only checkpoints that agree with their seal are restored, or counted
when old ones are removed.
"""

import contextlib
import math
import os
import re
import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from jaxlm.errors import BadInput, MachineError, one_line
from jaxlm.runs import seal
from jaxlm.runs.files import SAVING, reason, require_room, sync_folder
from jaxlm.runs.seal import find_damage, read_seal

Say = Callable[[str], None]
CheckpointStep = int | Literal["best"] | None  # None is the newest
REMOVED = ".removed"  # the end of the name of a folder that is no longer a checkpoint


class Checkpoints:
    """The checkpoints of one run: a folder for each, named by the updates completed.

    Args:
        directory: of the checkpoints.
        keep_last: newest checkpoints kept.
        keep_best: further ones kept for their value of `metric`.
        metric: such as "eval/loss".
        maximize: whether more of it is better.
        say: called with a line for each damaged checkpoint, and for what could not be removed.
    """

    def __init__(
        self,
        directory: str | Path,
        keep_last: int = 2,
        keep_best: int = 0,
        metric: str = "eval/loss",
        maximize: bool = False,
        say: Say = print,
    ):
        self.directory = Path(directory).absolute()
        self._keep_last, self._keep_best, self._metric, self._maximize = keep_last, keep_best, metric, maximize
        self._say = say
        self._orbax: Any = None
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._folder: Any = None  # the `os.stat` of the directory when the last save began
        self._warnings: dict[str, bool] = {}  # lines of the thread that saves, and whether they were said
        self._whole: dict[int, seal.FileStats] = {}  # the files of checkpoints that agreed with their seals

    def steps(self) -> list[int]:
        """Return the updates completed at each checkpoint, ascending, whether they are damaged or not."""
        names = [path.name for path in self.directory.iterdir()] if self.directory.is_dir() else []
        return sorted(int(name) for name in names if re.fullmatch("0|[1-9][0-9]*", name))

    def save(self, step: int, state: Any, metrics: Mapping[str, float] | None = None) -> None:
        """Copy the state off the devices and write it in the background, after the save before it has ended.

        Args:
            step: updates completed.
            state: of the run.
            metrics: of an evaluation at this update, for `keep_best`.

        Raises:
            BadInput: the save before it failed, or this one cannot begin.
        """
        self.wait()
        target = self.directory / f"{step}{SAVING}"
        content = {"step": step, "metrics": metrics or {}, "leaves": seal.leaf_table(state)}
        try:
            self.directory.mkdir(exist_ok=True)  # without its parent, where the folder of the run was moved
            self._folder = self.directory.stat()
            size = sum(size for _, size, _ in self._whole.get(max(self._whole, default=-1), {}).values())
            require_room(self.directory, size)  # the next checkpoint is as large as the last one
            if target.exists():
                shutil.rmtree(target)
            self._checkpointer().save(target, state)
        except Exception as error:
            self._failed(step, error)
            self.check()
        self._thread = threading.Thread(target=self._finish, args=(step, target, content), name="seal", daemon=True)
        self._thread.start()

    def add_metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add the metrics of an evaluation that followed the save to the seal of a checkpoint."""
        self.wait()
        if self.damage(step) is None:
            seal.add_metrics(self.directory / str(step), metrics)

    def check(self) -> None:
        """Raise the error of a save in the background, if it failed, and say what else went wrong in it."""
        for line in [line for line in list(self._warnings) if not self._warnings[line]]:
            self._warnings[line] = True
            self._say(line)
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def wait(self) -> None:
        """Wait for the save in the background, and raise its error if it failed."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.check()

    def close(self) -> None:
        """Wait for the save in the background and ignore its error: Orbax must not outlive the interpreter."""
        if self._thread is not None:
            self._thread.join()

    def _finish(self, step: int, target: Path, content: dict[str, Any]) -> None:
        try:
            self._checkpointer().wait_until_finished()
            if not os.path.samestat(self._folder, self.directory.stat()):  # Orbax has made another one
                raise FileNotFoundError(f"{self.directory} was moved or removed during the save")
            seal.write_seal(target, content)
            self._publish(step)
        except Exception as error:
            self._failed(step, error)
            return
        try:
            self._prune()
        except Exception as error:  # what is too much on the disk is not worth a run
            self._warnings.setdefault(f"old checkpoints could not be removed: {one_line(error)}", False)

    def _publish(self, step: int) -> None:
        """Let a sealed folder become the checkpoint, in the place of one that is there."""
        target = self.directory / str(step)
        if target.exists():
            self._remove(step)
        stats = seal.file_stats(target.with_name(f"{step}{SAVING}"))
        target.with_name(f"{step}{SAVING}").rename(target)
        sync_folder(self.directory)
        self._whole[step] = stats

    def _failed(self, step: int, error: BaseException) -> None:
        kept = "no earlier checkpoint exists"
        with contextlib.suppress(OSError):
            for path in self.directory.glob(f"{step}{SAVING}*"):
                shutil.rmtree(path, ignore_errors=True)
            whole = next((before for before in reversed(self.steps()) if self.damage(before) is None), None)
            kept = kept if whole is None else f"the checkpoint at update {whole} is intact"
        self._failure = MachineError(
            f"the checkpoint at update {step} could not be written to {self.directory}: {reason(error)}; {kept}: "
            "make room and run the same command again"
        )

    def _prune(self) -> None:
        """Remove checkpoints that are neither among the newest nor among the best of those that are whole."""
        whole = [step for step in self.steps() if self.damage(step) is None]
        keep = {*whole[-self._keep_last :], *self._ranked(whole)[: self._keep_best]}
        for step in whole:
            if step not in keep:
                self._remove(step)
        for path in self.directory.glob(f"*{REMOVED}"):
            shutil.rmtree(path, ignore_errors=True)
            if path.exists():  # such as a file on NFS that is open elsewhere; the next save tries again
                self._warnings.setdefault(f"{path} could not be removed", False)

    def _remove(self, step: int) -> None:
        """Let a folder count as a checkpoint no longer; `_prune` or the next start removes it."""
        self._whole.pop(step, None)
        (self.directory / str(step)).rename(self.directory / f"{step}{REMOVED}")

    def tidy(self) -> None:
        """Remove what a killed process left half-written or half-removed; what it had sealed becomes a checkpoint."""
        for path in sorted(self.directory.iterdir()) if self.directory.is_dir() else ():
            name, end = path.stem, path.suffix
            if end == SAVING and name.isdecimal() and not path.with_name(name).exists() and find_damage(path) is None:
                self._publish(int(name))
            elif SAVING in path.name or REMOVED in path.name:
                with contextlib.suppress(OSError):
                    shutil.rmtree(path)

    def damage(self, step: int) -> str | None:
        """Return what is wrong with a checkpoint, or None where it is whole.

        Its bytes are digested once, and again only where a file has another inode, size or time.
        """
        path = self.directory / str(step)
        try:
            read_seal(path)
            stats = seal.file_stats(path)
        except (ValueError, OSError):
            return find_damage(path)
        if self._whole.get(step) != stats:
            if found := find_damage(path):
                return found
            self._whole[step] = stats
        return None

    def _ranked(self, whole: list[int]) -> list[int]:
        """Return those of some whole checkpoints that have a finite value of `metric`, the best first."""
        found = {step: self._seal(step)["metrics"].get(self._metric) for step in whole}
        scores = {step: value for step, value in found.items() if value is not None and math.isfinite(value)}
        return sorted(scores, key=lambda step: (-scores[step] if self._maximize else scores[step], step))

    def best(self) -> int | None:
        """Return the update of the whole checkpoint with the best `metric`, or None where none has a value."""
        ranked = self._ranked([step for step in self.steps() if self._is_whole(step)])
        return ranked[0] if ranked else None

    def newest_whole(self) -> int | None:
        """Return the newest checkpoint whose files agree with its seal, or None where there is no checkpoint.

        Raises:
            BadInput: there are checkpoints and all are damaged.
        """
        steps = self.steps()
        for step in reversed(steps):
            if self._is_whole(step):
                return step
        if steps:
            raise BadInput(
                f"every checkpoint in {self.directory} is damaged: restore one from a copy, or train in another "
                "--run.directory"
            )
        return None

    def _is_whole(self, step: int) -> bool:
        damage = self.damage(step)
        if damage is not None:
            self._say(f"checkpoint {self.directory / str(step)} is damaged ({damage}): it is left out")
        return damage is None

    def choose(self, step: CheckpointStep = None) -> int:
        """Return the update of a checkpoint that is whole.

        Args:
            step: the updates completed at it; "best" is the best by `metric`, None the newest.

        Raises:
            BadInput: there is no such checkpoint, or it is damaged.
        """
        known = ", ".join(map(str, self.steps())) or "none"
        chosen = self.newest_whole() if step is None else self.best() if step == "best" else step
        if step == "best" and chosen is None:
            raise BadInput(f"no checkpoint in {self.directory} has a finite {self._metric}: choose one of {known}")
        if chosen is None:
            raise BadInput(f"{self.directory.parent} has no checkpoint yet: let it train until its first save")
        if chosen not in self.steps():
            raise BadInput(f"{self.directory.parent} has no checkpoint at update {chosen}: it has {known}")
        self._require_whole(chosen)
        return chosen

    def _require_whole(self, step: int) -> Path:
        path = self.directory / str(step)
        if damage := self.damage(step):
            raise BadInput(f"checkpoint {path} is damaged ({damage}): choose another with --step")
        return path

    def _seal(self, step: int) -> dict[str, Any]:
        """Read the seal of a checkpoint that was whole a moment ago; raises BadInput where it cannot be read now."""
        try:
            return read_seal(path := self.directory / str(step))
        except ValueError as error:
            raise BadInput(f"checkpoint {path} cannot be used ({error}): choose another with --step") from None

    def restore(self, step: int, template: Any) -> Any:
        """Restore a checkpoint in the layout of a template.

        Args:
            step: updates completed at the checkpoint.
            template: the state as `jax.ShapeDtypeStruct`s with shardings.

        Raises:
            BadInput: the checkpoint is damaged, or does not fit: then the first leaf whose shape or dtype differs.
        """
        path = self._require_whole(step)
        saved, wanted = self._seal(step)["leaves"], seal.leaf_table(template)
        for name in sorted(saved.keys() | wanted.keys()):
            there, here = saved.get(name, "absent"), wanted.get(name, "absent")
            if there != here:
                raise BadInput(f"checkpoint {path} does not fit: {name} is {there} in it and {here} in this config")
        return self._checkpointer().restore(path, template)

    def restore_raw(self, step: int) -> dict[str, Any]:
        """Restore a checkpoint without a template, as nested dicts on one device.

        Raises:
            BadInput: the checkpoint is damaged.
        """
        path = self._require_whole(step)
        return self._checkpointer().restore(path, seal.template_of(self._checkpointer().metadata(path)))

    def _checkpointer(self) -> Any:
        if self._orbax is None:
            self._orbax = seal.make_checkpointer()
        return self._orbax
