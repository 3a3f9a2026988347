"""Four simulated devices, strict promotion, real data where the environment names it."""

import os
from pathlib import Path

os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=4")

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def real_data() -> Path:
    """The folder of real data sets, or a skip with the reason."""
    folder = os.environ.get("JAXLM_TEST_DATA")
    if not folder:
        pytest.skip("JAXLM_TEST_DATA is not set: no real data on this machine")
    return Path(folder)
