"""Feedback: on disk when it is acknowledged, joined with what was asked, and a training set at the end."""

import asyncio
import csv
import json
import sqlite3
import time

import pytest

from jaxlm.errors import BadInput
from jaxlm.export.card import ModelFacts
from jaxlm.export.write import write_artefact
from jaxlm.serve.feedback.dataset import write_dataset
from jaxlm.serve.feedback.store import FEEDBACK, PREDICTIONS, Store, Told, hide, to_url
from serve.served import service
from serve.test_service import png
from small_models import image_classifier, images


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "pictures"
    folder.mkdir()
    write_artefact(folder, image_classifier(), ModelFacts("pictures", 1))
    return folder


@pytest.fixture
def store(tmp_path):
    found = Store(str(tmp_path / "told.db"))
    yield found
    found.close()


def row(number, **fields):
    about = {"request": f"r{number}", "place": 0, "time": time.time(), "model": "m", "digest": "d", "kind": "text"}
    return about | {"input": None, "label": None, "correction": None, "rating": None} | fields


def test_feedback_is_in_the_file_when_it_is_acknowledged(store, tmp_path):
    async def many():
        await asyncio.gather(*(store.add(FEEDBACK, [row(n, label=str(n), input='"t"')]) for n in range(50)))
        with sqlite3.connect(f"file:{tmp_path / 'told.db'}?mode=ro", uri=True) as other:
            assert other.execute("select count(*) from feedback").fetchone() == (50,)

    asyncio.run(many())
    assert sorted(int(one.label) for one in store.told()) == list(range(50))


def test_one_row_that_is_refused_spoils_no_other(store):
    async def three():
        bad = store.add(FEEDBACK, [row(1, label="x") | {"model": None}])
        good = [store.add(FEEDBACK, [row(n, label="x", input='"t"')]) for n in (2, 3)]
        return await asyncio.gather(good[0], bad, good[1], return_exceptions=True)

    found = asyncio.run(three())
    assert [type(one) for one in found] == [type(None), BadInput, type(None)]
    assert len(list(store.told())) == 2


def test_the_last_feedback_counts_and_is_joined_with_what_was_asked(store):
    async def write():
        kept = {"request": "r1", "time": 0.0, "model": "m", "digest": "d", "kind": "text", "place": 0}
        await store.add(PREDICTIONS, [kept | {"input": '"asked"', "answer": '{"label": "b"}'}])
        await store.add(FEEDBACK, [row(1, label="a")])
        await store.add(FEEDBACK, [row(1, label="c")])
        await store.add(FEEDBACK, [row(2, label="c")])  # its input is not known

    asyncio.run(write())
    (found,) = store.told()
    assert (found.input, found.label, found.answer) == ("asked", "c", {"label": "b"})
    assert list(store.told("other")) == []
    asyncio.run(store.forget("r1"))
    assert list(store.told()) == []
    assert store.prediction("r1", 0) is None


def test_predictions_are_deleted_after_their_days(tmp_path):
    found = Store(str(tmp_path / "told.db"), days=1)
    old = {"request": "old", "time": time.time() - 2 * 86400, "model": "m", "digest": "d", "kind": "text", "place": 0}
    new = old | {"request": "new", "time": time.time()}

    async def write():
        for one in (old, new):
            await found.add(PREDICTIONS, [one | {"input": "1", "answer": "1"}])

    asyncio.run(write())
    found.close()
    again = Store(str(tmp_path / "told.db"))
    assert again.prediction("old", 0) is None
    assert again.prediction("new", 0) is not None
    again.close()


def test_a_service_keeps_what_it_is_told(pictures, tmp_path):
    kept = Store(str(tmp_path / "told.db"))
    with service([pictures], store=kept, keep=True) as client:
        asked = [png(one) for one in images(3)]
        answer = client.predict(asked)
        for index, label in ((0, "a"), (2, "c")):
            status, _, content = client.ask(
                "POST", "/v1/feedback", {"id": answer["id"], "index": index, "label": label}
            )
            assert (status, content) == (200, {"id": answer["id"], "kept": True})
        status, _, content = client.ask("POST", "/v1/feedback", {"id": answer["id"]})
        assert status == 422
        assert "no label" in content["error"]["message"]
        told = list(kept.told("pictures"))
        assert [(one.input, one.label, one.answer) for one in told] == [
            (asked[0], "a", answer["answers"][0]),
            (asked[2], "c", answer["answers"][2]),
        ]
        assert {one.digest for one in told} == {answer["digest"]}
        assert client.ask("DELETE", f"/v1/predictions/{answer['id']}")[0] == 200
        assert list(kept.told()) == []
    kept.close()
    with service([pictures]) as client:
        status, _, content = client.ask("POST", "/v1/feedback", {"id": "x", "label": "a"})
        assert (status, "--feedback" in content["error"]["message"]) == (404, True)


