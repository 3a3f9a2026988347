"""Text generation and scoring with models that have `init`, `apply` and `init_cache`."""

from jaxlm.decode.generate import generate
from jaxlm.decode.seq2seq import greedy
from jaxlm.decode.text import continue_text

__all__ = ["continue_text", "generate", "greedy"]
