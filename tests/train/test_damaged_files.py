"""Damaged files of a run are one line each, and hide nothing else."""

import contextlib
import json
import os
import shutil
import time

import pytest
from tiny_run import builder, config, records

from jaxlm.errors import BadInput
from jaxlm.runs.directory import RunDirectory
from jaxlm.runs.serialise import read_digested, write_digested
from jaxlm.train import train

JSON = ("", "[]", "null", "{}", '"a"', '{"sessions": 3}', '{"sessions": [3]}', "[" * 100_000, "\ufeff{}", "\x00")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run at its end."""
    directory = tmp_path_factory.mktemp("whole") / "run"
    train(builder(), config(), directory)
    return directory


@pytest.fixture
def run(whole, tmp_path):
    """A copy of it."""
    shutil.copytree(whole, tmp_path / "run")
    return tmp_path / "run"


def refused(read):
    with pytest.raises(BadInput, match=r"^[^\n]+ is damaged [^\n]+$|was written by [^\n]+$") as caught:
        read()
    return str(caught.value)


@pytest.mark.parametrize("name", ["config.json", "lineage.json"])
def test_any_flipped_bit_of_config_or_lineage_is_one_line(name, run):
    """A bit of bytes all over the file; one that changes nothing but the layout may pass."""
    content = (run / name).read_bytes()
    read = RunDirectory(run).stored if name == "config.json" else RunDirectory(run).lineage
    before = read()
    spread = max(len(content) // 150, 1)
    for place in [*range(0, 60), *range(60, len(content), spread)]:
        (run / name).write_bytes(content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :])
        with contextlib.suppress(BadInput):
            assert read() == before, place


@pytest.mark.parametrize("name", ["config.json", "lineage.json"])
@pytest.mark.parametrize("text", JSON, ids=range(len(JSON)))
def test_other_json_in_the_place_of_config_or_lineage_is_one_line(name, text, run):
    (run / name).write_text(text)
    refused(lambda: train(builder(), config(), run))
    refused(RunDirectory(run).stored if name == "config.json" else RunDirectory(run).lineage)


def test_a_file_that_cannot_be_read_is_one_line(run):
    for put in (
        lambda path: path.mkdir(),
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: path.write_bytes(b"\xff"),
    ):
        (run / "lineage.json").unlink() if (run / "lineage.json").is_file() else None
        shutil.rmtree(run / "lineage.json", ignore_errors=True)
        put(run / "lineage.json")
        assert "restore lineage.json from a copy" in refused(RunDirectory(run).lineage)
        (run / "lineage.json").unlink() if not (run / "lineage.json").is_dir() else (run / "lineage.json").rmdir()


def test_a_json_file_of_an_older_version_has_no_digest_and_is_read(tmp_path):
    write_digested(tmp_path / "a.json", {"a": [1.5, None, "é"]})
    stored = json.loads((tmp_path / "a.json").read_text())
    assert stored.pop("digest")
    (tmp_path / "a.json").write_text(json.dumps(stored))
    assert read_digested(tmp_path / "a.json", {"a": list}) == {"a": [1.5, None, "é"]}


BAD_LINES = (
    b"{",
    b"[]",
    b"null",
    b"\xff\xfe",
    b'{"step": "x"}',
    b'{"loss": 1}',
    b'{"step": 2, "a": []}',
    b"[" * 10_000,
)


@pytest.mark.parametrize("bad", BAD_LINES, ids=range(len(BAD_LINES)))
def test_a_bad_line_hides_no_other_record_and_is_said_once(bad, run, capsys):
    path = run / "metrics.jsonl"
    before, lines = records(run), path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], bad + b"\n", *lines[3:]]))
    found = RunDirectory(run)
    for _ in range(2):
        left = [{k: v for k, v in record.items() if not k.startswith("time/")} for record in found.metrics()]
        assert left == before[:2] + before[3:]
    assert capsys.readouterr().err == f"{path} line 3 is damaged: it is left out\n"
    assert train(builder(), config(), run).ended == "finished"  # the other records stay
    assert records(run) == before[:2] + before[3:]


def test_a_last_line_that_a_kill_cut_short_is_left_out_without_a_word(run, capsys):
    before = records(run)
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 7, "lo')
    assert [record["step"] for record in RunDirectory(run).metrics()] == [record["step"] for record in before]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("move", [True, False])
def test_a_directory_that_is_moved_or_removed_while_it_trains_is_said_and_blocks_no_start(move, tmp_path):
    home = tmp_path / "run"

    def leaves(config, place):
        def preview(state):
            while not (home / "checkpoints" / "2").is_dir():
                time.sleep(0.01)
            home.rename(tmp_path / "moved") if move else shutil.rmtree(home)
            return {}

        return preview

    with pytest.raises(BadInput, match="^[^\n]*run was moved or removed while the run trained: [^\n]*$"):
        train(builder(preview=leaves), config(preview_every=3), home)
    assert not home.exists()
    whole = train(builder(), config(), home)
    if move:
        assert RunDirectory(tmp_path / "moved").checkpoints.joinpath("2").is_dir()
        assert train(builder(), config(), tmp_path / "moved")[1:3] == whole[1:3]
        assert records(tmp_path / "moved") == records(home)


def test_what_a_save_left_where_the_folder_of_its_run_was_blocks_no_start(tmp_path):
    (tmp_path / "run" / "checkpoints" / "4.saving.orbax-checkpoint-tmp").mkdir(parents=True)
    assert train(builder(), config(), tmp_path / "run").ended == "finished"
    (tmp_path / "other" / "checkpoints" / "4").mkdir(parents=True)
    with pytest.raises(BadInput, match="not empty and not a run directory"):
        train(builder(), config(), tmp_path / "other")


@pytest.mark.parametrize("name", ["listdir", "open"])
def test_a_folder_that_cannot_be_read_is_one_line(name, run, monkeypatch):
    def denied(path, *arguments, **named):
        if str(path).startswith(str(run)):
            raise PermissionError(13, "Permission denied", str(path))
        return original(path, *arguments, **named)

    original = getattr(os, name)
    monkeypatch.setattr(os, name, denied)
    if name == "listdir":
        monkeypatch.setattr(os, "scandir", denied)  # what newer Pythons list a folder with
    with pytest.raises(BadInput, match=f"^PermissionError: [^\n]*Permission denied[^\n]*{run}[^\n]*$"):
        train(builder(), config(), run)
