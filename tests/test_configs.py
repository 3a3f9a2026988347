"""Every config, shrunk, runs for real through its experiment's own `main`, and its first 20 losses do not move.

The golden losses stand in tests/golden. A refactor must not move them; a change that means to writes them anew:

    JAXLM_WRITE_GOLDEN=1 python3 scripts/env.py --extras dev pytest tests/test_configs.py
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from jaxlm.train.run_directory import RunDirectory
from whole_path import ROOT, losses, run_main, shrunk

CONFIGS = sorted((ROOT / "configs").glob("*.py"))
WORDS = {
    "gpt_stdlib": shrunk(),
    "gpt_shakespeare_char": [*shrunk(None), "--run.patience", "9"],
    "gpt_shakespeare_char_cpu": [*shrunk(None), "--data.eval-batch", "16"],
    "gpt2_124m": [*shrunk(None), "BPE", "--run.accumulate", "2", "--data.eval-batch", "8"],
    "llama_1b": [*shrunk(None), "BPE", "--model.kv-heads", "1", "--model.hidden", "32", "--run.accumulate", "2"],
}


def words_of(name, tmp_path):
    """The words that shrink a config; large corpora and their tokenizers are exchanged for small real ones."""
    words = WORDS[name]
    if "BPE" not in words:
        return words
    path = tmp_path / "tokenizer.json"
    script = [sys.executable, str(ROOT / "scripts" / "train_tokenizer.py"), str(ROOT / "LICENSE")]
    subprocess.run([*script, "--vocab", "300", "--out", str(path)], check=True, capture_output=True)
    rest = [word for word in words if word != "BPE"]
    data = ["--data.name", "tiny_shakespeare", "--data.eval-split", "validation", "--data.tokenizer.path", str(path)]
    return [*rest, *data, "--model.vocab", "300"]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_shrunk_config_trains_and_repeats_its_golden_losses(path, tmp_path, monkeypatch):
    if "TfdsText" in path.read_text() and not os.environ.get("TFDS_DATA_DIR"):
        pytest.skip("TFDS_DATA_DIR is not set: no prepared TFDS data on this machine")
    words = (*words_of(path.stem, tmp_path), "--run.directory", str(tmp_path / "run"))
    run_main(monkeypatch, "language_model.py", path, *words)
    found = losses(tmp_path / "run")
    assert len(found) == 20
    assert found[-1] < found[0]
    fingerprint = RunDirectory(tmp_path / "run").lineage()["sessions"][-1]["fingerprint"]
    golden = ROOT / "tests" / "golden" / f"{path.stem}.json"
    if os.environ.get("JAXLM_WRITE_GOLDEN"):
        golden.write_text(json.dumps({"fingerprint": fingerprint, "losses": found}, indent=1) + "\n")
    stored = json.loads(golden.read_text())
    if stored["fingerprint"] == fingerprint:
        assert found == stored["losses"]
    np.testing.assert_allclose(found, stored["losses"], rtol=1e-5)
