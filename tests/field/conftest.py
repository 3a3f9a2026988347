"""Each example is compiled by two runs under each placement, and the second of them reads the cache."""

import jax
import pytest


@pytest.fixture(autouse=True)
def _every_program_is_kept():
    name = "jax_persistent_cache_min_compile_time_secs"
    before = getattr(jax.config, name)
    jax.config.update(name, 0.0)
    yield
    jax.config.update(name, before)
