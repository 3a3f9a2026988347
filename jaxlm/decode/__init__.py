"""Sampling from models that are seen only through `init`, `apply` and `init_cache`."""

from jaxlm.decode.generate import generate
from jaxlm.decode.text import continue_text

__all__ = ["continue_text", "generate"]
