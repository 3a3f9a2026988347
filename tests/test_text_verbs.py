"""Looking at runs of classifiers of texts: reports of entities, and what is refused."""

import argparse
import json

import numpy as np
import pytest

from jaxlm.errors import BadInput
from jaxlm.steps import Entities
from jaxlm.train.run_directory import RunDirectory
from jaxlm.verbs.predict import predict
from jaxlm.verbs.runs import class_report

NAMES = ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]


@pytest.fixture
def home(tmp_path):
    """What a run of a tagger leaves, as far as it is read here."""
    (tmp_path / "classes.json").write_text(json.dumps({"names": NAMES}))
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "lineage.json").write_text(json.dumps({"sessions": []}))
    return RunDirectory(tmp_path)


def test_the_report_of_a_tagger_is_by_type_of_entity(home):
    counts = Entities(np.array([3, 1]), np.array([4, 1]), np.array([6, 2]))
    lines = [line.split() for line in class_report({"entities": counts}, home).splitlines() if line.strip()]
    assert lines[1] == ["LOC", "0.7500", "0.5000", "0.6000", "6"]
    assert lines[2] == ["PER", "1.0000", "0.5000", "0.6667", "2"]
    assert lines[3] == ["micro", "avg", "0.8000", "0.5000", "0.6154", "8"]


def test_predict_reads_images_alone(home, monkeypatch):
    monkeypatch.setattr(RunDirectory, "existing", lambda path: home)
    with pytest.raises(BadInput, match="a run of a classifier of texts: predict reads images"):
        predict(argparse.Namespace(run=str(home.path), files=[], skip_broken=False))
