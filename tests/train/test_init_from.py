"""A run that starts from weights that are there: which it takes, which it draws anew, and what it refuses."""

import re
import shutil
import sys

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxlm import optim, steps
from jaxlm.hub.tensors import PICKLES
from jaxlm.hub.torchvision import read_resnet
from jaxlm.models.resnet import ResNet
from jaxlm.runs.checkpoint import Checkpoints
from jaxlm.runs.directory import RunDirectory
from jaxlm.runs.weights import by_path, load_into
from jaxlm.train.init_from import InitFrom
from jaxlm.train.main import Outcome
from whole_path import ROOT, SHORT, final_bits, run_main, write_arrays

DIGITS = ("image_classification.py", ROOT / "configs" / "cnn_digits.py")
SMALL = [*"--model.widths 4 8 --model.hidden 16".split(), *SHORT]
BOTTLENECK = ResNet(classes=3, stages=(1, 1), block="bottleneck", width=4, stem="small")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """20 updates with an average, and checkpoints at 15 and 20."""
    directory = tmp_path_factory.mktemp("source") / "run"
    with pytest.MonkeyPatch.context() as monkeypatch:
        run_main(monkeypatch, *DIGITS, *SMALL, "--run.ema", "0.5", "--run.directory", str(directory))
    return directory


@pytest.fixture(scope="module")
def tuned(source, tmp_path_factory):
    """A run of 20 updates that was started from the source, and the words that it was started with."""
    home = tmp_path_factory.mktemp("tuned")
    shutil.copytree(source, home / "source")
    words = (*SMALL, "--init.path", str(home / "source"), "--optim.freeze", "^stage_0", "--run.keep-last", "99")
    with pytest.MonkeyPatch.context() as monkeypatch:
        run_main(monkeypatch, *DIGITS, *words, "--run.directory", str(home / "run"))
    return home, words


@pytest.fixture
def begun(monkeypatch, tmp_path):
    """The leaves of the state that a command line starts to train with."""

    def call(*words, program=DIGITS):
        caught = []

        def stopped(recorder, state, start, interrupt):
            caught.append(state)
            return Outcome(state, start, "finished", None)

        with monkeypatch.context() as patch:
            patch.setattr(sys.modules["jaxlm.train.main"], "run_updates", stopped)
            run_main(patch, *program, *words, "--run.directory", str(tmp_path / f"begun {len(words)} {hash(words)}"))
        assert caught[0].step == 0
        ema = {} if caught[0].ema is None else {"ema": caught[0].ema}
        return {name: np.asarray(leaf) for name, leaf in (by_path(caught[0]) | flat(ema)).items()}

    return call


def flat(tree):
    paths = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf) for path, leaf in paths}


def stored(directory, step, kind):
    """What a checkpoint holds, by the paths of a state: its average ("ema") or the parameters themselves ("params")."""
    state = Checkpoints(directory / "checkpoints").restore_raw(step)
    return flat(state["ema"] if kind == "ema" else {"params": state["params"], **state["variables"]})


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for path, leaf in expected.items():
        np.testing.assert_array_equal(found[path], leaf, err_msg=path, strict=True)


@pytest.mark.parametrize("step", [15, 20])
def test_a_run_starts_with_the_average_and_the_statistics_of_another_and_a_head_of_its_own(source, begun, step):
    asked = () if step == 20 else ("--init.step", str(step))
    found = begun(*SMALL, "--init.path", str(source), *asked, "--run.seed", "7")
    anew, old, plain = (
        begun(*SMALL, "--run.seed", "7"),
        stored(source, step, "ema"),
        stored(source, step, "params"),
    )
    head = {path for path in old if path.startswith("params/head/")}
    assert len(head) == 2
    assert_same(found, {path: (anew if path in head else old)[path] for path in old})
    assert any((old[path] != plain[path]).any() for path in old)
    assert any((stored(source, 15, "ema")[path] != stored(source, 20, "ema")[path]).any() for path in old)


def test_fresh_chooses_what_is_drawn_anew_and_the_new_average_starts_at_what_was_taken(source, begun):
    words = (*SMALL, "--init.path", str(source), "--init.fresh", "stage_1|bias$", "--run.ema", "0.9")
    found, anew, old = begun(*words), begun(*SMALL), stored(source, 20, "ema")
    fresh = {path for path in old if re.search("stage_1|bias$", path)}
    assert {path.partition("/")[0] for path in fresh} == {"params", "batch_stats"}
    expected = {path: (anew if path in fresh else old)[path] for path in old}
    average = {f"ema/{path}": leaf for path, leaf in expected.items()}
    assert_same(found, expected | average)


def test_without_an_average_the_parameters_are_taken(source, tmp_path, begun):
    state = jax.tree.map(lambda x: x + 1.0, begun(*SMALL))
    params = {path.removeprefix("params/"): x for path, x in state.items() if path.startswith("params/")}
    stats = {path.removeprefix("batch_stats/"): x for path, x in state.items() if path.startswith("batch_stats/")}
    for name in ("config.json", "lineage.json"):
        shutil.copy(source / name, tmp_path)
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    nested = [_nest(leaves) for leaves in (params, stats)]
    checkpoints.save(3, {"params": nested[0], "variables": {"batch_stats": nested[1]}})
    checkpoints.wait()
    assert_same(begun(*SMALL, "--init.path", str(tmp_path), "--init.fresh", ""), state)


