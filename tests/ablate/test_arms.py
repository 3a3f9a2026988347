import shlex

"""Arms: from declared changes and --vary to configs, and what is refused."""

import contextlib
import io
import sys
from dataclasses import replace

import pytest

from jaxlm import cli
from jaxlm.ablate import arms as arms_module
from jaxlm.ablate.arms import BASE, Arm, choose_arms, combine, declared_arms, override_words, parse, resolve, varied
from jaxlm.errors import BadInput
from jaxlm.runs.load import load_module
from jaxlm.runs.serialise import to_json
from jaxlm.train.config import fields, load_config
from whole_path import ROOT

EXPERIMENT, CONFIG = ROOT / "experiments" / "image_classification.py", ROOT / "configs" / "cnn_digits.py"
CHANGES = [Arm("a", ("--optim.peak-lr", "1")), Arm("b", ("--run.ema", "0.5"))]


@pytest.fixture(scope="module")
def base():
    return load_config(CONFIG)


def names(arms):
    return [arm.name for arm in arms]


def test_a_field_is_varied_by_the_words_that_one_would_type(base):
    specs = ["optim.peak_lr=1e-3,3e-2", "model.widths=16 32 64,8", "data.augment.0.degrees=3", "data.mean=-3"]
    arms = [arm for group in varied(base, specs) for arm in group]
    assert arms[0] == Arm("optim.peak_lr=1e-3", ("--optim.peak-lr", "1e-3"))
    assert arms[2] == Arm("model.widths=16 32 64", ("--model.widths", "16", "32", "64"))
    configs = {arm.name: config for arm, config in resolve(base, arms)}
    assert configs[BASE] == base
    assert configs["optim.peak_lr=3e-2"] == replace(base, optim=replace(base.optim, peak_lr=0.03))
    assert configs["model.widths=16 32 64"].model.widths == (16, 32, 64)
    assert configs["model.widths=8"].model.widths == (8,)
    assert configs["data.augment.0.degrees=3"].data.augment[0].degrees == 3
    assert configs["data.mean=-3"].data.mean == (-3,)


def test_a_switch_is_turned_off_and_on(base):
    patient = parse(base, ["--run.patience", "2"], "base")  # then the direction says when a run stops
    (off,) = varied(patient, ["run.maximize=false"])[0]
    assert off.words == ("--run.no-maximize",)
    assert not resolve(patient, [off])[1][1].run.maximize
    assert varied(patient, ["run.maximize=TRUE"])[0][0].words == ("--run.maximize",)


def test_the_modes_combine_changes(base):
    fields = varied(base, ["optim.peak_lr=4,2", "run.ema=0.8,0.9"])
    single = ["optim.peak_lr=4", "optim.peak_lr=2", "run.ema=0.8", "run.ema=0.9"]
    assert names(combine(base, "one-at-a-time", CHANGES, fields)) == ["a", "b", *single]
    grid = combine(base, "grid", [], fields)
    assert names(grid) == [f"{one}, {two}" for one in single[:2] for two in single[2:]]
    assert grid[3].words == ("--optim.peak-lr", "2", "--run.ema", "0.9")
    assert combine(base, "grid", CHANGES, []) == CHANGES
    left = combine(base, "leave-one-out", CHANGES, varied(base, ["optim.clip_norm=3"]))
    assert names(left) == ["all", "all but a", "all but b", "all but optim.clip_norm=3"]
    assert left[2].words == ("--optim.peak-lr", "1", "--optim.clip-norm", "3")


def test_a_varied_value_that_is_the_base_or_an_arm_has_the_row_of_that_one(base):
    fields = varied(base, ["optim.peak_lr=0.003,1.0,2,2.0", "data.augment.0.degrees=10.0,5"])
    assert names(combine(base, "one-at-a-time", CHANGES, fields)) == [
        "a",
        "b",
        "optim.peak_lr=2",
        "data.augment.0.degrees=5",
    ]
    same = Arm("same", ("--optim.peak-lr", "0.003"))  # declared, so a mistake
    assert combine(base, "grid", [same], varied(base, ["optim.peak_lr=0.003"])) == [same]


