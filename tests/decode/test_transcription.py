"""Writing what is said: prompts, tokens that are barred, and where tokens were heard."""

from functools import cache, partial
from itertools import combinations_with_replacement

import jax
import numpy as np
import pytest

from jaxlm.data.tokenizers.files import read_tokenizer
from jaxlm.decode.alignment import SMOOTHED, attention_to_source, warped_path
from jaxlm.decode.speech.transcription import Transcription
from jaxlm.errors import BadInput
from tiny_whisper import BEGIN, END, IDS, MODEL, PLAIN, START, SUPPRESSED, write_tokenizer

apply = jax.jit(MODEL.apply)
SEARCH = Transcription("en", beams=1, length=12, suppressed=tuple(SUPPRESSED), begin_suppressed=tuple(BEGIN))
PROMPT = (START, IDS["<|en|>"], IDS["<|transcribe|>"], PLAIN)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder)
    return read_tokenizer(folder, None)


@cache
def variables():
    found = jax.jit(MODEL.init)(jax.random.key(0), sound(), np.zeros((3, 1), np.int32))
    return jax.tree.map(lambda x: 10 * x if x.ndim > 1 else x, found)


@partial(jax.jit, static_argnames=("search", "prompt", "align"))
def written(search, variables, features, prompt, align=False):
    return search(MODEL, variables, features, prompt, align=align)


def sound(batch=3):
    return np.random.default_rng(0).normal(size=(batch, 100, MODEL.bands)).astype(np.float32)


def test_the_prompt_says_language_and_task(tokenizer):
    assert Transcription("en", length=9).prompt(MODEL, tokenizer) == (PROMPT, (), END)
    assert Transcription("de", "translate", length=9).prompt(MODEL, tokenizer).tokens[1:3] == (
        IDS["<|de|>"],
        IDS["<|translate|>"],
    )
    assert Transcription(length=9).prompt(MODEL, tokenizer).languages == (IDS["<|en|>"], IDS["<|de|>"])
    assert Transcription(multilingual=False, length=9).prompt(MODEL, tokenizer) == ((START, PLAIN), (), END)


def test_greedy_writing_takes_the_most_probable_token_that_is_not_barred(tokenizer):
    found = written(SEARCH, variables(), sound(), SEARCH.prompt(MODEL, tokenizer))
    for row in range(3):
        tokens = [*PROMPT]
        for step in range(12):
            logits = np.array(
                apply(variables(), sound()[row : row + 1], np.array([tokens + [0] * (16 - len(tokens))]))[
                    0, len(tokens) - 1
                ]
            )
            logits[SUPPRESSED + BEGIN * (step == 0)] = -np.inf
            tokens.append(int(logits.argmax()))
            if tokens[-1] == END:
                break
        length = int(found["lengths"][row])
        assert length == len(tokens) - len(PROMPT) - (tokens[-1] == END)
        assert found["tokens"][row, :length].tolist() == tokens[len(PROMPT) : len(PROMPT) + length]


def test_the_language_is_the_most_probable_one(tokenizer):
    search = Transcription(None, beams=1, length=2)
    found = written(search, variables(), sound(), search.prompt(MODEL, tokenizer))
    logits = np.asarray(apply(variables(), sound(), np.full((3, 1), START)))[:, 0]
    expected = np.array([IDS["<|en|>"], IDS["<|de|>"]])[logits[:, [IDS["<|en|>"], IDS["<|de|>"]]].argmax(1)]
    np.testing.assert_array_equal(found["language"], expected)


@pytest.mark.parametrize("beams", [1, 3])
def test_a_transcript_does_not_depend_on_the_other_rows(tokenizer, beams):
    search = Transcription(None, beams=beams, length=8)
    together = written(search, variables(), sound(), search.prompt(MODEL, tokenizer), align=True)
    for row in range(3):
        alone = written(search, variables(), sound()[row : row + 1], search.prompt(MODEL, tokenizer), align=True)
        length = int(together["lengths"][row])
        assert int(alone["lengths"][0]) == length
        np.testing.assert_array_equal(alone["tokens"][0, :length], together["tokens"][row, :length])
        np.testing.assert_allclose(
            alone["attention"][0, : length + 1], together["attention"][row, : length + 1], atol=1e-3
        )