def _nest(leaves):
    tree = {}
    for path, leaf in leaves.items():
        layer, _, name = path.rpartition("/")
        tree.setdefault(layer, {})[name] = leaf
    return tree


def test_a_started_run_needs_its_source_no_more_and_ends_in_the_same_bits(tuned, tmp_path, monkeypatch, capsys):
    home, words = tuned
    whole = final_bits(home / "run")
    shutil.copytree(home / "run", tmp_path / "run")
    for step in (10, 15, 20):
        shutil.rmtree(tmp_path / "run" / "checkpoints" / str(step))
    (home / "source").rename(home / "away")
    try:
        run_main(monkeypatch, *DIGITS, *words, "--run.directory", str(tmp_path / "run"))
    finally:
        (home / "away").rename(home / "source")
    told = capsys.readouterr().out
    assert "going on from update 5" in told
    assert "arrays loaded from" not in told
    assert final_bits(tmp_path / "run") == whole


def test_a_run_killed_before_its_first_checkpoint_takes_the_weights_again(tuned, tmp_path, monkeypatch, capsys):
    home, words = tuned
    shutil.copytree(home / "run", tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    run_main(monkeypatch, *DIGITS, *words, "--run.directory", str(tmp_path / "run"))
    assert f"arrays loaded from {home / 'source'}" in capsys.readouterr().out
    assert final_bits(tmp_path / "run") == final_bits(home / "run")


def test_frozen_layers_of_a_started_run_keep_what_they_took(tuned):
    old, new = stored(tuned[0] / "source", 20, "ema"), stored(tuned[0] / "run", 20, "params")
    moved = {path for path in old if (old[path] != new[path]).any()}
    assert moved == {path for path in old if not path.startswith("params/stage_0")}  # its statistics are measured on


def in_pytorchs_names(leaves):
    """Leaves by our path under the names and with the axes of PyTorch: hub.torchvision's table, backwards, by hand."""
    kinds = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
    found = {}
    for path, leaf in leaves.items():
        layer, _, kind = path.partition("/")[2].rpartition("/")
        if block := re.fullmatch(r"stage_(\d)_block_(\d)/(conv|norm|shortcut|shortcut_norm)_?(\d?)", layer):
            stage, number, part, count = block.groups()
            parts = {"shortcut": "downsample.0", "shortcut_norm": "downsample.1", "norm": f"bn{count}"}
            layer = f"layer{int(stage) + 1}.{number}.{parts.get(part, f'conv{count}')}"
        else:
            layer = {"stem": "conv1", "stem_norm": "bn1", "head": "fc"}[layer]
        leaf = np.moveaxis(leaf, (3, 2), (0, 1)) if leaf.ndim == 4 else leaf.T
        found[f"{layer}.{kinds[kind]}"] = np.ascontiguousarray(leaf)
        if kind == "mean":
            found[f"{layer}.num_batches_tracked"] = np.asarray(9)
    return found


def drawn(leaves):
    """Other values in the same shapes."""
    draw = np.random.default_rng(5)
    return {path: draw.normal(size=leaf.shape).astype(np.float32) for path, leaf in leaves.items()}


def test_a_file_in_pytorchs_names_is_taken_leaf_by_leaf(tmp_path):
    def init(key):
        return steps.init(BOTTLENECK, optim.SGD()(1), np.zeros((1, 8, 8, 3), np.float32), key, ema=True)

    state = jax.jit(init)(jax.random.key(0))
    leaves = drawn(by_path(state))
    save_file(in_pytorchs_names(leaves), tmp_path / "tiny.safetensors")
    assert_same(read_resnet(tmp_path / "tiny.safetensors"), leaves)
    start = InitFrom(path=str(tmp_path / "tiny.safetensors"))
    taken = start.load(jax.eval_shape(init, jax.random.key(0)), BOTTLENECK).arrays
    expected = {path: by_path(state)[path] if "/head/" in path else leaf for path, leaf in leaves.items()}
    assert taken.keys() == {path for path in leaves if "/head/" not in path}
    new = load_into(state, taken)
    assert_same(by_path(new), expected)
    jax.tree.map(np.testing.assert_array_equal, new.ema, {"params": new.params, **new.variables})
    assert new.opt_state is state.opt_state


def test_a_file_starts_a_run_on_a_mesh(tmp_path, begun):
    write_arrays(tmp_path, 8)
    words = ["--data.arrays", str(tmp_path), *"--data.batch 64 --data.eval-batch 40 --model.width 4".split(), *SHORT]
    words += ["--place.kind", "mesh", "--place.fsdp", "2", "--model.stages", "1", "1", "--init.fresh", "^head/"]
    program = ("image_classification.py", ROOT / "configs" / "resnet20_cifar10.py")
    anew = begun(*words, program=program)
    leaves = drawn({path: leaf for path, leaf in anew.items() if not path.startswith("ema/")})
    save_file(in_pytorchs_names(leaves), tmp_path / "tiny.safetensors")
    found = begun(*words, "--init.path", str(tmp_path / "tiny.safetensors"), program=program)
    expected = {path: anew[path] if "/head/" in path else leaf for path, leaf in leaves.items()}
    average = {f"ema/{path}": leaf for path, leaf in expected.items()}
    assert_same(found, expected | average)


WIDER = ("--model.widths", "4", "8", "8", "--init.fresh", "^(head|hidden)/")
BAD = {
    "no such path": (("--init.path", "nowhere"), "nowhere is not a run directory"),
    "no such file": (("--init.path", "gone.safetensors"), "gone.safetensors cannot be read as safetensors"),
    "no checkpoints": (("--init.path", "EMPTY"), "EMPTY has no checkpoint yet: let it train"),
    "no such step": (("--init.path", "SOURCE", "--init.step", "7"), "has no checkpoint at update 7: it has"),
    "missing leaf": (("--init.path", "SOURCE", *WIDER), "has no batch_stats/stage_2_norm_1/mean: take the model"),
    "leaf too many": (
        ("--init.path", "SOURCE", "--model.widths", "4", "--init.fresh", "^(head|hidden)/"),
        "has batch_stats/stage_1_norm_1/mean, which the model here has not: take the model",
    ),
    "misshapen leaf": (
        ("--init.path", "SOURCE", "--model.hidden", "8"),
        "params/hidden/bias is [16] in SOURCE and [8] here: take the model",
    ),
    "nothing left": (("--init.path", "SOURCE", "--init.fresh", "."), "init.fresh '.' leaves nothing to take"),
    "no expression": (("--init.path", "SOURCE", "--init.fresh", "("), "'(', which is no regular expression"),
    "no safetensors": (("--init.path", "JUNK"), "cannot be read as safetensors"),
    "no ResNet's": (("--init.path", "OTHER"), "has a tensor encoder.weight [2, 3], which no layer of a ResNet has"),
    **{
        f"pickle {suffix}": (("--init.path", f"PICKLE{suffix}"), "is a pickle, and reading a pickle can run any code")
        for suffix in PICKLES
    },
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_started_from_is_told_in_one_line_before_anything_is_written(
    name, source, tmp_path, monkeypatch, capsys
):
    words, told = BAD[name]
    (tmp_path / "EMPTY").mkdir()
    for file in ("config.json", "lineage.json"):
        shutil.copy(source / file, tmp_path / "EMPTY")
    (tmp_path / "JUNK.safetensors").write_bytes(b"these are no tensors")
    save_file({"encoder.weight": np.zeros((2, 3), np.float32)}, tmp_path / "OTHER.safetensors")
    places = {"SOURCE": source, "EMPTY": tmp_path / "EMPTY"}
    places |= {name: tmp_path / f"{name}.safetensors" for name in ("JUNK", "OTHER")}
    for suffix in PICKLES:
        (tmp_path / f"PICKLE{suffix}").write_bytes(b"\x80\x04.")
        places[f"PICKLE{suffix}"] = tmp_path / f"PICKLE{suffix}"
    given = [str(places.get(word, word)) for word in words]
    with pytest.raises(SystemExit) as stop:
        run_main(monkeypatch, *DIGITS, *SMALL, *given, "--run.directory", str(tmp_path / "run"))
    error = capsys.readouterr().err
    assert stop.value.code == 2
    assert re.fullmatch(r"error: [^\n]+\n", error), error
    assert told.replace("SOURCE", str(source)).replace("EMPTY", str(tmp_path / "EMPTY")) in error
    if name.startswith("pickle"):
        assert "safetensors.torch.save_file(torch.load(" in error
    assert not (tmp_path / "run").exists()


def test_a_damaged_source_is_named(source, tmp_path, monkeypatch, capsys):
    shutil.copytree(source, tmp_path / "source")
    for checkpoint in (tmp_path / "source" / "checkpoints").iterdir():
        victim = next((checkpoint / "d").iterdir())
        victim.write_bytes(victim.read_bytes()[:-1] + b"x")
    words = ("--init.path", str(tmp_path / "source"), "--run.directory", str(tmp_path / "run"))
    for step, told in (((), "every checkpoint in"), (("--init.step", "15"), "is damaged")):
        with pytest.raises(SystemExit) as stop:
            run_main(monkeypatch, *DIGITS, *SMALL, *words, *step)
        assert stop.value.code == 2
        assert told in capsys.readouterr().err
        assert not (tmp_path / "run").exists()


def test_the_source_stands_in_the_config_that_a_run_keeps(tuned, tmp_path, monkeypatch, capsys):
    home, words = tuned
    assert RunDirectory(home / "run").config().init == InitFrom(path=str(home / "source"))
    with pytest.raises(SystemExit):
        run_main(monkeypatch, *DIGITS, *words, "--init.step", "15", "--run.directory", str(home / "run"))
    assert "init.step None there, 15 here" in capsys.readouterr().err
