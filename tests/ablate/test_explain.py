"""`jaxlm explain`: every item of a number's origin is that of the record, and what differs here is named."""

import json
import os
import shutil
from importlib.metadata import version

import pytest
from ablations import EXPERIMENT, forge, jaxlm, records

from jaxlm.ablate import sources
from jaxlm.ablate.audit.diff import changes, differences
from jaxlm.ablate.audit.find import find, read_table
from jaxlm.runs.checkpoint import Checkpoints
from jaxlm.runs.compare import digests
from jaxlm.runs.serialise import digest, read_digested, write_digested


def items(out):
    """The lines of each item: {"seed": ["6"]}."""
    found = {}
    width = len(out.splitlines()[0]) - len(out.splitlines()[0].partition(" ")[2].lstrip())
    for line in out.splitlines():
        name = line[:width].strip() or list(found)[-1]
        found.setdefault(name, []).append(line[width:].rstrip())
    return found


def explained(*words):
    code, out, err = jaxlm("explain", *map(str, words))
    assert (code, err) == (0, "")
    return items(out)


def test_every_item_of_a_cell_is_that_of_its_record(made):
    directory, _ = made
    record, folder = records(directory)["slow", 6], find(read_table(directory)[1], "slow:6").folder
    parts, found = record["parts"], explained(directory, "slow:6")
    assert found["cell"] == ["slow:6", f"identity {record['identity']}", str(folder)]
    assert found["eval/accuracy"] == [f"{record['final']['eval/accuracy']} at update 12, of 2 records"]
    assert found["arm"] == ["--optim.peak-lr 1e-3"]
    assert found["config"] == ["optim.peak_lr 0.01 -> 0.001"]
    assert found["seed"] == ["6"]
    assert f"-m jaxlm.ablate.audit.rerun {folder} OUT" in found["rerun"][0]
    assert found["code"] == [f"{digest(parts['code'])} over {len(parts['code'])} files", "the same here"]
    assert found["packages"] == [f"{digest(parts['packages'])} over {len(parts['packages'])} packages", "the same here"]
    assert [line.split() for line in found["data"]] == [[name, parts["data"][name]] for name in ("train", "eval")]
    assert found["artefacts"][0].split() == ["classes.json", parts["artefacts"]["classes.json"]]
    assert found["start"] == ["nothing loaded: all parameters are drawn"]
    assert [line.split()[0] for line in found["platform"][:-1]] == list(parts["platform"])
    assert found["platform"][-1] == "the same here"
    assert found["packing"] == ["exact"]
    state = Checkpoints(folder / "checkpoints").restore_raw(12)
    assert found["checkpoint"] == [str(folder / "checkpoints" / "12"), f"state {digest(digests(state))}"]
    (session,) = json.loads((folder / "lineage.json").read_text())["sessions"]
    dirty = ", with uncommitted changes" if session["git"]["diff"] or session["git"]["untracked"] else ""
    commit = session["git"]["commit"][:12]
    assert found["sessions"][0] == f"{session['time']} in {os.getcwd()}, git {commit}{dirty}"
    assert found["sessions"][1].strip() == session["command"]
    assert (
        explained(directory, record["identity"][:12]) == explained(directory / "table.json", folder.name[:14]) == found
    )
    assert explained(folder) == found


