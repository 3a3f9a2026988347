"""Compute with transformers what folders of pretrained weights give, for scripts/hub_parity.py.

    PYTHON scripts/hub_parity_reference.py ROOT

PYTHON needs torch and a version of transformers, and nothing of jaxlm.
ROOT holds folders with `ours` (config.json, safetensors) and `inputs.npz`. In each it writes the folder `VERSION` with
`outputs.npz`, `names.json` (the classes in the order of the logits) and `saved`, the model as transformers writes it.
"""

import json
import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
import transformers

OUTPUTS = {
    "BertModel": ("last_hidden_state", "pooler_output"),
    "BertForPreTraining": ("prediction_logits", "seq_relationship_logits"),
    "ViTModel": ("pooler_output",),
}


def run(folder: Path) -> None:
    """Load, compute and save the model of one folder."""
    config = transformers.AutoConfig.from_pretrained(folder / "ours")
    (kind,) = config.architectures
    model = getattr(transformers, kind).from_pretrained(folder / "ours", attn_implementation="eager").eval()
    given = {name: torch.from_numpy(value) for name, value in np.load(folder / "inputs.npz").items()}
    given = {name: x if x.is_floating_point() else x.long() for name, x in given.items()}
    with torch.no_grad():
        found = model(**given)
    out = folder / transformers.__version__
    out.mkdir(exist_ok=True)
    if kind == "BertForQuestionAnswering":
        found["logits"] = torch.stack([found["start_logits"], found["end_logits"]], -1)
    np.savez(out / "outputs.npz", **{name: found[name].numpy() for name in OUTPUTS.get(kind, ("logits",))})
    names = [config.id2label[index] for index in range(config.num_labels)]
    (out / "names.json").write_text(json.dumps(names))
    model.save_pretrained(out / "saved")


if __name__ == "__main__":
    transformers.utils.logging.set_verbosity_error()
    for inputs in sorted(Path(sys.argv[1]).glob("*/inputs.npz")):
        run(inputs.parent)
    print(transformers.__version__)
