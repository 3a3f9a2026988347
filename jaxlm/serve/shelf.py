"""The models that a service holds, which can be changed while requests are answered."""

import contextlib
import gc
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from jaxlm.errors import BadInput
from jaxlm.serve.model import Served


def freeze_heap() -> None:
    """Collect garbage now, and exclude the objects that remain from later collections (`gc.freeze`).

    A collection over all objects of JAX and of the models stops every thread for 0.1 to 0.2 s.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


class NoModel(Exception):
    """No model has the name that a request gives."""


class Shelf:
    """Models by name, with the one before the last reload.

    A request uses the model that is served when it begins to the end. A model that was replaced twice is closed when
    its last request has ended.

    Args:
        open_path: opens, verifies and compiles the model of a folder.
    """

    def __init__(self, open_path: Callable[[Path], Served]):
        self._open = open_path
        self._now: dict[str, Served] = {}
        self._before: dict[str, Served] = {}
        self._canary: tuple[Served, Callable[[str], bool]] | None = None
        self._users: dict[int, int] = {}  # by the id of a model
        self._leaving: list[Served] = []
        self._lock, self._swapping = threading.Lock(), threading.Lock()

    def add(self, path: Path) -> None:
        """Open a model.

        Raises:
            BadInput: it cannot be opened, or another one has its name.
        """
        served = self._open(path)
        if served.name in self._now:
            raise BadInput(f"{path} and {self._now[served.name].path} have the name {served.name}: rename a folder")
        self._now[served.name] = served

    def put_canary(self, served: Served, chosen: Callable[[str], bool]) -> None:
        """Have a second model answer those requests to the one of its name whose ids are chosen."""
        self._canary = served, chosen

    def models(self) -> list[Served]:
        """Return what is served."""
        return list(self._now.values())

    def find(self, name: str | None) -> Served:
        """Return a model by its name, or the only one for None.

        Raises:
            NoModel: there is none, or there are several.
        """
        known = ", ".join(self._now)
        if name is None and len(self._now) != 1:
            raise NoModel(f"several models are served, {known}: name one as model")
        if name is not None and name not in self._now:
            raise NoModel(f"no model {name[:100]!r}: there are {known}")
        return next(iter(self._now.values())) if name is None else self._now[name]

    @contextlib.contextmanager
    def using(self, name: str | None, request: str | None = None) -> Iterator[Served]:
        """Yield a model that stays open meanwhile: the canary for the requests that are chosen.

        Args:
            name: of the model, see `find`.
            request: its id; None: never the canary.

        Raises:
            NoModel: see `find`.
        """
        with self._lock:
            served = self.find(name)
            if self._canary is not None and request is not None and self._canary[1](request):
                served = self._canary[0]
            self._users[id(served)] = self._users.get(id(served), 0) + 1
        try:
            yield served
        finally:
            with self._lock:
                self._users[id(served)] -= 1
            self._close_unused()

    def reload(self, name: str) -> tuple[Served, Served]:
        """Open a model again from its folder and serve it; return the old one and the new one.

        Raises:
            BadInput: it cannot be opened, or another reload is under way; the old one is served on.
        """
        with self._swap():
            swapped = self._replace(name, self._open(self._now[name].path))
        if gc.get_freeze_count():
            freeze_heap()
        return swapped

    def rollback(self, name: str) -> tuple[Served, Served]:
        """Serve again what was served before the last reload; return the old one and the new one.

        Raises:
            BadInput: there is none, or a reload is under way.
        """
        with self._swap():
            if name not in self._before:
                raise BadInput(f"{name} was not reloaded: there is nothing to go back to")
            return self._replace(name, self._before[name])

    @contextlib.contextmanager
    def _swap(self) -> Iterator[None]:
        if not self._swapping.acquire(blocking=False):
            raise BadInput("another model is being opened: wait for it")
        try:
            yield
        finally:
            self._swapping.release()

    def _replace(self, name: str, served: Served) -> tuple[Served, Served]:
        with self._lock:
            old, oldest = self._now[name], self._before.get(name)
            self._now[name], self._before[name] = served, old
            if oldest is not None and oldest is not served:
                self._leaving.append(oldest)
        self._close_unused()
        return old, served

    def _close_unused(self) -> None:
        with self._lock:
            ended = [served for served in self._leaving if not self._users.get(id(served))]
            self._leaving = [served for served in self._leaving if served not in ended]
            for served in ended:
                self._users.pop(id(served), None)
        for served in ended:
            threading.Thread(target=served.close, daemon=True).start()
