"""A service says whether inputs and answers drift, and `jaxlm monitor` reads it there and from what was kept."""

import asyncio
import contextlib
import io
import json

import numpy as np
import pytest
from PIL import Image

from jaxlm.cli import parser
from jaxlm.data.audio.files import encode_wav
from jaxlm.drift.features import features_of
from jaxlm.drift.reference import reference_of, reference_of_inputs
from jaxlm.errors import BadInput
from jaxlm.export.artefact import open_artefact, to_wire
from jaxlm.export.card import ModelFacts
from jaxlm.export.write import write_artefact
from jaxlm.predict.predictor import Prepared
from jaxlm.serve.feedback.store import PREDICTIONS, Store
from jaxlm.serve.operate.watch import Watch
from jaxlm.verbs.deploy.monitor import monitor
from serve.served import service
from serve.test_service import png
from small_models import image_classifier
from test_drift_features import chats, hears, questions, recordings

SHAPE = (4, 4, 1)


class Batches:
    """300 images of middle grey and some noise, in batches of 6, the last one with padding."""

    def __init__(self):
        self.images = pictures(0, 298)

    def __len__(self):
        return 50

    def __getitem__(self, index):
        found = self.images[6 * index : 6 * index + 6]
        rows = np.zeros((6, *SHAPE), np.uint8)
        rows[: len(found)] = found
        return {"image": rows, "label": np.zeros(6, np.int32), "mask": (np.arange(6) < len(found)).astype(np.float32)}


