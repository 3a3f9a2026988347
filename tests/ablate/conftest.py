"""An ablation that all tests look at."""

import pytest
from ablations import CONFIG, command, jaxlm


@pytest.fixture(scope="session")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "mlp.py"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="session")
def made(config, tmp_path_factory):
    """An undisturbed ablation, its directory and what it printed."""
    directory = tmp_path_factory.mktemp("ablate") / "made"
    code, out, err = jaxlm(*command(config, directory))
    assert (code, err) == (0, "")
    return directory, out
