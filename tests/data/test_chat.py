"""Conversations as rows: what is masked, what is packed, and what is refused."""

import json
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from jaxlm import steps
from jaxlm.data import Bytes, Chat, Preferences
from jaxlm.data.text.conversation import TEMPLATES, Marker, Message, encode
from jaxlm.data.tokenizers.plain import ByteTokenizer
from jaxlm.errors import BadInput
from jaxlm.losses import next_token
from jaxlm.losses.next_token import cross_entropy
from jaxlm.models.gpt import GPT

TALK = [Message("user", "One and one?"), Message("assistant", "Two.")]
TOKENIZER = ByteTokenizer()


class Marked(ByteTokenizer):
    """Bytes, and markers as tokens of their own, with a beginning and an end of texts."""

    names = ("<|im_start|>", "<|im_end|>", "<|eot_id|>", "<s>", "</s>")
    separator = 260

    class special:
        bos = 259

    def token(self, name):
        return 256 + self.names.index(name) if name in self.names else None


def spelt(ids):
    return "".join(Marked.names[i - 256] if i >= 256 else chr(i) for i in ids.tolist())


def write(path, *lines):
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return str(path)


def talk(question, answer):
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


@pytest.mark.parametrize(
    ("template", "text", "answer"),
    [
        (
            "chatml",
            "<|im_start|>user\nOne and one?<|im_end|>\n<|im_start|>assistant\nTwo.<|im_end|>\n",
            "Two.<|im_end|>",
        ),
        (
            "llama3",
            "<|start_header_id|>user<|end_header_id|>\n\nOne and one?<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\nTwo.<|eot_id|>",
            "Two.<|eot_id|>",
        ),
        ("plain", "User: One and one?</s>Assistant: Two.</s>", "Two.</s>"),
    ],
)
def test_templates_are_as_published_and_the_answer_with_its_end_is_what_is_learnt(template, text, answer):
    found = encode(TALK, Marked(), template)
    assert spelt(found.ids) == "<s>" + text
    assert spelt(found.ids[found.answer]) == answer
    assert spelt(encode(TALK, TOKENIZER, template).ids) == text.replace("</s>", "\0")


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_prompt_is_how_the_conversation_begins(template):
    prompt, whole = encode(TALK[:1], Marked(), template, opened=True).ids, encode(TALK, Marked(), template).ids
    np.testing.assert_array_equal(prompt, whole[: len(prompt)])
    assert spelt(whole[len(prompt) :]).startswith("Two.")


def test_a_marker_spelt_out_in_a_message_is_text():
    ids = encode([Message("user", "<|im_end|>")], Marked(), "chatml").ids
    assert (ids == Marked().token("<|im_end|>")).sum() == 1
    assert isinstance(Marker("x"), str)


TALKS = [talk("a" * n, "b" * (5 - n)) for n in range(1, 5)] + [talk("?", "yes"), talk("longer than most", "no no no")]


def rows(tmp_path, **changes):
    path = write(tmp_path / "talks.jsonl", *TALKS)
    fields = {"path": path, "eval_path": path, "template": "plain", "batch": 2, "length": 48} | changes
    return Chat(**fields)


def test_every_answer_is_a_target_exactly_once_and_nothing_else_is(tmp_path):
    for pack in (True, False):
        data, learnt = rows(tmp_path, pack=pack).eval(), []
        for batch in (data[i] for i in range(len(data))):
            for row in range(2):
                for segment in range(1, batch["segments"][row].max() + 1):
                    inside = (batch["segments"][row] == segment) & (batch["mask"][row] == 1)
                    learnt.append(bytes(batch["targets"][row][inside].tolist()).decode())
        assert sorted(learnt) == sorted(line["messages"][1]["content"] + "\0" for line in TALKS)


MODEL = GPT(vocab=256, depth=1, width=8, heads=2, context=96)


@jax.jit
def nats_of(params, batch):
    """Nats of every target, [B, T]."""
    logits = MODEL.apply({"params": params}, batch["tokens"], segments=batch["segments"])
    return cross_entropy(logits, batch["targets"])[0]


def test_packed_conversations_have_the_losses_and_the_gradient_of_lonely_ones(tmp_path):
    grad = jax.jit(steps.grad(next_token(MODEL)))
    params = jax.jit(MODEL.init)(jax.random.key(0), np.zeros((1, 4), np.int32))["params"]
    found = {}
    for pack in (True, False):
        data = rows(tmp_path, pack=pack, length=96, batch=2 if pack else 6).eval()
        assert len(data) == 1
        grads, metrics, _ = grad(params, {}, data[0], jax.random.key(0))
        batch = data[0]
        nats = nats_of(params, batch)
        found[pack] = grads, metrics, np.sort(np.asarray(nats)[batch["mask"] == 1])
    (packed, of_packed, nats), (lonely, of_lonely, lonely_nats) = found[True], found[False]
    assert of_packed["loss"].weight == of_lonely["loss"].weight == len(nats)
    np.testing.assert_allclose(nats, lonely_nats, atol=1e-5)
    np.testing.assert_allclose(of_packed["loss"].total, of_lonely["loss"].total, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), packed, lonely)


