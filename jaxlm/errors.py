"""The exceptions that speak to a user rather than to a programmer."""

from collections.abc import Sequence

LONGEST = 20_000  # characters of a message


class BadInput(ValueError):
    """Something the user gave cannot be used: one line with what is wrong, where, and how to fix it.

    Command lines print the message alone, without a traceback, and exit with code 2. The middle of a message that is
    too long is left out, since it may name what a damaged file has in the place of a name.
    """

    def __init__(self, message: object = ""):
        text = str(message)
        super().__init__(text if len(text) <= LONGEST else f"{text[: 3 * LONGEST // 4]} ... {text[-LONGEST // 4 :]}")


class MachineError(BadInput):
    """The machine cannot go on, such as a full disk or a directory that another process works in.

    The input is right: once the cause is gone, the same command goes on.
    """


class Diverged(BadInput):
    """Too many updates in a row were not finite: the run cannot go on with these settings."""


def join_reasons(reasons: Sequence[str], most: int = 100) -> str:
    """Return reasons as one line, of which those past `most` are counted."""
    more = f"; and {len(reasons) - most} more" if len(reasons) > most else ""
    return "; ".join(reasons[:most]) + more


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether the memory of the host or of a device is used up; jax has a status for that, and no class."""
    of_jax = type(error).__name__ in ("JaxRuntimeError", "XlaRuntimeError")
    return isinstance(error, MemoryError) or (of_jax and "RESOURCE_EXHAUSTED" in str(error))


def one_line(error: BaseException) -> str:
    """Return the type of an exception and the first line of its message."""
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')[:200]}".removesuffix(": ")