def test_what_differs_here_is_named(made, tmp_path, monkeypatch):
    shutil.copytree(made[0], tmp_path / "copy")
    folder = find(read_table(tmp_path / "copy")[1], "base:5").folder
    lineage = read_digested(folder / "lineage.json", {})
    (tmp_path / "other.py").write_text(EXPERIMENT.read_text() + "\n# another byte\n")
    write_digested(folder / "lineage.json", lineage | {"experiment": str(tmp_path / "other.py")})
    installed = sources.packages_of
    monkeypatch.setattr(sources, "packages_of", lambda modules: installed(modules) | {"optax": "99.0", "zebra": "1.0"})
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    monkeypatch.setenv("XLA_FLAGS", "--xla_of_another_machine")
    found = explained(tmp_path / "copy", "base:5")
    assert found["arm"] == ["the base: no words"]
    assert found["config"] == ["as the base"]
    assert found["code"][1:] == ["differs here: experiment.py"]
    optax = f'differs here: optax "{version("optax")}" -> "99.0"'
    assert found["settings"][-1] == "differs here: NVIDIA_TF32_OVERRIDE is new here"
    assert found["packages"][1:] == [optax, "differs here: zebra is new here"]
    assert found["platform"][-1].startswith("differs here: xla_flags ")
    assert found["platform"][-1].endswith('-> "--xla_of_another_machine"')
    shutil.rmtree(folder / "checkpoints" / "12")
    seal = folder / "checkpoints" / "8" / "seal.json"
    seal.write_text(seal.read_text().replace('"files": {', '"files": {"lost": "",', 1))
    assert explained(folder)["checkpoint"] == [str(seal.parent), "damaged: seal.json has changed since it was written"]


def test_a_failed_cell_tells_why_and_a_changed_value_is_seen(made, tmp_path):
    assert explained(made[0], "too fast:6")["eval/accuracy"][0].startswith("none: training stopped: ")
    shutil.copytree(made[0], tmp_path / "copy")
    forge(tmp_path / "copy", "slow", 5, lambda record: record["final"].update({"eval/accuracy": 0.99}), tabulated=False)
    (told,) = explained(tmp_path / "copy", "slow:5")["eval/accuracy"]
    value = records(made[0])["slow", 5]["final"]["eval/accuracy"]
    assert told == f"0.99 as recorded, and {value} in the table: one of them was changed"


def test_a_run_is_told_by_its_lineage(made, tmp_path):
    run = find(read_table(made[0])[1], "base:7").folder
    shutil.copytree(run, tmp_path / "run")
    found, cell_found = explained(tmp_path / "run"), explained(run)
    assert found["run"] == [str(tmp_path / "run")]
    assert found["eval/accuracy"] == [f"{records(made[0])['base', 7]['final']['eval/accuracy']} at update 12"]
    assert found["code"] == [f"{EXPERIMENT}: as it was"]
    for name in ("seed", "data", "platform", "sessions"):
        assert found[name] == cell_found[name]
    assert found["checkpoint"][1] == cell_found["checkpoint"][1]
    (session,) = json.loads((run / "lineage.json").read_text())["sessions"]
    assert found["rerun"] == [session["command"], f"in {session['directory']}"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("MADE",), "MADE is an ablation: name a cell of it, such as base:5\n"),
        (("MADE", "basse:5"), "there is no cell basse:5: did you mean base:5?\n"),
        (("MADE", "zzzzzzz"), "there is no cell zzzzzzz: write base:5, or so\n"),
        (("RUN", "base:5"), "RUN is a run: leave 'base:5' out, or give the directory of the ablation\n"),
        (("nowhere",), "there is no table nowhere: give the directory of an ablation that has come to its end\n"),
    ],
)
def test_wrong_names_are_told_in_one_line(made, words, told):
    places = {"MADE": str(made[0]), "RUN": str(find(read_table(made[0])[1], "base:5").folder)}
    code, out, err = jaxlm("explain", *(places.get(word, word) for word in words))
    for name, place in places.items():
        told = told.replace(name, place)
    assert (code, out, err) == (2, "", f"error: {told}")


def test_the_differences_of_two_identities_are_told_by_part():
    there = {"code": {"a.py": "0" * 64, "b.py": "1" * 64}, "config": {"x": 1, "y": [1]}, "packing": "exact"}
    assert differences(there, there | {"packing": "vmapped"}) == {}
    here = {"code": {"a.py": "2" * 64, "c.py": "1" * 64}, "config": {"x": 2, "y": [1]}, "refused": "no"}
    assert differences(there, here) == {
        "code": ["a.py", "b.py is not here", "c.py is new here"],
        "config": ["x 1 -> 2"],
        "refused": ["only in the cell as it is here"],
    }
    assert changes({"a": {"b": True}}, {"a": {"b": True}}) == []
