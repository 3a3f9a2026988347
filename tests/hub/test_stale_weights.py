"""A whole file beside an index of shards is read, as transformers does; shards with other weights are refused."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from jaxlm.errors import BadInput
from jaxlm.hub import pretrained, tensors
from jaxlm.hub.peft import save_adapters
from jaxlm.hub.tensors import FILE, INDEX, Tensors, save_tensors
from jaxlm.models.gpt import GPT
from jaxlm.nn.lora import LoRA

SOME = {"a": np.arange(3, dtype=np.float32), "b": np.array([1.0, np.nan], np.float32)}
CASE = Path(os.environ.get("JAXLM_TEST_DATA", "/nowhere")) / "cases/weights/stale_index"


def both(folder, whole, shards):
    """Write a whole file and shards of one tensor each with their index."""
    save_tensors(folder, shards, 1)
    save_tensors(folder, whole)
    return folder


@pytest.mark.skipif(not CASE.is_dir(), reason="JAXLM_TEST_DATA has no cases/weights")
def test_an_index_of_shards_that_are_gone_does_not_hide_the_whole_file():
    found = pretrained.load_pretrained(CASE)
    np.testing.assert_array_equal(
        found.leaves["params/embed/embedding"], load_file(CASE / FILE)["transformer.wte.weight"]
    )
    assert Tensors(CASE).log_lines == (f"{CASE / FILE} is read, as transformers does, and not the shards of {INDEX}",)


def test_shards_with_the_same_weights_may_stay(tmp_path):
    found = Tensors(both(tmp_path, SOME, SOME))
    np.testing.assert_array_equal(found["b"], SOME["b"])
    assert found.log_lines
    (tmp_path / INDEX).unlink()
    assert not Tensors(tmp_path).log_lines


@pytest.mark.parametrize(
    "stale", [{"a": SOME["a"] + 1}, {"a": SOME["a"][:2]}, {"c": SOME["a"]}], ids=["value", "shape", "name"]
)
def test_shards_with_other_weights_are_refused(stale, tmp_path):
    with pytest.raises(BadInput) as refusal:
        Tensors(both(tmp_path, SOME, SOME | stale))
    name = next(iter(stale))
    assert f"{name} of {tmp_path}/model-0000" in str(refusal.value)
    assert f"is not that of {FILE}, and transformers reads {FILE}: delete the one that is stale" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_adapters_beside_whole_weights_are_refused(tmp_path):
    save_tensors(tmp_path, SOME)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(BadInput, match="has adapters beside its weights"):
        pretrained.load_pretrained(tmp_path)


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
@pytest.mark.parametrize("limit", [1, tensors.SHARD_BYTES], ids=["shards", "whole"])
def test_written_files_have_the_permissions_of_the_umask(mask, limit, tmp_path):
    before = os.umask(mask)
    try:
        save_tensors(tmp_path, SOME, limit)
        save_adapters(tmp_path, GPT(vocab=7, depth=1, width=8, heads=2, context=6), LoRA(rank=2, alpha=4.0), {})
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o666 & ~mask}
