"""The doctor looks at a broken package and says what to do about it, and does not die of it."""

import argparse
import subprocess
import sys

import jax
import pytest

from jaxlm.verbs import doctor


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder with packages that are broken in several ways; the doctor is asked about these and NumPy."""
    modules = {"raises": "1 / 0", "exits": "raise SystemExit('no')", "half": "import nothing_there", "whole": ""}
    for name, text in modules.items():
        (tmp_path / f"{name}_module.py").write_text(text)
    for name in (*modules, "odd", "bytes"):
        (tmp_path / f"{name}-1.0.dist-info").mkdir()
        (tmp_path / f"{name}-1.0.dist-info" / "METADATA").write_text(f"Name: {name}\nVersion: 1.0\n")
    (tmp_path / "odd-1.0.dist-info" / "METADATA").write_text("")
    (tmp_path / "bytes-1.0.dist-info" / "METADATA").write_bytes(b"Name: bytes\nAuthor: \xe9\n")
    names = (*modules, "odd", "bytes", "gone")
    required = {name: f"{name}_module" if name in modules else "whole_module" for name in names}
    monkeypatch.setattr(doctor, "REQUIRED", {"numpy": "numpy"} | required)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_every_kind_of_damage_is_a_line(site, capsys):
    assert doctor.doctor(argparse.Namespace()) == 1
    told = {line.partition(" ")[0]: line for line in capsys.readouterr().out.splitlines()}
    assert told["raises"].startswith("raises 1.0 BROKEN (ZeroDivisionError: ")
    assert told["raises"].endswith("pip install --force-reinstall raises")
    assert told["exits"].startswith("exits 1.0 BROKEN (SystemExit: no)")
    assert told["half"].startswith("half 1.0 BROKEN (ModuleNotFoundError: No module named 'nothing_there')")
    assert told["whole"] == "whole 1.0"
    assert told["gone"] == "gone MISSING: pip install gone"
    assert told["odd"].startswith("odd ")
    assert told["bytes"].startswith("bytes ")


def test_a_machine_without_a_device_is_a_line(site, capsys, monkeypatch):
    def fails():
        raise RuntimeError("Unable to initialize backend 'cuda'")

    monkeypatch.setattr(doctor, "REQUIRED", {"numpy": "numpy"})
    monkeypatch.setattr(jax, "devices", fails)
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    assert doctor.doctor(argparse.Namespace()) == 1
    assert "no device (RuntimeError: Unable to initialize backend 'cuda'): JAX_PLATFORMS is cuda: unset it" in (
        capsys.readouterr().out
    )


def test_an_optional_package_that_is_half_there_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert not doctor.is_installed("optuna")
    assert doctor.is_installed("numpy")


def test_the_doctor_is_reached_without_what_may_be_broken():
    code = "import sys, jaxlm.cli, jaxlm.verbs.doctor; print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert not loaded & {"jax", "jaxlib", "flax", "numpy", "optax"}
