"""`jaxlm verify`: what was left alone agrees in every bit; what was changed is found, and told by its part."""

import json
import math
import shutil

import numpy as np
import pytest
from ablations import DIVERGED, EXPERIMENT, command, forge, jaxlm, records

from jaxlm.ablate import Arm, ablate
from jaxlm.ablate.audit import verify
from jaxlm.ablate.audit.find import find, nested, read_table, read_whole
from jaxlm.ablate.audit.rerun import rerun
from jaxlm.ablate.audit.verify import choose_entries, first_difference, judge, table_fault
from jaxlm.ablate.cell import settings
from jaxlm.data.images import labelled
from jaxlm.data.images.sources import ArrayImages
from jaxlm.errors import BadInput
from jaxlm.runs.directory import RunDirectory
from jaxlm.runs.load import load_module
from jaxlm.runs.serialise import flatten, from_json, read_digested, to_json, write_digested
from jaxlm.train.config import load_config, override
from jaxlm.train.replay.bisect import Replay
from whole_path import write_arrays


@pytest.fixture
def copy(made, tmp_path):
    """A copy of the ablation, to be changed."""
    shutil.copytree(made[0], tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture
def here(monkeypatch):
    """Let cells be run again in this process, which has imported everything already."""

    def run_again(cell, out, anyway):
        return json.loads(json.dumps(rerun(cell, out, anyway)))

    monkeypatch.setattr(verify, "run_again", run_again)


def folder(directory, name):
    return find(read_table(directory)[1], name).folder


def experiment(directory, name, path):
    """Let the lineage of a cell name another experiment file."""
    lineage = folder(directory, name) / "lineage.json"
    write_digested(lineage, read_digested(lineage, {}) | {"experiment": str(path)})


def test_a_cell_left_alone_agrees_in_every_bit_in_a_fresh_process(made):
    code, out, err = jaxlm("verify", str(made[0]), "--cell", "slow:6")
    assert (code, err) == (0, "")
    record = records(made[0])["slow", 6]
    values = sum(map(len, record["curves"].values()))
    table, line, summary = out.splitlines()
    assert table == "table: it is what its records make"
    assert line.startswith(f"slow:6  agrees in every bit: {values} values of {len(record['curves'])} metrics, state ")
    assert summary == "1 of 9 cells run again: 1 agree, 0 do not"


def test_a_vmapped_cell_is_vmapped_again_and_agrees_in_every_bit(config, here, tmp_path):
    assert jaxlm(*command(config, tmp_path / "made", "--packing", "vmapped", "--seeds", "2"))[0] == 0
    code, out, _ = jaxlm("verify", str(tmp_path / "made"), "--cell", "slow:6", "--cell", "too fast:5")
    assert code == 0
    assert "slow:6      agrees in every bit: " in out
    assert "too fast:5  agrees in every bit: " in out
    lineage = folder(tmp_path / "made", "slow:6") / "lineage.json"
    session = json.loads(lineage.read_text())["sessions"][0]
    assert (session["runs"], session["run"]) == (6, 4)
    sessions = [session | {"runs": 3}, session]
    write_digested(lineage, read_digested(lineage, {}) | {"sessions": sessions})
    out = jaxlm("verify", str(tmp_path / "made"), "--cell", "slow:6")[1]
    assert "slow:6  agrees within 0.001 (packs of other sizes): " in out


@pytest.mark.slow
def test_a_whole_table_left_alone_agrees(made):
    code, out, _ = jaxlm("verify", str(made[0] / "table.json"))
    assert code == 0
    assert out.count("  agrees in every bit: ") == 9
    assert out.count(f"; fails alike: {DIVERGED}") == 3
    assert out.endswith("9 of 9 cells run again: 9 agree, 0 do not\n")


@pytest.mark.slow
def test_a_run_that_cannot_be_repeated_in_a_fresh_process_is_told_in_its_line(copy):
    experiment(copy, "base:5", "gone.py")
    RunDirectory(folder(copy, "base:5")).experiment.write_text("import nothing_of_that_name\n")
    code, out, _ = jaxlm("verify", str(copy), "--cell", "base:5")
    assert code == 1
    line = next(line for line in out.splitlines() if line.startswith("base:5  CANNOT BE VERIFIED: "))
    assert line.endswith(" line 1: ModuleNotFoundError: No module named 'nothing_of_that_name'")


def test_a_metric_changed_by_hand_is_found_with_its_update(copy, here):
    def change(record):
        record["curves"]["train/loss"][6][1] = math.nextafter(record["curves"]["train/loss"][6][1], 9)

    forge(copy, "slow", 5, change)
    values = sum(map(len, records(copy)["slow", 5]["curves"].values()))
    code, out, _ = jaxlm("verify", str(copy), "--cell", "slow:5", "--cell", "too fast:6")
    assert code == 1
    assert "table: it is what its records make\n" in out
    assert "slow:5      DIFFERS: train/loss at update 7: " in out
    assert f"(1 of {values} values differ)\n" in out
    assert f"too fast:6  agrees in every bit: 5 values of 5 metrics; fails alike: {DIVERGED}" in out
    assert out.endswith("2 of 9 cells run again: 1 agree, 1 do not\n")


@pytest.mark.slow
def test_a_bit_of_the_state_and_an_invented_failure_are_found(copy, here):
    run = Replay(RunDirectory(folder(copy, "slow:5")))
    run.begin(12)
    kernel = np.array(run.state.params["hidden_0"]["kernel"])
    kernel.view(np.uint32).flat[3] ^= 1
    params = run.state.params | {"hidden_0": run.state.params["hidden_0"] | {"kernel": kernel}}
    run.checkpoints.save(12, run.state.replace(params=params))
    run.checkpoints.wait()
    forge(copy, "base", 5, lambda record: record.update(failed="it did not please"))
    code, out, _ = jaxlm("verify", str(copy), "--cell", "slow:5", "--cell", "base:5")
    assert code == 1
    assert "slow:5  DIFFERS: the state at update 12 in 1 leaves: params/hidden_0/kernel\n" in out
    assert "base:5  DIFFERS: it failed (it did not please) as recorded, and here it ended well\n" in out


def test_changed_code_is_told_by_its_file_and_run_only_on_demand(copy, here, tmp_path):
    other = tmp_path / "other.py"
    other.write_text(EXPERIMENT.read_text() + "\n# another byte\n")
    experiment(copy, "base:6", other)
    code, out, _ = jaxlm("verify", str(copy), "--cell", "base:6")
    assert code == 1
    assert "base:6  NOT THE SAME EXPERIMENT (code): not run, --anyway does it\n" in out
    assert "code differs: experiment.py\n" in out
    code, out, _ = jaxlm("verify", str(copy), "--cell", "base:6", "--anyway")
    assert code == 0
    assert "base:6  agrees in every bit" in out
    assert "code differs: experiment.py\n" in out


@pytest.mark.slow
def test_one_byte_of_data_is_told_by_its_part(config, here, tmp_path):
    write_arrays(tmp_path, 8)
    words = "--run.steps 2 --run.eval-every 0 --run.save-every 0".split()
    base = override(load_config(config), words)
    base = type(base)(**{**vars(base), "data": ArrayImages(folder=str(tmp_path), batch=32, eval_batch=80)})
    ablate(load_module(EXPERIMENT).build, base, [Arm("slow", ("--optim.peak-lr", "1e-3"))], 1, tmp_path / "made")
    with np.load(tmp_path / "train.npz") as found:
        arrays = dict(found)
    arrays["images"][5, 4, 4, 1] ^= 1
    np.savez(tmp_path / "train.npz", **arrays)
    labelled.load_labelled.cache_clear()  # a fresh process has none
    code, out, _ = jaxlm("verify", str(tmp_path / "made"), "--sample", "1")
    assert code == 1
    assert ":5  NOT THE SAME EXPERIMENT (data): not run, --anyway does it\n" in out
    assert "data differs: train\n" in out


@pytest.mark.slow
def test_another_platform_is_compared_within_the_tolerance(copy, here):
    def elsewhere(change):
        def forged(record):
            record["parts"]["platform"]["cores"] = 99
            record["parts"]["packages"]["optax"] = "0.0.1"
            record["curves"]["train/loss"][6][1] *= change

        return forged

    forge(copy, "slow", 5, elsewhere(1 + 1e-5))
    forge(copy, "slow", 6, elsewhere(1 + 1e-2))
    curves = records(copy)["slow", 5]["curves"]
    counted = f"{sum(map(len, curves.values()))} values of {len(curves)} metrics"
    code, out, _ = jaxlm("verify", str(copy), "--cell", "slow:5", "--cell", "slow:6")
    assert code == 1
    assert f"slow:5  agrees within 0.001 (other packages and other platform): {counted}\n" in out
    assert "slow:6  DIFFERS: train/loss at update 7: " in out
    assert out.count("platform differs: cores 99 -> ") == 2
    assert out.count('packages differs: optax "0.0.1" -> ') == 2
    assert jaxlm("verify", str(copy), "--cell", "slow:6", "--tolerance", "0.02")[0] == 0


@pytest.mark.slow
def test_a_file_that_is_gone_is_replaced_by_its_copy_and_a_cell_that_never_began_by_its_record(copy, here, tmp_path):
    experiment(copy, "slow:5", tmp_path / "gone.py")
    out = jaxlm("verify", str(copy), "--cell", "slow:5")[1]
    assert "slow:5  agrees in every bit" in out
    assert (
        f"{tmp_path / 'gone.py'} is gone: its copy {RunDirectory(folder(copy, 'slow:5')).experiment} is used\n" in out
    )
    cell = folder(copy, "slow:6")
    config, record = RunDirectory(cell).config(), read_whole(cell)
    assert settings(from_json(nested(record["parts"]["config"]))) == settings(config)
    assert nested(flatten(to_json(config))) == to_json(config)


def test_broken_records_and_tables_are_told(copy):
    path = folder(copy, "base:7") / "cell.json"
    whole = path.read_text()
    path.write_text(whole.replace('"seed": 7', '"seed": 8', 1))
    code, out, _ = jaxlm("verify", str(copy), "--cell", "base:7")
    broken = f"the seal of {path} is broken: something changed it after it was written"
    assert code == 1
    assert out.startswith(f"table: IT CANNOT BE MADE AGAIN: {broken}\nbase:7  CANNOT BE VERIFIED: {broken}\n")
    path.write_text(whole)
    table = json.loads((copy / "table.json").read_text())
    table["arms"][1]["mean"] += 1e-6
    (copy / "table.json").write_text(json.dumps(table))
    assert table_fault(*read_table(copy)) == "IT IS NOT WHAT ITS RECORDS MAKE in slow"
    path.unlink()
    with pytest.raises(BadInput, match="there is no record"):
        read_whole(path.parent)


def test_traces_part_at_the_first_update_at_which_a_value_differs():
    there = {"b": [[1, 1.0], [2, 2.0]], "a": [[2, None]]}
    assert first_difference(there, there, 0.0) is None
    assert first_difference(there, {**there, "b": [[1, 1.0], [2, 2.0001]]}, 1e-3) is None
    assert first_difference(there, {**there, "b": [[1, 1.0], [2, 2.0001]]}, 0.0).startswith(
        "b at update 2: 2.0 recorded, 2.0001"
    )
    assert first_difference(there, {"b": [[1, 1.1], [2, 3.0]], "a": [[2, 1.0]]}, 0.0).startswith("b at update 1: ")
    assert (
        first_difference(there, {**there, "a": [[2, 1.0]]}, 0.5)
        == "a at update 2: None recorded, 1.0 here (1 of 3 values differ)"
    )
    assert (
        first_difference(there, {"b": there["b"]}, 0.5)
        == "a at update 2: None recorded, nothing here (1 of 3 values differ)"
    )


@pytest.mark.parametrize(
    ("same_packs", "differing", "exact"),
    [
        (True, (), True),
        (True, ("code", "data"), True),
        (False, (), False),
        (True, ("platform",), False),
        (True, ("packages", "code"), False),
    ],
)
def test_only_packs_of_other_sizes_and_another_platform_or_packages_may_have_other_bits(same_packs, differing, exact):
    def record(value):
        parts = {"code": {}}
        return {"identity": "x" * 64, "parts": parts, "failed": None, "curves": {"train/loss": [[1, value]]}}

    states = {"steps": [1, 1], "digests": ["a", "b"], "leaves": ["params/kernel"], "damage": None}
    found = {
        "differences": {name: ["x"] for name in differing},
        "note": None,
        "states": states,
        "same_packs": same_packs,
    }
    near, far, same = (judge(record(1.0), found | {"record": record(value)}, 1e-3) for value in (1.0001, 1.01, 1.0))
    assert [near.agrees, far.agrees, same.agrees] == [not exact, False, not exact]
    assert ("agrees within 0.001 (" in near.line) == (not exact)
    assert exact == (same.line == "DIFFERS: the state at update 1 in 1 leaves: params/kernel")
    assert near.more[-len(differing) or len(near.more) :] == [f"{name} differs: x" for name in differing]


def test_a_sample_is_a_function_of_its_seed(made):
    entries = read_table(made[0])[1]
    samples = [[entry.label for entry in choose_entries(entries, (), 3, seed)] for seed in (0, 0, 1, 2)]
    assert samples[0] == samples[1]
    assert len({tuple(sample) for sample in samples}) > 1
    assert all(len(set(sample)) == 3 for sample in samples)
    assert choose_entries(entries, (), None, 0) == entries


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("nowhere",), "there is no table nowhere: give the directory of an ablation that has come to its end"),
        (("MADE", "--cell", "slaw:6"), "there is no cell slaw:6: did you mean slow:6?"),
        (("MADE", "--cell", "slow"), "'slow' fits slow:5, slow:6, slow:7: write ARM:SEED"),
        (("MADE", "--sample", "10"), "--sample 10: the table has 9 cells, give 1 to 9"),
        (("MADE", "--sample", "1", "--cell", "base:5"), "--cell names the cells and --sample draws them: give one"),
        (("MADE", "--tolerance", "2"), "--tolerance 2.0: give a number in [0, 1)"),
    ],
)
def test_bad_input_is_told_in_one_line(made, words, told):
    code, out, err = jaxlm("verify", *(str(made[0]) if word == "MADE" else word for word in words))
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {told}")
    assert err.count("\n") == 1


def test_a_damaged_table_is_told(tmp_path):
    (tmp_path / "table.json").write_text("{}")
    with pytest.raises(BadInput, match="is not the table of an ablation, or damaged"):
        read_table(tmp_path)
