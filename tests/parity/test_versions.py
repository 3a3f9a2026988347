"""Every family in and out against each version of transformers that is at hand, class names and golden models too.

The version installed here is one; JAXLM_TRANSFORMERS names interpreters with others, separated by colons:

    python3 -m venv /tmp/tf457; /tmp/tf457/bin/pip install "transformers==4.57.*" torch
    JAXLM_TRANSFORMERS=/tmp/tf457/bin/python python3 scripts/env.py --extras dev,parity pytest tests/parity -m slow
"""

import importlib.util
import os
import sys

import pytest

import golden_logits
from whole_path import ROOT

pytestmark = pytest.mark.slow

HERE = [sys.executable] if importlib.util.find_spec("transformers") else []
OTHERS = os.environ.get("JAXLM_TRANSFORMERS", "").split(":")
PYTHONS = [*HERE, *filter(None, OTHERS)]
TOLERANCE = 1e-5  # of the largest output


@pytest.mark.skipif(not PYTHONS, reason="transformers is not installed, and JAXLM_TRANSFORMERS names no interpreter")
@pytest.mark.parametrize("python", PYTHONS)
def test_what_is_written_is_read_alike_and_what_they_write_is_read_alike_here(python, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    from hub_parity import VARIANTS, compare

    golden = {f"golden {name}": model for name, model in golden_logits.VARIANTS.items()}
    rows = list(compare(VARIANTS | golden, python, tmp_path))
    assert len(rows) == len(VARIANTS) + len(golden)
    assert not [row for row in rows if max(row.out, row.into) > TOLERANCE or row.names is False]
    assert sum(row.names is True for row in rows) >= 5
