"""Compare every family of pretrained models with versions of transformers, out of jaxlm and into it.

    python scripts/hub_parity.py PYTHON [PYTHON ...]

Each PYTHON is an interpreter that has torch and a version of transformers. Of every variant a model with random weights
is written by jaxlm and read there, and what transformers writes of it is read by jaxlm. Printed is the largest
difference of the outputs, relative to the largest output, in both directions, and whether the names of classes came
through: they are in no sorted order.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from tabulate import tabulate

from jaxlm.hub import pretrained
from jaxlm.models.bert import BERT, MaskedLanguageModel
from jaxlm.models.gpt import GPT
from jaxlm.models.heads import Classifier, SpanClassifier, TokenClassifier
from jaxlm.models.resnet import ResNet
from jaxlm.models.t5 import T5
from jaxlm.models.vit import ViT
from jaxlm.nn.position import RotaryScaling

REFERENCE = Path(__file__).with_name("hub_parity_reference.py")
NAMES = ("wolf", "ant", "10", "9", "naïve", "LABEL_0", "B-PER", "O", "B-LOC", "zebra", "bee", "cat")
ENCODER = BERT(vocab=31, depth=2, width=16, heads=2, context=12, hidden=24)
GPT2 = GPT(vocab=31, depth=2, width=16, heads=2, context=12)
LLAMA = GPT2.clone(norm="rms", activation="swiglu", positions="rotary", hidden=24, kv_heads=1, bias=False, tied=False)
SCALING = RotaryScaling(factor=4.0, low=1.0, high=4.0, original=6)
FIRST = T5(vocab=31, depth=2, width=16, heads=2, hidden=24, head_width=6, buckets=4, reach=5)
IMAGES = ViT(12, patch=2, depth=2, width=16, heads=2, hidden=24, image=(4, 6, 3), activation="gelu_exact")
VARIANTS = {
    "gpt2": GPT2,
    "gpt2, untied, exact GELU": GPT2.clone(tied=False, activation="gelu_exact"),
    "llama": LLAMA,
    "llama, base 500": LLAMA.clone(rotary_base=500.0),
    "llama, base 500, llama3 scaling": LLAMA.clone(rotary_base=500.0, rotary_scaling=SCALING),
    "llama, tied, biases, wide heads": LLAMA.clone(bias=True, attention_bias="all", tied=True, head_width=12),
    "mistral, window 3, base 500": LLAMA.clone(window=3, rotary_base=500.0),
    "qwen2, tied, base 500": LLAMA.clone(attention_bias="qkv", tied=True, rotary_base=500.0),
    "qwen2, window 3": LLAMA.clone(attention_bias="qkv", window=3),
    "bert": ENCODER,
    "bert, masked tokens": MaskedLanguageModel(ENCODER.clone(activation="gelu")),
    "bert, pre-training": MaskedLanguageModel(ENCODER.clone(activation="relu", types=3), next_sentence=True),
    "bert, classes": Classifier(ENCODER, 12, pool="pooler"),
    "bert, token classes": TokenClassifier(ENCODER, 12),
    "bert, answers": SpanClassifier(ENCODER),
    "t5 1.0": FIRST,
    "t5 1.1": FIRST.clone(decoder_depth=1, activation="geglu", tied=False),
    "vit": IMAGES,
    "vit, encoder": IMAGES.clone(classes=0, representation=True, qkv_bias=False, activation="gelu"),
    "resnet, basic": ResNet(12, (1, 1), width=4),
    "resnet, bottleneck": ResNet(12, (1, 2), "bottleneck", width=4),
}


class Row(NamedTuple):
    """What one version of transformers gave for one variant.

    Attributes:
        variant: its name.
        version: of transformers.
        out: largest relative difference of the outputs of what jaxlm wrote.
        into: of what transformers wrote.
        names: whether class names were the same in both directions; None where there are no classes.
    """

    variant: str
    version: str
    out: float
    into: float
    names: bool | None


def drawn(model: Any) -> dict[str, np.ndarray]:
    """Draw leaves by path: near 1 for scales and variances, near 0 for all else."""
    shapes = pretrained.shapes(pretrained.family_of_model(model), model)
    draw = np.random.default_rng(0)
    near = {path: float(path.rpartition("/")[2] in ("scale", "var")) for path in shapes}
    return {path: (near[path] + 0.2 * draw.normal(size=x.shape)).astype(np.float32) for path, x in shapes.items()}


def inputs(model: Any) -> dict[str, np.ndarray]:
    """Return inputs by the names of transformers: rows of tokens, one of them padded for BERT, or images."""
    draw = np.random.default_rng(1)
    if isinstance(model, ViT | ResNet):
        height, width, channels = getattr(model, "image", None) or (12, 16, 3)
        return {"pixel_values": draw.normal(size=(2, channels, height, width)).astype(np.float32)}
    encoder = getattr(model, "encoder", model)
    ids = draw.integers(1, encoder.vocab, (2, 9)).astype(np.int32)
    if isinstance(model, T5):
        return {"input_ids": ids, "decoder_input_ids": np.pad(ids[:, :3], ((0, 0), (1, 0)))}
    if not isinstance(encoder, BERT):
        return {"input_ids": ids}
    places = np.broadcast_to(np.arange(9, dtype=np.int32), (2, 9))
    mask, types = places < np.array([[9], [5]]), places > np.array([[4], [2]])
    return {"input_ids": ids, "attention_mask": mask.astype(np.int32), "token_type_ids": types.astype(np.int32)}


def outputs(model: Any, leaves: Mapping[str, Any]) -> list[np.ndarray]:
    """Compute what jaxlm gives for `inputs`, without the outputs on padding."""
    given = inputs(model)
    if "pixel_values" in given:
        args: tuple[Any, ...] = (given["pixel_values"].transpose(0, 2, 3, 1),)
    else:
        args = tuple(given[name] for name in ("input_ids", "decoder_input_ids") if name in given)
    options = {"segments": given["attention_mask"], "types": given["token_type_ids"]} if len(given) == 3 else {}
    found = jax.tree.leaves(jax.jit(model.apply)(pretrained.tree_from_leaves(dict(leaves)), *args, **options))
    return [without_padding(np.asarray(x), given) for x in found]


def without_padding(output: np.ndarray, given: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return an output [B, ...] or [B, T, ...] without the places of padding."""
    mask = given.get("attention_mask")
    return output if mask is None or output.ndim < 3 else output[mask > 0]


