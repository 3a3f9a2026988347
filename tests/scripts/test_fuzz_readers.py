"""Every reader on mutated real files, a few of each; the campaign is `scripts/fuzz_readers.py`."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
NAMES = (
    *(
        "safetensors",
        "config.json",
        "tokenizer.json",
        "vocab.txt",
        "vocab.json",
        "CSV",
        "TSV",
        "JSON lines",
        "CoNLL",
        "questions",
        "interactions",
        "plain text",
    ),
    *("npz", "images", "run files"),
)
# Readers that end in every way that a campaign has to see.
BAD = """
import os, sys, time
from fuzz_readers import Target, tally
from jaxlm.errors import BadInput

def read(folder):
    text = (folder / "x").read_bytes()
    number = sum(text) % 7
    if number == 1:
        raise BadInput("one line")
    if number == 2:
        raise BadInput("two\\nlines")
    if number == 3:
        bytearray(1 << 29)
    if number == 4:
        time.sleep(60)
    if number == 5:
        os._exit(3)
    if number == 6:
        raise KeyError("x")

found = tally(Target(({"x": b"8"},), read), "bad", 0, 60, memory=1 << 27, seconds=0.3)
print(sorted({what.partition(":")[0].partition(" after")[0] for what in found.faults.values()}))
print(found.kinds["read"] > 0, found.kinds["refused"] > 0, len(found.seconds), found.row()["slowest ms"] >= 300)
"""


@pytest.fixture(scope="module")
def fuzz():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPTS)
        import fuzz_readers
        import fuzz_targets
        import mutations

    return fuzz_readers, fuzz_targets, mutations


@pytest.fixture(scope="module")
def known(fuzz, tmp_path_factory):

    folder = os.environ.get("JAXLM_TEST_DATA")
    if not folder:
        pytest.skip("JAXLM_TEST_DATA is not set: no real data on this machine")
    return fuzz[1].targets(Path(folder), tmp_path_factory.mktemp("made"))


@pytest.mark.filterwarnings("ignore::UserWarning")  # of Pillow, about damage that it can live with
@pytest.mark.parametrize("name", NAMES)
def test_mutated_files_are_read_or_refused_in_one_line(fuzz, known, name, tmp_path, monkeypatch):
    monkeypatch.setenv("JAXLM_CACHE", str(tmp_path / "cache"))
    assert set(known) == set(NAMES)
    found = {number: fuzz[0].one_case(known[name], name, 7, number, tmp_path) for number in range(40)}
    assert {number: what for number, what in found.items() if what not in ("read", "refused")} == {}
    assert "refused" in found.values()


@pytest.mark.parametrize("name", NAMES)
def test_files_as_they_are_can_be_read(known, name, tmp_path):
    for number, sample in enumerate(known[name].samples):
        folder = tmp_path / str(number)
        folder.mkdir()
        for file, content in sample.items():
            (folder / file).write_bytes(content)
        known[name].read(folder)


def test_a_case_is_a_function_of_its_seed(fuzz):
    files = {"a.json": b'{"a": [1, 2, {"b": null}]}', "b.txt": b"1,2\n3"}
    cases = [fuzz[2].mutate(files, random.Random(f"{seed}")) for seed in (*range(50), *range(50))]
    assert cases[:50] == cases[50:]
    assert len({repr(case) for case in cases}) > 40
    assert files == {"a.json": b'{"a": [1, 2, {"b": null}]}', "b.txt": b"1,2\n3"}


def test_a_campaign_sees_every_kind_of_fault_and_goes_on():
    done = subprocess.run(
        [sys.executable, "-c", BAD],
        cwd=SCRIPTS,
        env=os.environ | {"PYTHONPATH": str(SCRIPTS.parent)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.splitlines() == [
        "['KeyError', 'MemoryError', 'a message of 9 characters', 'no answer', 'the process died with code 3']",
        "True True 60 True",
    ], done.stderr
