"""A shadow is asked the same and changes nothing, a canary answers its share, and labels say which of two is better."""

import asyncio
import contextlib
import io
import json
import re
import time

import numpy as np
import pytest

import jaxlm
from jaxlm.cli import parser
from jaxlm.errors import BadInput
from jaxlm.serve.feedback.store import FEEDBACK, Store
from jaxlm.serve.model import Batching
from jaxlm.serve.operate.trial import Trial, agree, is_chosen
from jaxlm.verbs.deploy.feedback import feedback, score_answer
from jaxlm.verbs.deploy.monitor import monitor
from jaxlm.verbs.deploy.serve import serve
from serve.served import service
from serve.test_service import png
from small_models import image_classifier, images, text_model, write_models

ALONE = Batching(largest=1)  # one program to compile


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Two classifiers that disagree, and a model of another kind."""
    folder = tmp_path_factory.mktemp("trials")
    return write_models(folder, old=image_classifier(0), new=image_classifier(1), texts=text_model())


def counted(client, name):
    """The values of a counter by its labels, when all copies are counted."""
    text = client.ask("GET", "/metrics")[2].decode()
    return {
        line.partition("{")[2].partition("}")[0]: float(line.split()[-1])
        for line in text.splitlines()
        if line.startswith(name + "{")
    }


def test_a_shadow_is_asked_and_its_agreement_counted_and_nobody_gets_its_answers(home):
    given = images(30)
    old, new = jaxlm.load(home / "old")(given), jaxlm.load(home / "new")(given)
    same = sum(one["label"] == other["label"] for one, other in zip(old, new, strict=True))
    assert 0 < same < 30
    with service([home / "old"], batching=ALONE, trial=Trial(shadow=home / "new")) as client:
        found = [client.predict([png(one)]) for one in given]
        assert [one["answers"][0]["label"] for one in found] == [one["label"] for one in old]
        assert len({one["digest"] for one in found}) == 1
        until = time.monotonic() + 30
        while sum(counted(client, "jaxlm_shadow_inputs_total").values()) < 30:
            assert time.monotonic() < until
        outcomes = {
            re.search('outcome="(.*?)"', labels)[1]: count
            for labels, count in counted(client, "jaxlm_shadow_inputs_total").items()
        }
        assert outcomes == {"agrees": same, "differs": 30 - same}
        assert counted(client, "jaxlm_shadow_seconds_count") == {'model="old"': 30.0}
        text = client.ask("GET", "/metrics")[2].decode()
        assert f'jaxlm_answers_total{{digest="{found[0]["digest"]}",model="old"}} 30.0' in text


def test_a_canary_answers_the_requests_that_their_ids_choose(home):
    (given,) = images(1)
    answers = {name: jaxlm.load(home / name)([given])[0] for name in ("old", "new")}
    ids = [f"request-{number}" for number in range(40)]
    with service([home / "old"], batching=ALONE, trial=Trial(canary=home / "new", share=0.3)) as client:
        digests = {}
        for name in [*ids, *ids]:
            body = {"inputs": [png(given)]}
            _, _, found = client.ask("POST", "/v1/predict", body, headers={"x-request-id": name})
            which = "new" if is_chosen(name, 0.3) else "old"
            assert found["answers"][0]["label"] == answers[which]["label"]
            assert found["model"] == "old"
            digests.setdefault(which, set()).add(found["digest"])
    assert [len(one) for one in digests.values()] == [1, 1]
    assert digests["old"] != digests["new"]


def test_a_share_of_ids_is_chosen():
    chosen = [is_chosen(f"{number:032x}", 0.1) for number in range(20_000)]
    assert 0.09 < np.mean(chosen) < 0.11  # five standard deviations are 0.0106
    assert not any(is_chosen(str(n), 0.1) and not is_chosen(str(n), 0.2) for n in range(2000))  # a share that grows


def test_answers_agree_in_their_class_or_to_rounding():
    assert agree({"label": "a", "probability": 0.5}, {"label": "a", "probability": 0.9})
    assert not agree({"label": "a"}, {"label": "b"})
    assert agree({"value": 1.0}, {"value": 1.0 + 1e-7})
    assert not agree({"value": 1.0}, {"value": 1.1})
    assert agree(BadInput("x"), BadInput("y"))
    assert not agree(BadInput("x"), {"label": "a"})


def test_what_cannot_stand_beside_a_model_is_refused(home):
    for paths, trial, told in [
        (["old", "new"], Trial(shadow=home / "new"), "there are several"),
        (["old"], Trial(canary=home / "texts"), "reads a prompt"),
        (["old"], Trial(canary=home / "new", share=1.0), "above 0 and below 1"),
    ]:
        with pytest.raises(BadInput, match=told), service([home / one for one in paths], batching=ALONE, trial=trial):
            pass


def test_options_that_would_be_ignored_are_refused(tmp_path):
    db = tmp_path / "kept.db"
    db.touch()
    for words, verb, told in [
        (["serve", "old", "--share", "0.2"], serve, "give --canary"),
        (["serve", "old", "--port", "70000"], serve, "at most 65535"),
        (["serve", "old", "--keep-days", "-1"], serve, "--keep-days is -1.0: it must be at least 0.001"),
        (["serve", "old", "--timeout", "nan"], serve, "--timeout is nan"),
        (["serve", "old", "--feedback", "postgresql://me@host:one/kept"], serve, "cannot be opened"),
        (["feedback", db, "--to", tmp_path / "x", "--last", 3], feedback, "--last is for --compare"),
        (["monitor", "http://127.0.0.1:9", "--artefact", "old"], monitor, "leave --artefact out"),
        (["monitor", db, "--window", 0], monitor, "at least 1"),
    ]:
        with pytest.raises(BadInput, match=told):
            verb(parser().parse_args(list(map(str, words))))


def compared(*words):
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert feedback(parser().parse_args(["feedback", *map(str, words)])) == 0
    return printed.getvalue()


def test_labels_say_which_model_is_better_by_a_paired_test(home, tmp_path):
    given = images(60)
    labels = [one["label"] for one in jaxlm.load(home / "new")(given)]  # so the new one is always right
    store = Store(str(tmp_path / "kept.db"))
    with service([home / "old"], batching=ALONE, store=store, keep=True) as client:
        wrong = 0
        for image, label in zip(given, labels, strict=True):
            found = client.predict([png(image)])
            wrong += found["answers"][0]["label"] != label
            until = time.monotonic() + 30
            while store.prediction(found["id"], 0) is None:
                assert time.monotonic() < until
            assert client.ask("POST", "/v1/feedback", {"id": found["id"], "label": label})[0] == 200
    store.close()
    db = tmp_path / "kept.db"
    told = compared(db, "--compare", home / "old", home / "new")
    assert f"old {1 - wrong / 60:.4f}, new 1.0000 on 60 inputs, p 0.0" in told
    assert told.endswith(f"{home / 'new'} is better\n")
    assert "not better" in compared(db, "--compare", home / "new", home / "old")
    assert "on 3 inputs" in compared(db, "--compare", home / "old", home / "new", "--last", 3)


def test_a_comparison_opens_no_file_that_a_client_named(home, tmp_path, capsys, monkeypatch):
    store, image = Store(str(tmp_path / "kept.db")), images(1)[0]
    about = {"time": 0.0, "model": "m", "digest": "d", "kind": "image", "place": 0, "label": "a"}
    about |= {"correction": None, "rating": None}
    given = [png(image), "/etc/passwd", {"base64": "!!"}, {"base64": "AAAA"}]
    rows = [about | {"request": str(n), "input": json.dumps(one)} for n, one in enumerate(given)]
    asyncio.run(store.add(FEEDBACK, rows))
    store.close()
    monkeypatch.setattr("jaxlm.predict.images.file_bytes", lambda name: pytest.fail(f"{name} is opened"))
    words = (tmp_path / "kept.db", "--compare", home / "old", home / "new")
    assert "on 1 inputs" in compared(*words)
    assert "left out: 3 inputs" in capsys.readouterr().err
    with pytest.raises(BadInput, match="no labelled input"):
        compared(*words, "--last", 3)


def test_an_answer_is_scored_by_its_label():
    assert score_answer({"value": 2.5}, "2") == -0.5
    assert (score_answer({"label": "a"}, "a"), score_answer({"text": "x"}, "y")) == (1.0, 0.0)
    with pytest.raises(BadInput, match="not a number"):
        score_answer({"value": 2.5}, "many")
    with pytest.raises(BadInput, match="cannot be compared"):
        score_answer({"boxes": []}, "a")
