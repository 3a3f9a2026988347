"""Arms: from declared changes and --vary to configs, and what is refused."""

import contextlib
import io
import sys
from dataclasses import replace

import pytest

from jaxlm import cli
from jaxlm.ablate.arms import BASE, Arm, combine, declared, parse, resolve, varied
from jaxlm.errors import BadInput
from jaxlm.train.config import load
from whole_path import ROOT

EXPERIMENT, CONFIG = ROOT / "experiments" / "image_classification.py", ROOT / "configs" / "cnn_digits.py"
CHANGES = [Arm("a", ("--optim.peak", "1")), Arm("b", ("--run.ema", "0.5"))]


@pytest.fixture(scope="module")
def base():
    return load(CONFIG)


def names(arms):
    return [arm.name for arm in arms]


def test_a_field_is_varied_by_the_words_that_one_would_type(base):
    specs = ["optim.peak=1e-3,3e-2", "model.widths=16 32 64,8", "data.augment.0.degrees=-3"]
    arms = [arm for group in varied(base, specs) for arm in group]
    assert arms[0] == Arm("optim.peak=1e-3", ("--optim.peak", "1e-3"))
    assert arms[2] == Arm("model.widths=16 32 64", ("--model.widths", "16", "32", "64"))
    configs = {arm.name: config for arm, config in resolve(base, arms)}
    assert configs[BASE] == base
    assert configs["optim.peak=3e-2"] == replace(base, optim=replace(base.optim, peak=0.03))
    assert configs["model.widths=16 32 64"].model.widths == (16, 32, 64)
    assert configs["model.widths=8"].model.widths == (8,)
    assert configs["data.augment.0.degrees=-3"].data.augment[0].degrees == -3


def test_a_switch_is_turned_off_and_on(base):
    patient = parse(base, ["--run.patience", "2"], "base")  # then the direction says when a run stops
    (off,) = varied(patient, ["run.maximize=false"])[0]
    assert off.words == ("--run.no-maximize",)
    assert not resolve(patient, [off])[1][1].run.maximize
    assert varied(patient, ["run.maximize=TRUE"])[0][0].words == ("--run.maximize",)


def test_the_modes_combine_changes(base):
    fields = varied(base, ["optim.peak=1,2", "run.ema=0.5,0.9"])
    single = ["optim.peak=1", "optim.peak=2", "run.ema=0.5", "run.ema=0.9"]
    assert names(combine(base, "one-at-a-time", CHANGES, fields)) == ["a", "b", *single]
    grid = combine(base, "grid", [], fields)
    assert names(grid) == [f"{one}, {two}" for one in single[:2] for two in single[2:]]
    assert grid[3].words == ("--optim.peak", "2", "--run.ema", "0.9")
    assert combine(base, "grid", CHANGES, []) == CHANGES
    left = combine(base, "leave-one-out", CHANGES, varied(base, ["optim.clip=3"]))
    assert names(left) == ["all", "all but a", "all but b", "all but optim.clip=3"]
    assert left[2].words == ("--optim.peak", "1", "--optim.clip", "3")


def test_a_point_of_a_grid_that_is_the_base_is_not_listed_twice(base):
    arms = combine(base, "grid", [], varied(base, ["optim.peak=3e-3,1e-3", "run.ema=0,0.5"]))
    found = names(arm for arm, _ in resolve(base, arms))
    assert found == [BASE, "optim.peak=3e-3, run.ema=0.5", "optim.peak=1e-3, run.ema=0", "optim.peak=1e-3, run.ema=0.5"]