def test_only_answered_inputs_are_kept_and_an_input_of_another_form_is_refused(pictures, tmp_path):
    kept = Store(str(tmp_path / "told.db"))
    with service([pictures], store=kept, keep=True) as client:
        asked = ["/etc/passwd", {"base64": "!!"}, {"base64": "AAAA"}, png(images(1)[0])]
        answer = client.predict(asked, skip_broken=True)
        assert [next(iter(one)) == "error" for one in answer["answers"]] == [True, True, True, False]
        client.predict(asked[:3], skip_broken=True)
        for given, said in (("/etc/passwd", "base64"), ({"base64": "!!"}, "not base64"), ([1], "not an image")):
            status, _, content = client.ask("POST", "/v1/feedback", {"id": "x", "label": "a", "input": given})
            assert (status, said in content["error"]["message"]) == (422, True)
        assert client.ask("POST", "/v1/feedback", {"id": "x", "label": "", "input": asked[3]})[0] == 422
        assert client.ask("POST", "/v1/feedback", {"id": "x", "label": "a", "input": asked[3]})[0] == 200
    kept.close()
    with sqlite3.connect(tmp_path / "told.db") as database:
        assert database.execute("select place, input from predictions").fetchall() == [(3, json.dumps(asked[3]))]
        assert database.execute("select input from feedback").fetchall() == [(json.dumps(asked[3]),)]


def told(kind, given, label=None, correction=None):
    return Told(kind, given, label, correction, None, "m", "d", None)


def test_texts_and_pairs_become_lines(tmp_path):
    found = [told("text", "good", "1"), told("text", "bad", "0"), told("text", "?", None)]
    assert write_dataset(tmp_path, found) == {"1": 1, "0": 1, "(left out)": 1}
    lines = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    assert lines == [{"text": "good", "label": "1"}, {"text": "bad", "label": "0"}]
    write_dataset(tmp_path, [told("pair", ["a", "b"], "1")])
    assert json.loads((tmp_path / "train.jsonl").read_text()) == {"first": "a", "second": "b", "label": "1"}


def test_images_become_folders_and_rows_a_table(tmp_path):
    write_dataset(tmp_path, [told("image", png(images(1)[0]), "cat"), told("image", png(images(2)[1]), "dog")])
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.png")) == [
        "cat/000000.png",
        "dog/000001.png",
    ]
    with pytest.raises(BadInput, match="cannot be the name of a folder"):
        write_dataset(tmp_path, [told("image", png(images(1)[0]), "../x")])
    write_dataset(tmp_path, [told("row", {"age": 3, "job": None}, None, 7.5), told("row", {"age": 4}, None, 8)])
    with (tmp_path / "train.csv").open() as file:
        assert list(csv.reader(file)) == [["age", "job", "label"], ["3", "", "7.5"], ["4", "", "8"]]


def test_questions_and_conversations_become_those_of_training(tmp_path):
    write_dataset(tmp_path, [told("question", {"question": "Who?", "context": "It was me."}, "me")])
    (article,) = json.loads((tmp_path / "train.json").read_text())["data"]
    assert article["paragraphs"][0]["qas"][0]["answers"] == [{"text": "me", "answer_start": 7}]
    write_dataset(tmp_path, [told("chat", [{"role": "user", "content": "Hi"}], "Hello")])
    messages = json.loads((tmp_path / "train.jsonl").read_text())["messages"]
    assert messages == [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("image", png(images(1)[0]), ["/etc/passwd", {"base64": "!!"}, {"base64": 1}, 7, None]),
        ("audio", {"base64": "AAAA"}, ["/etc/passwd", [0.5], {}]),
        ("row", {"a": 1}, [["a"], "a", 7]),
        ("pair", ["a", "b"], [{"first": "a"}, ["a"], ["a", 1], "ab"]),
        ("text", "a", [7, {"a": 1}, [], [["a"]], "\ud800"]),
        ("prompt", "a", [7, ["a"]]),
        ("question", {"question": "Who?", "context": "It was me."}, [7, "?", {"question": "?"}, [1, 2]]),
        ("chat", "Hi", [7, "", [], [1], {"messages": 3}, [{"role": "x", "content": "y"}], [{"role": "user"}]]),
    ],
)
def test_inputs_of_another_form_are_left_out_and_counted(tmp_path, kind, good, bad):
    whole = [told(kind, one, "me") for one in (good, *bad)]
    assert write_dataset(tmp_path, whole) == {"me": 1, "(of another form)": len(bad)}
    with pytest.raises(BadInput, match="nothing to write"):
        write_dataset(tmp_path, whole[1:])


@pytest.mark.parametrize("label", ["", ".", "a/b", "x" * 256])
def test_a_label_that_names_no_folder_is_refused(tmp_path, label):
    with pytest.raises(BadInput, match="cannot be the name of a folder"):
        write_dataset(tmp_path, [told("image", png(images(1)[0]), label)])
    assert list(tmp_path.iterdir()) == []


def test_inputs_of_several_kinds_and_none_are_refused(tmp_path):
    with pytest.raises(BadInput, match="--model"):
        write_dataset(tmp_path, [told("text", "a", "1"), told("row", {"a": 1}, "1")])
    with pytest.raises(BadInput, match="nothing to write"):
        write_dataset(tmp_path, [told("text", "a")])


def test_a_database_that_cannot_be_opened_is_said_without_its_password(tmp_path):
    (tmp_path / "file").write_text("no database, and longer than a page of one" * 100)
    with pytest.raises(BadInput, match="cannot be opened"):
        Store(str(tmp_path / "file"))
    assert hide("postgresql://me:secret@host/db") == "postgresql://me@host/db"
    assert to_url("postgresql://me@host/db") == "postgresql+psycopg://me@host/db"