def test_arms_are_chosen_by_name(base):
    arms = combine(base, "one-at-a-time", CHANGES, varied(base, ["optim.peak_lr=2,4"]))
    assert choose_arms(arms, []) == arms
    assert names(choose_arms(arms, ["optim.peak_lr=4", "a"])) == ["a", "optim.peak_lr=4"]
    with pytest.raises(BadInput, match="--only optim.peak_lr=3: there is no such arm: did you mean 'optim.peak_lr="):
        choose_arms(arms, ["optim.peak_lr=3"])


def test_a_large_grid_parses_no_value_twice(base, monkeypatch):
    parsed = []
    monkeypatch.setattr(
        arms_module, "parse", lambda base, words, where: parsed.append(words) or parse(base, words, where)
    )
    spec = ["model.widths=8,16", "optim.peak_lr=" + ",".join(map(str, range(1, 51))), "run.ema=0.1,0.2"]
    found = resolve(base, combine(base, "grid", [], varied(base, spec)))
    assert len(found) == 201
    assert len(parsed) == 2  # the tuple; numbers are read without a parser
    arm, config = found[-1]
    assert arm.words == ("--model.widths", "16", "--optim.peak-lr", "50", "--run.ema", "0.2")
    assert config == parse(base, arm.words, "here")


def test_a_point_of_a_grid_that_is_the_base_is_not_listed_twice(base):
    arms = combine(base, "grid", [], varied(base, ["optim.peak_lr=3e-3,1e-3", "run.ema=0,0.5"]))
    found = names(arm for arm, _ in resolve(base, arms))
    assert found == [
        BASE,
        "optim.peak_lr=3e-3, run.ema=0.5",
        "optim.peak_lr=1e-3, run.ema=0",
        "optim.peak_lr=1e-3, run.ema=0.5",
    ]


def test_arms_that_make_no_ablation_are_refused(base):
    for arms, told in (
        ([Arm("x", ("--optim.peak-lr", "0.003"))], "arm 'x' is equal to the base: leave it out"),
        ([Arm("x", ("--data.augment.0.degrees", "10.0"))], "arm 'x' is equal to the base"),
        ([Arm("x", ("--run.seed", "5"))], "arm 'x' is equal to the base"),
        ([Arm("x", ("--run.init-seed", "5", "--run.noise-seed", "6"))], "arm 'x' is equal to the base"),
        ([Arm("x", ("--run.data-seed", "5"))], "arm 'x' is equal to the base"),
        ([Arm("x", ("--run.workers", "2"))], "arm 'x' is equal to the base"),
        ([*CHANGES, Arm("c", ("--optim.peak-lr", "1.0"))], "arms 'a' and 'c' are the same: leave one out"),
        ([*CHANGES, Arm("a", ("--optim.peak-lr", "2"))], "two arms are called 'a'"),
        ([Arm("base", ("--optim.peak-lr", "2"))], "two arms are called 'base'"),
        ([Arm("x", ("--optim.paek", "1"))], "arm 'x': there is no field optim.paek: did you mean --optim.peak-lr?"),
        ([Arm("x", ("--optim.peak-lr", "fast"))], "arm 'x': --optim.peak-lr: could not convert string"),
        ([Arm("x", ("--model.norm", "layer"))], "arm 'x': invalid choice 'layer' for argument '--model.norm'"),
        ([], "no arm differs from the base: declare `ablations` in the config file, or --vary other values"),
    ):
        with pytest.raises(BadInput) as error:
            resolve(base, arms)
        assert told in str(error.value)
        assert "\n" not in str(error.value)


