"""One task a file: factories of loss functions."""

from jaxlm.losses.next_token import next_token

__all__ = ["next_token"]
