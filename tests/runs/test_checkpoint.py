"""Checkpoints: every bit comes back, damage is named, and what does not fit is refused by leaf."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlm import parallel, steps
from jaxlm.errors import BadInput
from jaxlm.runs import checkpoint
from jaxlm.runs.checkpoint import Checkpoints
from jaxlm.runs.compare import digests
from jaxlm.runs.seal import SEAL


def start(key, width=8, dtype=jnp.float32):
    params = {"a": jax.random.normal(key, (4, width), dtype), "b": {"c": jnp.arange(8.0)}}
    return steps.new_state(params, optax.adam(1e-2), key, ema=True)


def make(place=None, seed=0, **shape):
    return (place or parallel.local()).init(lambda key: start(key, **shape), jax.random.key(seed))


def template(place=None, **shape):
    place = place or parallel.local()
    return place.layout(jax.eval_shape(lambda key: start(key, **shape), jax.random.key(0)))


def saved(directory, count=1, **options):
    checkpoints = Checkpoints(directory, **options)
    for step in range(1, count + 1):
        checkpoints.save(step, make(seed=step), {"eval/loss": float((step - 3) ** 2)})
    checkpoints.wait()
    return checkpoints


def bits(state):
    return digests({name: getattr(state, name) for name in ("step", "params", "opt_state", "key", "ema")})


@pytest.mark.parametrize("place", [parallel.local(), parallel.pmap(), parallel.mesh(), parallel.mesh(fsdp=4)], ids=str)
def test_a_state_comes_back_bit_for_bit_onto_any_placement(tmp_path, place):
    state = make(parallel.mesh(data=2, fsdp=2), seed=1)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(7, state)
    checkpoints.wait()
    restored = checkpoints.restore(7, template(place))
    assert bits(restored) == bits(state)
    same = jax.tree.map(lambda x, t: x.sharding.is_equivalent_to(t.sharding, x.ndim), restored, template(place))
    assert all(jax.tree.leaves(same))


def test_without_a_template_the_same_bits_come_back_as_dicts(tmp_path):
    checkpoints = saved(tmp_path)
    raw = checkpoints.restore_raw(1)
    np.testing.assert_array_equal(raw["params"]["b"]["c"], np.arange(8.0))
    assert digests({"key": raw["key"]}) == digests({"key": make(seed=1).key})


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_any_damaged_file_is_named_and_the_checkpoint_before_is_used(tmp_path, damage):
    whole = saved(tmp_path / "whole", count=2)
    files = [path for path in (whole.directory / "2").rglob("*") if path.is_file() and path.stat().st_size]
    assert len(files) >= 6
    for file in files:
        target = tmp_path / "damaged"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(whole.directory, target)
        victim = target / file.relative_to(whole.directory)
        content = victim.read_bytes()
        middle = len(content) // 2
        if damage == "flip":
            victim.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        elif damage == "truncate":
            victim.write_bytes(content[:middle])
        else:
            victim.unlink()
        told: list[str] = []
        step = Checkpoints(target, say=told.append).newest_whole()
        assert step == 1
        assert str(file.relative_to(whole.directory / "2")) in told[0]
        with pytest.raises(BadInput, match="2 is damaged [^\n]*: choose another with --step"):
            Checkpoints(target).restore(2, template())
        with pytest.raises(BadInput, match="2 is damaged"):
            Checkpoints(target).restore_raw(2)


def test_when_all_are_damaged_the_error_says_so(tmp_path):
    checkpoints = saved(tmp_path)
    next((tmp_path / "1" / "d").iterdir()).write_bytes(b"")
    with pytest.raises(BadInput, match="every checkpoint in .* is damaged"):
        checkpoints.newest_whole()


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        ({"width": 16}, r"ema/params/a is float32\[4,8\] in it and float32\[4,16\] in this"),
        ({"dtype": jnp.bfloat16}, r"ema/params/a is float32\[4,8\] in it and bfloat16\[4,8\]"),
    ],
)
def test_another_shape_or_dtype_is_refused_by_the_name_of_the_leaf(tmp_path, shape, told):
    with pytest.raises(BadInput, match=told):
        saved(tmp_path).restore(1, template(**shape))


def test_another_structure_is_refused_by_the_name_of_the_leaf(tmp_path):
    other = jax.eval_shape(lambda key: start(key).replace(ema=None), jax.random.key(0))
    with pytest.raises(BadInput, match="ema/params/a is .* absent in this"):
        saved(tmp_path).restore(1, parallel.local().layout(other))


def test_the_newest_and_the_best_are_kept(tmp_path):
    assert saved(tmp_path / "min", count=6, keep_last=2, keep_best=1).steps() == [3, 5, 6]
    assert saved(tmp_path / "max", count=6, keep_last=1, keep_best=2, maximize=True).steps() == [1, 6]
    assert Checkpoints(tmp_path / "min").best() == 3


def test_what_a_kill_left_is_removed_and_what_it_had_sealed_becomes_a_checkpoint(tmp_path):
    checkpoints = saved(tmp_path, count=2)
    (tmp_path / "2").rename(tmp_path / "2.saving")  # killed between the seal and the rename
    shutil.copytree(tmp_path / "1", tmp_path / "3.saving")
    (tmp_path / "3.saving" / SEAL).unlink()  # killed before the seal
    shutil.copytree(tmp_path / "1", tmp_path / "0.removed")  # killed in a removal
    (tmp_path / "4.saving.orbax-checkpoint-tmp").mkdir()
    assert checkpoints.steps() == [1]
    checkpoints.tidy()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2"]
    assert bits(checkpoints.restore(2, template())) == bits(make(seed=2))


def test_a_checkpoint_without_its_seal_is_damaged_and_not_removed(tmp_path):
    (saved(tmp_path, count=1).directory / "1" / SEAL).unlink()
    checkpoints = Checkpoints(tmp_path, say=lambda text: None)
    checkpoints.tidy()
    with pytest.raises(BadInput, match="every checkpoint"):
        checkpoints.newest_whole()


def test_a_seal_holds_every_leaf_and_every_file(tmp_path):
    saved(tmp_path)
    seal = json.loads((tmp_path / "1" / SEAL).read_text())
    assert seal["leaves"]["params/b/c"] == "float32[8]"
    on_disk = {str(p.relative_to(tmp_path / "1")) for p in (tmp_path / "1").rglob("*") if p.is_file()}
    assert set(seal["files"]) | {SEAL} == on_disk


def test_a_save_that_fails_is_told_once_and_leaves_the_older_checkpoint(tmp_path, monkeypatch):
    checkpoints = saved(tmp_path)
    monkeypatch.setattr("jaxlm.runs.seal.write_seal", _no_space)
    checkpoints.save(2, make())
    with pytest.raises(BadInput, match="update 2 could not be written .* the disk is full; .* update 1 is intact"):
        checkpoints.wait()
    monkeypatch.undo()
    assert checkpoints.steps() == [1]
    checkpoints.save(2, make())
    checkpoints.wait()
    assert checkpoints.steps() == [1, 2]


def _no_space(*arguments):
    raise OSError(28, "No space left on device")


def test_saving_over_a_sealed_checkpoint_replaces_it(tmp_path):
    checkpoints = saved(tmp_path, count=1)
    checkpoints.save(1, make(seed=5))
    checkpoints.wait()
    assert bits(checkpoints.restore(1, template())) == bits(make(seed=5))


def test_a_failed_replacement_leaves_the_checkpoint_that_is_there(tmp_path, monkeypatch):
    checkpoints = saved(tmp_path, count=1)
    monkeypatch.setattr("jaxlm.runs.seal.write_seal", _no_space)
    checkpoints.save(1, make(seed=5))
    with pytest.raises(BadInput, match="update 1 is intact"):
        checkpoints.wait()
    assert bits(Checkpoints(tmp_path).restore(1, template())) == bits(make(seed=1))


def test_a_failure_without_text_is_told(tmp_path, monkeypatch):
    def fails(*arguments):
        raise TimeoutError

    checkpoints = saved(tmp_path, count=1)
    monkeypatch.setattr("jaxlm.runs.seal.write_seal", fails)
    checkpoints.save(2, make())
    with pytest.raises(
        BadInput, match="update 2 could not be written to [^\n]*: TimeoutError; the checkpoint at update 1"
    ):
        checkpoints.wait()


@pytest.mark.parametrize("use", [lambda kept: kept.restore(2, template()), lambda kept: kept.best()])
def test_a_seal_that_cannot_be_read_a_second_time_is_one_line(use, tmp_path, monkeypatch):
    """A disk that fails between the check and the use."""
    kept = saved(tmp_path, keep_last=1, keep_best=0)
    kept.save(2, make(), {"eval/loss": 1.0})
    kept.wait()
    reads, read_seal = [], checkpoint.read_seal

    def fails_later(path):
        reads.append(path)
        if len(reads) > 1:
            raise ValueError("seal.json cannot be read: Input/output error")
        return read_seal(path)

    monkeypatch.setattr(checkpoint, "read_seal", fails_later)
    with pytest.raises(BadInput, match="2 cannot be used .*Input/output error"):
        use(kept)
    assert (tmp_path / "2").is_dir()
