"""Run a service in this process until a signal ends it, and answer first what was accepted."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

import uvicorn

from jaxlm.errors import MachineError, one_line
from jaxlm.serve.shelf import freeze_heap

LOOPBACK = ("127.0.0.1", "::1", "localhost")
KEEP = 65  # seconds that a connection may be idle: longer than those of the usual proxies
DRAIN = 30  # seconds for requests that are under way when the service ends


class Server(uvicorn.Server):
    """Uvicorn's server, which says where it listens, and ends with code 0 on SIGTERM and SIGINT."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Let the first signal drain the service and the second one end it at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._asked) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _asked(self, number: int, frame: FrameType | None) -> None:
        if self.should_exit:
            self.force_exit = True
        else:
            print("ending: no new connections, and the requests under way are answered", flush=True)
        self.should_exit = True

    async def startup(self, sockets: Any = None) -> None:
        """Begin to listen, once the models are open."""
        freeze_heap()
        await super().startup(sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            print(f"listening on http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)


def serve_app(app: Any, host: str, port: int) -> None:
    """Serve an application until a signal comes.

    Raises:
        MachineError: the address cannot be listened on.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_level="error",
        access_log=False,
        server_header=False,
        lifespan="off",
        timeout_keep_alive=KEEP,
        timeout_graceful_shutdown=DRAIN,
    )
    try:
        Server(config).run()
    except SystemExit:
        raise MachineError(f"cannot listen on {host}:{port}: choose another --port") from None
    except OSError as error:
        raise MachineError(f"cannot listen on {host}:{port} ({one_line(error)}): choose another --port") from None
