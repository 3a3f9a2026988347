"""Four simulated devices, strict promotion, compiled programs kept, real data where the environment names it."""

import ctypes
import gc
import os
import platform
import signal
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Compiling is most of what these tiny programs cost. One flag halves it, and two more, where jaxlib still has the older
# emitters of fusions, more than halve it again. Slow tests of exactness go without them (.ci/run).
FLAGS = ["--xla_force_host_platform_device_count=4", "--xla_backend_optimization_level=0"]
OLDEST = version("jaxlib").startswith("0.10.")
if OLDEST:
    FLAGS += ["--xla_cpu_use_fusion_emitters=false", "--xla_cpu_parallel_codegen_split_count=1"]
os.environ.setdefault("XLA_FLAGS", " ".join(FLAGS))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # as scripts/env.py has it
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxlm" / "tests"  # of every checkout
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE))
# jaxlib 0.12.0.1 crashes now and then while it serialises a program for a CPU (twice in the 4,000 default tests, inside
# of `executable.serialize()`), and a worker dies with it: newer ones read what is kept and write nothing.
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3" if OLDEST else "1e9")
MOST = 2**30  # bytes of a worker between modules
gc.set_threshold(50_000, 20, 50)  # tracing makes objects by the million and few circles: 10 % less time than with 700

# A shell that starts the tests in the background, or nohup, has their children ignore these signals.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)

import hypothesis
import jax
import pytest

hypothesis.settings.register_profile("jaxlm", deadline=None, derandomize=True)
hypothesis.settings.load_profile("jaxlm")
jax.config.update("jax_numpy_rank_promotion", "raise")
sys.path.insert(0, str(ROOT / "tests"))


@pytest.fixture(autouse=True, scope="module")
def little_memory() -> Iterator[None]:
    """Give the memory of a module's programs back: two workers that keep all of them have 14 GB at the end."""
    yield
    if platform.libc_ver()[0] == "glibc" and resident() > MOST:
        jax.clear_caches()
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)


def resident() -> int:
    """Return the bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def real_data() -> Path:
    """The folder of real data sets, or a skip with the reason."""
    folder = os.environ.get("JAXLM_TEST_DATA")
    if not folder:
        pytest.skip("JAXLM_TEST_DATA is not set: no real data on this machine")
    return Path(folder)