def test_declarations_of_another_form_are_refused(base):
    assert declared_arms({"a": ["--optim.peak-lr", "1"]}, "c.py") == CHANGES[:1]
    with pytest.raises(BadInput, match="ablation 'a' of c.py is no tuple of words"):
        declared_arms({"a": "--optim.peak-lr 1"}, "c.py")
    with pytest.raises(BadInput, match="`ablations` of c.py is list: make it a dict"):
        declared_arms([], "c.py")
    with pytest.raises(BadInput, match="needs at least two changes and has 1"):
        combine(base, "leave-one-out", CHANGES[:1], [])
    with pytest.raises(BadInput, match="takes one value of a field, and --vary gives optim.peak_lr=1 and others"):
        combine(base, "leave-one-out", CHANGES, varied(base, ["optim.peak_lr=1,2"]))


REFUSED = {
    "--seeds 0": "--seeds 0: give at least 1",
    "--seeds 2 --vary optim.paek=1": "there is no field optim.paek: did you mean --optim.peak-lr?",
    "--seeds 2 --vary zzzzzz=1": "there is no field zzzzzz: `jaxlm train CONFIG --help` lists the fields",
    "--seeds 2 --vary optim=1": "there is no field optim",
    "--seeds 2 --vary optim.peak_lr": "write a field and its values, as --vary optim.peak_lr=1e-3,3e-3",
    "--seeds 2 --vary optim.peak_lr=1,": "write a field and its values",
    "--seeds 2 --vary optim.peak_lr=fast": "arm 'optim.peak_lr=fast': --optim.peak-lr",
    "--seeds 2 --vary run.steps=0.5": "arm 'run.steps=0.5': --run.steps",
    "--seeds 2 --vary optim.peak_lr=1 --only optim.peak_lr": "--only optim.peak_lr: there is no such arm: did you mean",
    "--seeds 2 --vary optim.peak_lr=1 --only zzz": "--only zzz: there is no such arm: there are 'no batch norm', ",
    "--seeds 2 --vary run.maximize=maybe": "run.maximize is a switch: give True or False",
    "--seeds 2 --optim.paek 1": "cnn_digits.py: there is no field optim.paek: did you mean --optim.peak-lr?",
    "--seeds 2 --run.steps 0": "run.steps is 0: it must be at least 1",
    "--seeds 2 --optim.warmup 9999": "do not fit into 900 steps",
    "--seeds 2 --leave-one-out --vary optim.peak_lr=1,2": "--leave-one-out takes one value of a field",
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


@pytest.mark.parametrize("file", sorted((ROOT / "configs").glob("*.py")), ids=lambda file: file.stem)
def test_the_ablations_of_every_config_can_be_parsed(file):
    arms = declared_arms(getattr(load_module(file), "ablations", {}), file.name)
    if arms:
        assert len(resolve(load_config(file), arms)) == len(arms) + 1


def flat(value):
    """The numbers and texts of a tuple of tuples."""
    return [leaf for item in value for leaf in flat(item)] if isinstance(value, list) else [value]


SEVERAL = ("rotary_scaling", "strings", "spec_augment", "neighbours", "privacy")  # None, or several fields


@pytest.mark.parametrize("file", sorted((ROOT / "configs").glob("*.py")), ids=lambda file: file.stem)
def test_every_field_of_every_config_can_be_set_or_says_where(file):
    config = load_config(file)
    found = fields(to_json(config))
    values = {name: x for name, x in found.items() if x is not None and not (x == [] and name.endswith("neighbours"))}
    texts = {name: shlex.join(map(str, flat(x))) if isinstance(x, list) else str(x) for name, x in values.items()}
    words = [word for name, x in values.items() for word in override_words(name, texts[name], x)]
    assert parse(config, words, "") == config
    for name in fields(to_json(config)).keys() - values.keys():
        if name.endswith(SEVERAL):
            with pytest.raises(BadInput, match=r"has no value that a word could change: set it in the config file"):
                parse(config, override_words(name, "3", None), "")
        else:
            assert parse(config, override_words(name, "None", None), "") == config