def difference(found: list[np.ndarray], expected: list[np.ndarray]) -> float:
    """Return the largest difference of outputs, relative to the largest expected one."""
    assert [x.shape for x in found] == [x.shape for x in expected]
    return max(float(np.abs(x - y).max() / np.abs(y).max()) for x, y in zip(found, expected, strict=True))


def compare(variants: Mapping[str, Any], python: str, root: Path) -> Iterator[Row]:
    """Compare variants with the transformers of one interpreter.

    Args:
        variants: name -> module.
        python: the interpreter.
        root: an existing folder to work in.
    """
    for index, model in enumerate(variants.values()):
        ours = root / f"{index:02}" / "ours"
        ours.mkdir(parents=True, exist_ok=True)
        classes = getattr(model, "classes", 0)
        pretrained.save_pretrained(ours, model, drawn(model), class_names=NAMES[:classes] if classes else None)
        np.savez(ours.parent / "inputs.npz", **inputs(model))  # type: ignore[arg-type]
    done = subprocess.run([python, REFERENCE, root], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{python} failed:\n{done.stderr[-2000:]}")
    version = done.stdout.split()[-1]
    for index, (name, model) in enumerate(variants.items()):
        theirs, given = root / f"{index:02}" / version, inputs(model)
        expected = [without_padding(x, given) for x in np.load(theirs / "outputs.npz").values()]
        again, leaves = pretrained.load_pretrained(theirs / "saved")
        names = None
        if classes := getattr(model, "classes", 0):
            kept = pretrained.head_names(theirs / "saved"), tuple(json.loads((theirs / "names.json").read_text()))
            names = kept == (NAMES[:classes], NAMES[:classes])
        out, into = (difference(outputs(*pair), expected) for pair in ((model, drawn(model)), (again, leaves)))
        yield Row(name, version, out, into, names)


def table(rows: list[Row]) -> str:
    """Return the rows as a Markdown table with a line for each variant."""
    versions = list(dict.fromkeys(row.version for row in rows))
    lines = []
    for name in dict.fromkeys(row.variant for row in rows):
        mine = [row for row in rows if row.variant == name]
        figures = [f"{x:.1e}" for row in mine for x in (row.out, row.into)]
        named = {row.names for row in mine}
        lines.append([name, *figures, "" if named == {None} else "the same" if named == {True} else "DIFFERENT"])
    heads = [f"{way} {version}" for version in versions for way in ("written, read by", "read, written by")]
    return tabulate(lines, ["variant", *heads, "class names"], "github", disable_numparse=True)


def main(pythons: list[str]) -> None:
    """Print the table for some interpreters."""
    rows: list[Row] = []
    for python in pythons:
        with tempfile.TemporaryDirectory() as root:
            rows += compare(VARIANTS, python, Path(root))
    print(table(rows))


if __name__ == "__main__":
    main(sys.argv[1:])