def jaxlm(*words):
    """What the verb prints."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert monitor(parser().parse_args(["monitor", *map(str, words)])) == 0
    return printed.getvalue()


def pictures(seed, count, level=128):
    noise = np.random.default_rng(seed).integers(-60, 60, (count, *SHAPE))
    return np.clip(level + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def artefact(tmp_path_factory):
    folder = tmp_path_factory.mktemp("monitored") / "pictures"
    folder.mkdir()
    model = image_classifier()
    write_artefact(folder, model, ModelFacts("pictures", 1), reference=reference_of(model, Batches()))
    return folder


def test_a_reference_has_every_example_once_and_what_a_service_sees_of_it(artefact):
    reference, model = open_artefact(artefact).reference(), image_classifier()
    assert {name: one.total for name, one in reference.items()} == dict.fromkeys(reference, 298)
    assert reference.keys() == {"image mean", "image contrast", "answer", "answer probability"}
    given = list(pictures(0, 298))
    prepared, answers = list(model.predictor.preprocess(given)), model(given, batch=6)
    rows = [
        features_of(model.predictor.preprocess, one.rows, answer) for one, answer in zip(prepared, answers, strict=True)
    ]
    assert {name: one.of(row[name] for row in rows) for name, one in reference.items()} == reference


def verdicts(found):
    return {one["feature"]: one["verdict"] for one in found}


def test_metrics_and_the_verb_tell_of_dark_images_and_of_nothing_before(artefact, tmp_path):
    db = str(tmp_path / "kept.db")
    store = Store(db)
    with service([artefact], store=store, keep=True) as client:

        def told():
            return verdicts(json.loads(jaxlm(f"http://127.0.0.1:{client.port}", "--json")).get("pictures", []))

        assert told() == {}
        for start in range(0, 300, 100):
            client.predict([png(one) for one in pictures(1 + start, 100)])
            client.ask("GET", "/metrics")  # a service looks at 100 inputs at a time
        assert set(told().values()) == {"same"}
        for start in range(0, 300, 100):
            client.predict([png(one) for one in pictures(1001 + start, 100, level=40)])
            client.ask("GET", "/metrics")
        assert told()["image mean"] == "drift"
        text = client.ask("GET", "/metrics")[2].decode()
        assert 'jaxlm_drift_alarm{feature="image mean",model="pictures"} 2.0' in text
        assert 'jaxlm_drift_values{feature="image mean",model="pictures"} 600.0' in text
    store.close()
    newest = json.loads(jaxlm(db, "--artefact", artefact, "--window", 300, "--json"))["pictures"]
    assert (verdicts(newest)["image mean"], newest[0]["values"]) == ("drift", 300)
    table = jaxlm(db, "--artefact", artefact)
    assert "image mean" in table
    assert "drift: PSI of at least 0.2 and p below 0.01" in table


def test_what_a_client_sent_is_never_opened_and_ends_no_report(artefact, tmp_path, capsys, monkeypatch):
    store, (image,) = Store(str(tmp_path / "kept.db")), pictures(0, 1)
    Image.fromarray(image[..., 0]).save(path := tmp_path / "private.png")
    about = {"request": "r", "time": 0.0, "model": "m", "digest": "d", "kind": "image"}
    answer = json.dumps({"label": "a", "probability": 1.0})
    given = [str(path), {"base64": "!!"}, {"base64": "AAAA"}, {"text": "a"}, png(image)]
    rows = [about | {"place": n, "input": json.dumps(one), "answer": answer} for n, one in enumerate(given)]
    asyncio.run(store.add(PREDICTIONS, rows))
    store.close()
    monkeypatch.setattr("jaxlm.predict.images.file_bytes", lambda name: pytest.fail(f"{name} is opened"))
    found = json.loads(jaxlm(tmp_path / "kept.db", "--artefact", artefact, "--json"))["pictures"]
    assert {one["values"] for one in found} == {1}
    assert "left out: 4 kept inputs" in capsys.readouterr().err


def test_prompts_of_openais_routes_are_watched_and_recordings_of_a_feedback_database(tmp_path):
    files = [encode_wav(one, 8000) for one in recordings(0, 200)]
    for name, model, given in (("chats", chats(context=64), questions(0, 200)), ("sounds", hears(), files)):
        (tmp_path / name).mkdir()
        reference = reference_of_inputs(model, given)
        write_artefact(tmp_path / name, model, ModelFacts(name, 1), given[:2], reference=reference)
    store = Store(str(tmp_path / "kept.db"))
    with service([tmp_path / "chats", tmp_path / "sounds"], store=store, keep=True) as client:

        def compared(asked, stream):
            for number, text in enumerate(asked):
                message = {"model": "chats", "messages": [{"role": "user", "content": text}], "stream": stream}
                fields = {"max_tokens": 5 if number < 20 else 12, "temperature": 0, "n": 1 + (number < 20)}
                assert client.ask("POST", "/v1/chat/completions", message | fields)[0] == 200
                if number % 60 == 59:
                    client.ask("GET", "/metrics")
            return json.loads(jaxlm(f"http://127.0.0.1:{client.port}", "--model", "chats", "--json"))["chats"]

        same = compared(questions(1, 120), False)
        assert set(verdicts(same).values()) == {"same"}
        values = {one["feature"]: one["values"] for one in same}
        assert (values["length"], values["answer length"]) == (120, 100)  # 20 were asked for less than at the export
        assert verdicts(compared(questions(2, 120, low=22, high=32), True))["length"] == "drift"
        for decibel in (-20, -32):
            sounds = [to_wire(encode_wav(one, 8000)) for one in recordings(3, 120, decibel)]
            client.predict(sounds, model="sounds")
    store.close()
    found = json.loads(jaxlm(tmp_path / "kept.db", "--artefact", tmp_path / "sounds", "--window", 120, "--json"))
    assert verdicts(found["sounds"])["loudness"] == "drift"
    assert verdicts(found["sounds"])["seconds"] == "same"


def test_what_cannot_be_monitored_is_said(artefact, tmp_path):
    for words, told in [
        (["http://127.0.0.1:9"], "cannot be read"),
        ([str(tmp_path / "none.db")], "give --artefact"),
        ([str(tmp_path / "none.db"), "--artefact", str(artefact)], "there is no"),
    ]:
        with pytest.raises(BadInput, match=told):
            jaxlm(*words)


def test_texts_have_a_length_and_one_token_whatever_their_padding():
    tokens, segments = np.array([7, 8, 9, 0, 0], np.int32), np.array([1, 1, 1, 0, 0], np.int32)
    found = features_of(None, [{"tokens": tokens, "segments": segments}], {"label": "b", "probability": 0.5})
    wider = features_of(None, [{"tokens": np.pad(tokens, (0, 9)), "segments": np.pad(segments, (0, 9))}], None)
    assert found == wider | {"answer": "b", "answer probability": 0.5}
    assert (wider["length"], wider["token"] in {"7", "8", "9"}) == (3.0, True)
    drawn = [
        features_of(None, [{"tokens": np.random.default_rng(n).integers(0, 1000, 4)}], None)["token"]
        == str(np.random.default_rng(n).integers(0, 1000, 4)[0])
        for n in range(400)
    ]
    assert 70 < sum(drawn) < 130  # each of the four places is chosen as often


def test_a_busy_service_looks_at_the_newest_inputs_alone(artefact):
    watch = Watch(None, open_artefact(artefact).reference(), window=50)
    for level in range(250):
        image = np.full(SHAPE, level, np.uint8)
        watch.see([Prepared([{"image": image}])], [{"label": "a", "probability": 1.0}])
    assert {one.values for one in watch.report()} == {50}
    watch.close()
