"""The outputs in tests/golden/transformers.json are those of transformers."""

import json
import os

import numpy as np
import pytest

from golden_logits import GOLDEN, VARIANTS, inputs, leaves_of, real
from jaxlm.hub import pretrained
from parity.parity_helpers import torch, transformers

pytestmark = pytest.mark.slow

OUTPUTS = ("last_hidden_state", "pooler_output", "logits", "prediction_logits", "seq_relationship_logits")
NAMES = {"tokens_BT": "input_ids", "segments": "attention_mask", "types": "token_type_ids"}


def theirs(model, folder):
    """What transformers gives for a model of ours, by way of its folder."""
    pretrained.save_pretrained(folder, model, leaves_of(model))
    kind = getattr(transformers, json.loads((folder / "config.json").read_text())["architectures"][0])
    given = {NAMES[name]: torch.from_numpy(value).long() for name, value in inputs(model).items()}
    with torch.no_grad():
        found = kind.from_pretrained(folder, attn_implementation="eager").eval()(**given)
    if found.get("start_logits") is not None:
        return [real(torch.stack([found["start_logits"], found["end_logits"]], -1), model)]
    return [real(found[name], model) for name in OUTPUTS if found.get(name) is not None]


@pytest.mark.parametrize("name", VARIANTS)
def test_golden_outputs_are_theirs(name, tmp_path):
    found = theirs(VARIANTS[name], tmp_path)
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if os.environ.get("JAXLM_WRITE_GOLDEN"):
        golden[name] = [np.round(x.astype(float), 6).tolist() for x in found]
        lines = [f"{json.dumps(name)}: {json.dumps(golden[name])}" for name in sorted(golden)]
        GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    for one, other in zip(found, golden[name], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
