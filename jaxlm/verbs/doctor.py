"""`jaxlm doctor`: what works on this machine. It imports nothing that may be broken before it looks at it."""

import argparse
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import warnings

from jaxlm.errors import one_line

REQUIRED = {  # distribution -> module
    "jax": "jax",
    "jaxlib": "jaxlib",
    "flax": "flax.linen",
    "optax": "optax",
    "orbax-checkpoint": "orbax.checkpoint",
    "grain": "grain",
    "tensorflow-datasets": "tensorflow_datasets",
    "tokenizers": "tokenizers",
    "safetensors": "safetensors.numpy",
    "numpy": "numpy",
    "scipy": "scipy.stats",
    "scikit-learn": "sklearn",
    "statsmodels": "statsmodels",
    "pillow": "PIL.Image",
    "tyro": "tyro",
    "rich": "rich",
    "tabulate": "tabulate",
    "jinja2": "jinja2",
    "matplotlib": "matplotlib",
}
OPTIONAL = {  # module -> what for, and the distribution
    "tensorboardX": ("TensorBoard events beside a run", "tensorboardX"),
    "optuna": ("`jaxlm tune`", "optuna"),
    "lm_eval": ("`jaxlm lm-eval`", "lm-eval"),
    "ray": ("`jaxlm ablate --on ray`", "ray"),
    "tensorflow": ("preparing TFDS datasets (reading prepared ones needs none)", "tensorflow"),
}


def doctor(args: argparse.Namespace) -> int:
    """Print versions and devices, and what is missing or broken with the command that repairs it; 1 if something is."""
    print(f"python {platform.python_version()} on {platform.platform()}")
    wrong = [check_package(*named) for named in REQUIRED.items()]
    wrong.append(check_devices())
    for module, (purpose, distribution) in OPTIONAL.items():
        if not is_installed(module):
            print(f"optional {distribution} is not installed, for {purpose}: pip install {distribution}")
    data = os.environ.get("TFDS_DATA_DIR")
    print(f"TFDS_DATA_DIR {data}" if data else "TFDS_DATA_DIR is not set: TFDS looks in ~/tensorflow_datasets")
    return int(any(wrong))


def check_package(distribution: str, module: str) -> bool:
    """Print the version of a package that every installation needs; return whether it is missing or broken."""
    try:
        version = importlib.metadata.version(distribution) or "without a version"
    except importlib.metadata.PackageNotFoundError:
        print(f"{distribution} MISSING: pip install {distribution}")
        return True
    except Exception as error:  # its metadata are damaged
        version = f"of unknown version ({one_line(error)})"
    try:
        with warnings.catch_warnings(action="ignore"):
            importlib.import_module(module)
    except (Exception, SystemExit) as error:
        print(f"{distribution} {version} BROKEN ({one_line(error)}): pip install --force-reinstall {distribution}")
        return True
    print(f"{distribution} {version}")
    return False


def check_devices() -> bool:
    """Print the devices that jax finds; return whether it finds none."""
    try:
        import jax

        devices = jax.devices()
    except (Exception, SystemExit) as error:
        platforms = os.environ.get("JAX_PLATFORMS")
        advice = f"JAX_PLATFORMS is {platforms}: unset it" if platforms else "install jax for this machine"
        print(f"no device ({one_line(error)}): {advice}")
        return True
    for device in devices:
        print(f"device {device.id}: {device.platform} {device.device_kind}")
    if devices[0].platform == "cpu":
        print("no accelerator: for NVIDIA GPUs pip install 'jax[cuda13]', for TPUs 'jax[tpu]'")
        if "hugetlb" not in os.environ.get("GLIBC_TUNABLES", ""):
            print("slow memory: start commands through scripts/env.py, which sets GLIBC_TUNABLES for training on CPUs")
    return False


def is_installed(module: str) -> bool:
    """Return whether a module can be found."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # half of it is there
        return False
