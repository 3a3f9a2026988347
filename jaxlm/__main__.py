"""The command `jaxlm`, which is `python -m jaxlm` too."""

import signal

if __name__ in ("__main__", "jaxlm.__main__"):
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ends the process without a traceback, until `run_process` takes over

from jaxlm.cli import run

if __name__ == "__main__":
    run()
