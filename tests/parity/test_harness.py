"""lm-evaluation-harness with our adapter and with its own one of transformers, on the same weights and tokenizer."""

import os

import numpy as np
import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
lm_eval = pytest.importorskip("lm_eval")

from lm_eval.api.instance import Instance

from jaxlm.data.text.documents import Document
from jaxlm.data.tokenizers.specs import BPETokenizer, Characters
from jaxlm.decode.lm_eval import LMEvalModel
from jaxlm.errors import BadInput
from jaxlm.hub import pretrained
from parity.parity_helpers import save, tiny, transformers
from whole_path import ROOT, TEXT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # theirs
]
LICENSE = TEXT.read_text()
PAIRS = [
    ("You may", " distribute the Work"),
    ("You may", " not"),
    ("", "Licensor shall"),
    ("ends with a space ", "of the context"),
    (LICENSE[:400], " a context that is too long"),
]
PROMPTS = ["You may", "Licensor shall mean", "the", LICENSE[:300]]


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Our adapter and theirs."""
    from lm_eval.models.huggingface import HFLM

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.syspath_prepend(ROOT / "scripts")
        from train_tokenizer import train_bpe

    folder = tmp_path_factory.mktemp("gpt2")
    tokenizer = BPETokenizer(train_bpe([Document(TEXT.name, lambda: np.frombuffer(TEXT.read_bytes(), np.uint8))], 300))
    (folder / "tokenizer.json").write_text(tokenizer.model)
    ends = "<|endoftext|>"
    their_tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), bos_token=ends, eos_token=ends, pad_token=ends
    )
    config = transformers.GPT2Config(
        vocab_size=tokenizer.vocab, n_positions=32, n_embd=16, n_layer=2, n_head=2, bos_token_id=tokenizer.separator,
        eos_token_id=tokenizer.separator,
    )  # fmt: skip
    theirs = tiny(transformers.GPT2LMHeadModel, config, 0)
    model, leaves = pretrained.load_pretrained(save(theirs, folder))
    variables = pretrained.tree_from_leaves(leaves)
    return LMEvalModel(model, variables, tokenizer, batch=2), HFLM(theirs, tokenizer=their_tokenizer, batch_size=1)


def ask(kind, *arguments):
    return [Instance(kind, {}, each, number, ("task", number, 1)) for number, each in enumerate(arguments)]


def test_loglikelihoods_are_those_of_the_adapter_of_transformers(both):
    found, expected = (np.array(one.loglikelihood(ask("loglikelihood", *PAIRS))) for one in both)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_texts_longer_than_the_context_have_the_loglikelihoods_of_the_adapter_of_transformers(both):
    texts = [(LICENSE[start : start + size],) for start, size in ((0, 2), (70, 40), (200, 900))]
    found, expected = (np.array(one.loglikelihood_rolling(ask("loglikelihood_rolling", *texts))) for one in both)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_greedy_answers_are_those_of_the_adapter_of_transformers(both):
    wish = {"until": ["q"], "max_gen_toks": 12, "do_sample": False}
    found, expected = (one.generate_until(ask("generate_until", *((text, wish) for text in PROMPTS))) for one in both)
    assert found == expected
    assert any(found)


def test_neither_the_batch_nor_the_order_changes_an_answer(both):
    wish = {"until": [], "max_gen_toks": 12}
    ours = both[0]
    alone = LMEvalModel(ours.model, ours.variables, ours.codec, batch=1)
    asked = ask("generate_until", *((text, wish) for text in PROMPTS))
    answers = alone.generate_until(asked)
    assert ours.generate_until(asked) == answers
    assert ours.generate_until(asked[::-1]) == answers[::-1]
    totals = np.array(alone.loglikelihood(ask("loglikelihood", *PAIRS)))
    np.testing.assert_allclose(
        np.array(ours.loglikelihood(ask("loglikelihood", *PAIRS[::-1])))[::-1], totals, rtol=1e-5
    )


def test_random_draws_and_a_text_that_nothing_begins_are_refused(both):
    ours = both[0]
    with pytest.raises(BadInput, match="task draws at random"):
        ours.generate_until(ask("generate_until", ("You", {"temperature": 0.7})))
    characters = Characters().build([LICENSE])
    with pytest.raises(BadInput, match="--begin"):
        LMEvalModel(ours.model, ours.variables, characters).loglikelihood(ask("loglikelihood", ("", "You may")))
    begun = LMEvalModel(ours.model, ours.variables, characters, begin=".")
    after = begun.loglikelihood(ask("loglikelihood", ("", "\n\nYou may"), ("\n\n", "You may"), ("", "You may")))
    assert after[0] == after[1] != after[2]
    assert begun.eot_token_id == characters.encode(".")[0]
