"""Safetensors by name: what is written is read, and a damaged or foreign file is told in one line."""

import json
import struct

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jaxlm.errors import BadInput
from jaxlm.hub.tensors import FILE, INDEX, PICKLES, Tensors, save_tensors

DRAW = np.random.default_rng(0)
SOME = {
    "a.weight": DRAW.normal(size=(3, 4)).astype(np.float32),
    "a.bias": DRAW.normal(size=4).astype(np.float32),
    "b": DRAW.normal(size=(2, 2, 2)).astype(np.float32),
    "count": np.asarray(7),
}


def raw(path, header, data=b""):
    """A file with this header, whatever it says."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def refused(path):
    """The one line that a path is refused with."""
    with pytest.raises(BadInput) as refusal:
        Tensors(path)
    assert "\n" not in str(refusal.value)
    assert str(path) in str(refusal.value)
    return str(refusal.value)


def assert_same(found, expected):
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        np.testing.assert_array_equal(found[name], tensor, err_msg=name, strict=True)
        assert found.shape(name) == tensor.shape


@pytest.mark.parametrize(("limit", "files"), [(10**9, 1), (48, 3), (1, 4)])
def test_what_is_written_is_read_in_one_file_or_in_shards(limit, files, tmp_path):
    save_tensors(tmp_path, SOME, limit)
    assert_same(Tensors(tmp_path), SOME)
    assert len(list(tmp_path.glob("*.safetensors"))) == files
    assert (tmp_path / INDEX).is_file() == (files > 1)
    sizes = [sum(x.nbytes for x in load_file(file).values()) for file in tmp_path.glob("*.safetensors")]
    assert max(sizes) <= max(limit, max(x.nbytes for x in SOME.values()))


def test_the_index_says_where_each_tensor_lies_and_how_much_there_is(tmp_path):
    save_tensors(tmp_path, SOME, 48)
    index = json.loads((tmp_path / INDEX).read_text())
    assert index["metadata"]["total_size"] == sum(x.nbytes for x in SOME.values())
    for name, file in index["weight_map"].items():
        np.testing.assert_array_equal(load_file(tmp_path / file)[name], SOME[name])


def test_views_are_written_as_they_read_and_not_as_they_lie_in_memory(tmp_path):
    turned = {"a": SOME["a.weight"].T, "b": SOME["b"].transpose(2, 0, 1), "c": SOME["a.weight"][:, ::2]}
    save_tensors(tmp_path, turned)
    assert_same(Tensors(tmp_path), turned)


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16, np.float64])
def test_all_floating_point_comes_as_float32(dtype, tmp_path):
    stored = {"x": DRAW.normal(size=(5, 2)).astype(dtype), "count": np.arange(3)}
    save_file(stored, tmp_path / "x.safetensors")
    assert_same(Tensors(tmp_path / "x.safetensors"), {"x": stored["x"].astype(np.float32), "count": np.arange(3)})


def test_a_file_that_was_cut_short_is_refused(tmp_path):
    save_tensors(tmp_path, SOME)
    whole = (tmp_path / FILE).read_bytes()
    for size in (0, 3, 8, 50, len(whole) - 1):
        (tmp_path / FILE).write_bytes(whole[:size])
        assert f"{FILE} cannot be read as safetensors" in refused(tmp_path)


@pytest.mark.parametrize(
    ("header", "data"),
    [
        ({"a": entry(shape=(3,))}, 8),
        ({"a": entry(offsets=(0, 4))}, 8),
        ({"a": entry(offsets=(8, 16))}, 16),
        ({"a": entry(), "b": entry(offsets=(4, 12))}, 12),
        ({"a": entry()}, 12),
        ({"a": entry()}, 4),
        ({"a": entry(dtype="F99")}, 8),
        ({"a": 5}, 8),
        ([1], 8),
        (b"no json", 8),
    ],
)
def test_a_header_that_lies_about_sizes_or_is_none_is_refused(header, data, tmp_path):
    path = raw(tmp_path / "odd.safetensors", header, bytes(data))
    assert "cannot be read as safetensors" in refused(path)


def test_a_header_longer_than_the_file_is_refused(tmp_path):
    path = tmp_path / "odd.safetensors"
    path.write_bytes(struct.pack("<Q", 2**60) + b"{}")
    assert "cannot be read as safetensors" in refused(path)


def test_a_tensor_named_twice_in_a_file_is_refused(tmp_path):
    one = json.dumps(entry())
    path = raw(tmp_path / "odd.safetensors", f'{{"a": {one}, "a": {one}}}'.encode(), bytes(8))
    assert "a is named twice" in refused(path)


def test_a_number_format_that_is_not_read_is_named_with_its_tensor(tmp_path):
    path = raw(tmp_path / "odd.safetensors", {"a": entry("F8_E4M3", (8,))}, bytes(8))
    assert "a of" in refused(path)
    assert "is F8_E4M3, which is not read: convert it" in refused(path)


@pytest.fixture
def shards(tmp_path):
    """A folder with a tensor in each file, and a way to change its index."""
    save_tensors(tmp_path, SOME, 1)

    def change(edit):
        index = json.loads((tmp_path / INDEX).read_text())
        edit(index["weight_map"])
        (tmp_path / INDEX).write_text(json.dumps(index))
        return tmp_path

    return change


def test_a_missing_shard_is_named(shards):
    folder = shards(lambda places: None)
    (folder / "model-00002-of-00004.safetensors").unlink()
    assert "model-00002-of-00004.safetensors is missing, which model.safetensors.index.json names" in refused(folder)


def test_an_index_that_promises_what_a_shard_lacks_or_forgets_what_it_holds_is_refused(shards):
    folder = shards(lambda places: places.update({"more": places["b"]}))
    assert "lacks more, against what" in refused(folder)
    shards(lambda places: [places.pop("more"), places.update({"b": places["count"]})])
    assert "b, against what" in refused(folder)


def test_a_tensor_in_two_shards_is_refused(tmp_path):
    save_tensors(tmp_path, {"a": SOME["b"], "b": SOME["b"]}, 1)
    second = tmp_path / "model-00002-of-00002.safetensors"
    save_file({"a": SOME["b"], "b": SOME["b"]}, second)
    assert "holds a, against what" in refused(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"weight_map": {}}', '{"weight_map": {"a": 3}}', '{"weight_map": {"a": "x", "a": "y"}}']
)
def test_an_index_that_is_none_is_refused(text, tmp_path):
    (tmp_path / INDEX).write_text(text)
    assert INDEX in refused(tmp_path)


@pytest.mark.parametrize("place", ["../elsewhere.safetensors", "/tmp/elsewhere.safetensors", "pytorch_model.bin"])
def test_an_index_may_name_only_safetensors_beside_it(place, tmp_path):
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"a": place}}))
    assert "names files that are not .safetensors files in its folder" in refused(tmp_path)


@pytest.mark.parametrize("suffix", PICKLES)
def test_pickles_are_refused_with_the_reason_and_the_way_to_convert_them(suffix, tmp_path):
    path = tmp_path / f"pytorch_model{suffix}"
    path.write_bytes(b"\x80\x04.")
    for given in (path, tmp_path):
        told = refused(given)
        assert "is a pickle, and reading a pickle can run any code" in told
        assert "safetensors.torch.save_file(torch.load(FILE, weights_only=True)" in told


def test_a_pickle_beside_safetensors_is_not_touched(tmp_path):
    save_tensors(tmp_path, SOME)
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    assert_same(Tensors(tmp_path), SOME)


def test_nothing_to_read_is_refused(tmp_path):
    assert "has no model.safetensors" in refused(tmp_path)
    assert "cannot be read as safetensors" in refused(tmp_path / "gone.safetensors")
