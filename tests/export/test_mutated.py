"""Artefacts that were changed at random are refused in one line: no code runs, nothing crashes or hangs."""

import copy
import os
import random
import shutil
import sys
from pathlib import Path

import pytest

import jaxlm
from jaxlm.errors import BadInput
from jaxlm.export.artefact import MANIFEST, open_artefact
from jaxlm.export.card import ModelFacts
from jaxlm.export.write import write_artefact
from jaxlm.runs.serialise import read_digested, write_digested
from small_models import text_model

COUNT = int(os.environ.get("JAXLM_MUTATIONS", "1000"))
HERE = (str(Path(jaxlm.__file__).parent), sys.prefix, sys.base_prefix, "<frozen")
STRANGE = [None, True, -1, 0, 1e308, "", "x" * 1000, "../../etc/passwd", "\0", 2**70]
STRANGE += [[], {}, [[]], {"type": "os:system"}]
_watched: list[str] = []
_on = False


def _hook(event, args):
    if not _on:
        return
    if event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "socket.connect"):
        _watched.append(event)
    elif event == "exec" and not str(getattr(args[0], "co_filename", "")).startswith(HERE):
        _watched.append(f"exec {args[0]!r}")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    write_artefact(folder, text_model(), ModelFacts("text", 1))
    jaxlm.load(folder)
    return folder


@pytest.fixture(scope="module")
def watched():
    global _on
    sys.addaudithook(_hook)
    _on = True
    yield _watched
    _on = False


@pytest.mark.slow
def test_random_bytes_are_refused_and_run_no_code(whole, watched, tmp_path):
    folder, draw = shutil.copytree(whole, tmp_path / "artefact"), random.Random(0)
    files = sorted(folder.iterdir())
    for _ in range(COUNT):
        file = draw.choice(files)
        content = file.read_bytes()
        changed = bytearray(content)
        for _ in range(draw.choice([1, 1, 2, 50])):
            place = draw.randrange(len(changed))
            changed[place : place + draw.choice([0, 1, 1, 4])] = draw.randbytes(draw.choice([0, 1, 1, 4]))
        file.write_bytes(changed)
        if bytes(changed) != content:
            with pytest.raises(BadInput) as told:
                open_artefact(folder)
            assert "\n" not in str(told.value)
        file.write_bytes(content)
    assert watched == []


def places(value, path=()):
    """The paths of all values in a JSON value."""
    yield path
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(item, (*path, key))


def refusal(folder):
    """What is said of an artefact that cannot be loaded; None for one that can."""
    try:
        jaxlm.load(folder)
    except BadInput as error:
        return str(error)
    return None


@pytest.mark.slow
def test_a_manifest_with_other_values_and_a_digest_that_fits_runs_no_code(whole, watched, tmp_path):
    """Whoever can write digests can change a manifest: it is data all the same."""
    folder, draw = shutil.copytree(whole, tmp_path / "artefact"), random.Random(1)
    given = read_digested(folder / MANIFEST, {})
    all_places, refused = [path for path in places(given) if path], 0
    for _ in range(COUNT // 10):
        content = copy.deepcopy(given)
        path = draw.choice(all_places)
        holder = content
        for key in path[:-1]:
            holder = holder[key]
        holder[path[-1]] = draw.choice(STRANGE)
        write_digested(folder / MANIFEST, content)
        told = refusal(folder)
        refused += told is not None
        assert "\n" not in (told or "")
    assert refused > COUNT // 20
    assert watched == []
