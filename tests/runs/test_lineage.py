"""Where a run comes from is described whatever lies in the working directory: lineage never stops a run."""

import hashlib
import importlib.metadata
import json
import os
import subprocess

import pytest

from jaxlm.ablate import sources
from jaxlm.runs import lineage

NAMES = (b"plain.py", b"two words.py", "übung\u2028.py".encode(), b"bad\xff.py", b'"quoted".py')


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout whose one file is changed to bytes that are not UTF-8."""
    monkeypatch.chdir(tmp_path)
    for name in ("GIT_DIR", "GIT_WORK_TREE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "notes.txt").write_bytes(b"one\n")
    author = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "-A"], [*author, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", *words], check=True)
    (tmp_path / "notes.txt").write_bytes(b"caf\xe9 \xff\n")
    return tmp_path


def test_untracked_files_of_any_name_are_kept_with_their_digests(checkout):
    for name in NAMES:
        (checkout / os.fsdecode(name)).write_bytes(name)
    (checkout / "gone.py").symlink_to("nowhere")
    (checkout / "round.py").symlink_to("round.py")
    found = lineage.git()
    assert json.loads(json.dumps(found)) == found
    digests = {name.decode("utf-8", "backslashreplace"): hashlib.sha256(name).hexdigest() for name in NAMES}
    unread = dict.fromkeys(("gone.py", "round.py"), lineage.UNREAD)
    assert set(found["untracked"].split("\n")) == {f"{name} {digest}" for name, digest in (digests | unread).items()}
    assert "+caf\\xe9 \\xff\n" in found["diff"]


def test_a_setting_of_git_does_not_change_the_difference(checkout):
    plain = lineage.git()["diff"]
    for setting, value in (("color.ui", "always"), ("diff.external", "false")):
        subprocess.run(["git", "config", setting, value], check=True)
    assert lineage.git()["diff"] == plain


def test_a_difference_that_git_does_not_give_is_not_called_none(checkout, monkeypatch):
    original = lineage._git
    monkeypatch.setattr(lineage, "_git", lambda *words: original(*words) if words[0] == "rev-parse" else None)
    assert (lineage.git()["diff"], lineage.git()["untracked"]) == (lineage.UNREAD, lineage.UNREAD)


def test_a_huge_difference_is_cut_and_says_so(checkout, monkeypatch):
    monkeypatch.setattr(lineage, "LONGEST", 40)
    whole = lineage._git("diff", "HEAD").decode("utf-8", "backslashreplace")
    assert lineage.git()["diff"] == f"{whole[:40]}\n({len(whole) - 40} more characters are left out)\n"


def test_without_git_there_is_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert lineage.git() is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert lineage.git() is None


def test_damaged_metadata_of_a_package_are_passed_over(tmp_path, monkeypatch):
    (tmp_path / "odd-1.0.dist-info").mkdir()
    (tmp_path / "odd-1.0.dist-info" / "METADATA").write_bytes(b"Name: odd\nVersion: 1.0\nAuthor: caf\xe9\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = lineage.packages()
    assert "odd" not in found
    assert found["jax"] == importlib.metadata.version("jax")


def test_the_lock_file_of_an_editor_is_no_source(tmp_path, monkeypatch):
    """Emacs leaves a dangling link `.#file.py` beside a file that is being edited."""
    (tmp_path / "a.py").write_text("")
    (tmp_path / ".#a.py").symlink_to("someone@somewhere.1:2")
    monkeypatch.setattr(sources, "PACKAGE", tmp_path)
    assert list(sources.Sources(tmp_path / "a.py")._jaxlm) == ["jaxlm/a.py"]


def test_two_generations_of_a_processor_have_two_names():
    """Seen on two virtual machines, both called "AMD EPYC": the same program had other bits on each."""
    rows = "model name\t: AMD EPYC\ncpu family\t: {}\nmodel\t\t: {}\nflags\t\t: fpu avx2 avx512f\n\n"
    assert lineage.name_processor(rows.format(25, 17) * 2) == "AMD EPYC family 25 model 17 avx512f"
    assert lineage.name_processor(rows.format(26, 2) * 2) == "AMD EPYC family 26 model 2 avx512f"
    assert lineage.name_processor("Features\t: fp asimd\nCPU part\t: 0xd40\n").endswith("part 0xd40 asimd")