def test_arms_that_make_no_ablation_are_refused(base):
    for arms, told in (
        ([Arm("x", ("--optim.peak", "0.003"))], "arm 'x' is equal to the base: leave it out"),
        ([Arm("x", ("--data.augment.0.degrees", "10.0"))], "arm 'x' is equal to the base"),
        ([Arm("x", ("--run.seed", "5"))], "arm 'x' is equal to the base"),
        ([Arm("x", ("--run.init-seed", "5", "--run.noise-seed", "6"))], "arm 'x' is equal to the base"),
        ([Arm("x", ("--run.data-seed", "5"))], "arm 'x' is equal to the base"),
        ([Arm("x", ("--run.workers", "2"))], "arm 'x' is equal to the base"),
        ([*CHANGES, Arm("c", ("--optim.peak", "1.0"))], "arms 'a' and 'c' are the same: leave one out"),
        ([*CHANGES, Arm("a", ("--optim.peak", "2"))], "two arms are called 'a'"),
        ([Arm("base", ("--optim.peak", "2"))], "two arms are called 'base'"),
        ([Arm("x", ("--optim.paek", "1"))], "arm 'x': there is no field optim.paek: did you mean optim.peak?"),
        ([Arm("x", ("--optim.peak", "fast"))], "arm 'x': Error parsing --optim.peak: could not convert string"),
        ([Arm("x", ("--model.norm", "layer"))], "arm 'x': invalid choice 'layer' for argument '--model.norm'"),
        ([], "there is no arm beside the base"),
    ):
        with pytest.raises(BadInput) as error:
            resolve(base, arms)
        assert told in str(error.value)
        assert "\n" not in str(error.value)


def test_declarations_of_another_form_are_refused(base):
    assert declared({"a": ["--optim.peak", "1"]}, "c.py") == CHANGES[:1]
    with pytest.raises(BadInput, match="ablation 'a' of c.py is no tuple of words"):
        declared({"a": "--optim.peak 1"}, "c.py")
    with pytest.raises(BadInput, match="`ablations` of c.py is list: make it a dict"):
        declared([], "c.py")
    same = Arm("same", ("--optim.peak", "0.003"))
    assert combine(base, "grid", [same], varied(base, ["optim.peak=0.003"])) == [same]
    with pytest.raises(BadInput, match="needs at least two changes and has 1"):
        combine(base, "leave-one-out", CHANGES[:1], [])
    with pytest.raises(BadInput, match="takes one value of a field, and --vary gives optim.peak=1 and others"):
        combine(base, "leave-one-out", CHANGES, varied(base, ["optim.peak=1,2"]))


REFUSED = {
    "--seeds 0": "--seeds 0: give at least 1",
    "--seeds 2 --vary optim.paek=1": "there is no field optim.paek: did you mean optim.peak?",
    "--seeds 2 --vary zzzzzz=1": "there is no field zzzzzz: --help lists the fields",
    "--seeds 2 --vary optim=1": "there is no field optim",
    "--seeds 2 --vary optim.peak": "write a field and its values, as --vary optim.peak=1e-3,3e-3",
    "--seeds 2 --vary optim.peak=1,": "write a field and its values",
    "--seeds 2 --vary optim.peak=fast": "arm 'optim.peak=fast': Error parsing --optim.peak",
    "--seeds 2 --vary optim.peak=0.003": "arm 'optim.peak=0.003' is equal to the base",
    "--seeds 2 --vary optim.peak=1,1.0": "arms 'optim.peak=1' and 'optim.peak=1.0' are the same",
    "--seeds 2 --vary run.maximize=maybe": "run.maximize is a switch: give True or False",
    "--seeds 2 --optim.paek 1": "cnn_digits.py: there is no field optim.paek: did you mean optim.peak?",
    "--seeds 2 --run.steps 0": "run.steps is 0: it must be at least 1",
    "--seeds 2 --optim.warmup 9999": "do not fit into 900 steps",
    "--seeds 2 --leave-one-out --vary optim.peak=1,2": "--leave-one-out takes one value of a field",
}


@pytest.mark.parametrize("words", REFUSED)
def test_a_command_that_cannot_work_is_one_line_and_writes_nothing(words, tmp_path, monkeypatch):
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["jaxlm", "ablate", str(EXPERIMENT), str(CONFIG), *words.split()])
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as stop:
        cli.main()
    assert (stop.value.code, out.getvalue()) == (2, "")
    assert REFUSED[words] in err.getvalue()
    assert err.getvalue().startswith("error: ")
    assert err.getvalue().count("\n") == 1
    assert list(tmp_path.iterdir()) == []