def test_attention_is_that_of_the_heads_standardised_over_tokens_and_smoothed():
    targets, rows = np.array([[*PROMPT, 70, 71, 72, 0, 0]] * 2), np.array([[False] * 3 + [True] * 4 + [False] * 2] * 2)

    def attended(variables):
        cache = MODEL.apply(variables, sound(2), 9, method="init_cache")
        return attention_to_source(MODEL, variables, cache, targets, rows, [(0, 0), (0, 2)])

    def captured(variables):
        seen = MODEL.apply(variables, sound(2), targets, capture_intermediates=True, mutable=["intermediates"])
        return seen[1], MODEL.apply(variables, sound(2), method="encode")

    mild = jax.tree.map(lambda x: x / 3 if x.ndim > 1 else x, variables())  # no weight of zero
    found, params = jax.jit(attended)(mild), mild["params"]
    seen, memory = jax.jit(captured)(mild)
    block = seen["intermediates"]["decoder"]["block_0"]["source_attention"]
    weight = params["decoder"]["block_0"]["source_attention"]["key"]["kernel"]
    query, key = np.asarray(block["query"]["__call__"][0]), np.asarray(memory @ weight)
    total = 0
    for head in (0, 2):
        part = slice(4 * head, 4 * head + 4)
        scores = query[..., part] @ key[..., part].transpose(0, 2, 1) / 2
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        kept = weights[:, 3:7]
        standard = (kept - kept.mean(1, keepdims=True)) / kept.std(1, keepdims=True)
        padded = np.pad(standard, ((0, 0), (0, 0), (3, 3)), mode="reflect")
        total += np.median(np.stack([padded[..., shift : shift + 50] for shift in range(SMOOTHED)]), 0)
    np.testing.assert_allclose(found[:, 3:7], total / 2, atol=1e-3)


def test_no_monotonic_path_gains_more_than_the_one_that_is_found():
    def paths(tokens, places):
        """Every path by steps of one token, one place, or both."""
        if (tokens, places) == (1, 1):
            yield [(0, 0)]
        for a, b in ((1, 0), (0, 1), (1, 1)):
            if tokens - a >= 1 and places - b >= 1:
                for path in paths(tokens - a, places - b):
                    yield [*path, (tokens - 1, places - 1)]

    for seed in range(5):
        gain = np.random.default_rng(seed).normal(size=(4, 5))
        best = max(paths(4, 5), key=lambda path: sum(gain[step] for step in path))
        firsts = [min(place for token, place in best if token == number) for number in range(4)]
        assert warped_path(gain).tolist() == firsts


def test_a_sharp_path_is_found():
    for starts in combinations_with_replacement(range(1, 12), 3):
        bounds = [0, *starts, 12]
        gain = np.full((4, 12), -1.0)
        for token in range(4):
            gain[token, bounds[token] : bounds[token + 1]] = 1.0
        if len(set(bounds)) == 5:
            assert warped_path(gain).tolist() == bounds[:4]


@pytest.mark.parametrize(
    ("search", "message"),
    [
        (Transcription("en", length=37), "decode.length is 37, and with a prompt of 4 tokens that is more than"),
        (Transcription("en", length=4, suppressed=(266,)), "decode suppresses the token 266, and the model has 266"),
        (Transcription("en", length=4, heads=((1, 0),)), r"decode.heads has \(1, 0\), and the decoder 1 layers of 4"),
        (Transcription("xx", length=4), r"the tokenizer has no token <\|xx\|>"),
    ],
)
def test_what_a_model_cannot_do_is_refused_in_one_line(tokenizer, search, message):
    with pytest.raises(BadInput, match=f"^{message}[^\n]*$"):
        search.prompt(MODEL, tokenizer)
    with pytest.raises(BadInput, match="^decode is"):
        Transcription(beams=0)