def test_conversations_that_do_not_fit_are_refused_or_cut_or_skipped_as_told(tmp_path):
    with pytest.raises(BadInput, match=r"talks.jsonl line 6 is \d+ tokens long and a row holds 41: raise data.length"):
        rows(tmp_path, length=40).eval()
    cut, skipped = (rows(tmp_path, length=40, overlong=how, pack=False, batch=1) for how in ("cut", "skip"))
    assert (len(cut.eval()), len(skipped.eval())) == (6, 5)
    assert cut.log_lines()[1].endswith(", 1 cut to 41 tokens")
    assert skipped.log_lines()[1].endswith(", 1 skipped for their length")


def pair(prompt, chosen, rejected):
    return {"messages": [{"role": "user", "content": prompt}], "chosen": chosen, "rejected": rejected}


def test_pairs_share_their_prompt_and_count_the_last_answer_alone(tmp_path):
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    path = write(tmp_path / "p.jsonl", {"messages": turns, "chosen": "yes", "rejected": "never"}, pair("q", "x", "y"))
    data = Preferences(path=path, eval_path=path, tokenizer=Bytes(), template="plain", batch=2, length=64).eval()
    batch = data[0]
    learnt = [bytes(batch["targets"][index][batch["mask"][index] == 1].tolist()) for index in np.ndindex(2, 2)]
    assert learnt == [b"yes\0", b"never\0", b"x\0", b"y\0"]
    begin = len("User: a_Assistant: b_User: c_Assistant: ")
    np.testing.assert_array_equal(*batch["tokens"][0, :, :begin])
    assert (batch["segments"][1, 0] == (np.arange(64) < len("User: q_Assistant: x"))).all()
    assert batch["tokens"].shape == (2, 2, 64)


BAD_LINES = {
    "no JSON": ("{", "line 2 is not JSON"),
    "no object": ("[1]", "line 2 is not a JSON object"),
    "no messages": ({"message": []}, "line 2 has no messages"),
    "an empty list": ({"messages": []}, "line 2 has no messages"),
    "another role": ({"messages": [{"role": "bot", "content": "x"}]}, "message 1 has the role 'bot'"),
    "no content": ({"messages": [{"role": "user", "content": " "}]}, "message 1 has no text"),
    "no answer": ({"messages": [{"role": "user", "content": "x"}]}, "line 2 has no message of the assistant"),
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_bad_lines_are_named_with_their_file(name, tmp_path):
    line, told = BAD_LINES[name]
    with pytest.raises(BadInput, match=f"talks.jsonl .*{told}|{told}") as error:
        rows(tmp_path, path=write(tmp_path / "bad.jsonl", talk("a", "b"), line)).train()
    assert "bad.jsonl" in str(error.value)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (talk("a", "b") | {"chosen": "x", "rejected": "y"}, "line 1: the messages end with the assistant"),
        (pair("a", "", "y"), 'line 1 has no text under "chosen"'),
        ({"messages": talk("a", "b")["messages"][:1], "chosen": "x"}, 'line 1 has no text under "rejected"'),
    ],
)
def test_bad_pairs_are_named_with_their_file(line, told, tmp_path):
    path = write(tmp_path / "p.jsonl", line)
    with pytest.raises(BadInput, match=told):
        Preferences(path=path, eval_path=path, batch=1).train()


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(BadInput, match="there is no file .*nowhere.jsonl|nowhere.jsonl cannot be read"):
        Chat(path=str(tmp_path / "nowhere.jsonl")).train()
    (tmp_path / "latin.jsonl").write_bytes(b"\xe9")
    with pytest.raises(BadInput, match="latin.jsonl line 1 is not UTF-8"):
        Chat(path=str(tmp_path / "latin.jsonl")).train()


def test_rows_longer_than_the_context_and_vocabularies_that_disagree_are_refused(tmp_path):
    with pytest.raises(BadInput, match="context of 16"):
        rows(tmp_path).check(SimpleNamespace(context=16, vocab=256))
    with pytest.raises(BadInput, match="vocabulary 100"):
        rows(tmp_path).check(SimpleNamespace(context=48, vocab=100))
    rows(tmp_path).check(SimpleNamespace(context=48, vocab=256))
