"""The command line in this process, and the digits it is tested on."""

import contextlib
import io
import json
import re
import sys

import pytest

from jaxlm import cli
from whole_path import ROOT, SHORT

DIGITS = ("image_classification.py", ROOT / "configs" / "cnn_digits.py")
SMALL = [*"--model.widths 4 8 --model.hidden 16".split(), *SHORT]


def jaxlm(*words):
    """Run a command line in this process: (exit code, output, error)."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(sys, "argv", ["jaxlm", *map(str, words)])
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as stop:
            cli.main()
    return stop.value.code, out.getvalue(), err.getvalue()


def refused(*words):
    """The one line of a command line that cannot work."""
    code, out, err = jaxlm(*words)
    assert (code, out) == (2, "")
    assert re.fullmatch(r"error: [^\n]+\n", err), err
    return err


def told(out):
    """The probabilities of the classes in each of the JSON lines."""
    return [record["probabilities"] for record in map(json.loads, out.splitlines())]
