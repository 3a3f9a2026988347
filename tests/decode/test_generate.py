from dataclasses import dataclass, field
from functools import cache, partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm.decode.generate import generate
from jaxlm.decode.text import continue_text
from jaxlm.errors import BadInput
from jaxlm.models.gpt import GPT

SMALL = GPT(vocab=11, depth=2, width=16, heads=4, context=24)
LLAMA = SMALL.clone(kv_heads=2, norm="rms", activation="swiglu", positions="rotary", bias=False, tied=False)
PROMPTS = [[1, 2, 3], [4], [5, 6, 7, 8, 9, 10, 0, 1, 2]]
KEY = jax.random.key(0)


@cache
def make_variables(model):
    return jax.tree.map(lambda x: 10 * x, jax.jit(model.init)(KEY, jnp.zeros((1, 4), jnp.int32)))


@partial(jax.jit, static_argnums=0)
def forward(model, variables, tokens):
    return model.apply(variables, tokens)


def greedy_without_cache(model, variables, prompt, length):
    """Repeated full forwards over a fixed width: causality lets the tokens behind the last one be anything."""
    row = np.zeros((1, model.context), np.int32)
    row[0, : len(prompt)] = prompt
    for at in range(len(prompt), len(prompt) + length):
        row[0, at] = forward(model, variables, row)[0, at - 1].argmax()
    return row[0, len(prompt) : len(prompt) + length].tolist()


@pytest.mark.parametrize("model", [SMALL, LLAMA, LLAMA.clone(scan=True, remat=True)], ids=["gpt2", "llama", "scan"])
def test_greedy_tokens_equal_repeated_full_forwards(model):
    variables = make_variables(model)
    expected = [greedy_without_cache(model, variables, prompt, 12) for prompt in PROMPTS]
    assert generate(model, variables, PROMPTS, KEY, length=12, temperature=0.0) == expected


def test_an_option_of_jax_for_64_bits_changes_no_token():
    variables = make_variables(SMALL)
    expected = generate(SMALL, variables, PROMPTS, KEY, length=4, temperature=0.0)
    with jax.enable_x64(True):
        assert generate(SMALL, variables, PROMPTS, KEY, length=4, temperature=0.0) == expected


def test_prompt_and_new_tokens_may_fill_the_context_exactly():
    variables, prompt = make_variables(SMALL), [3] * 17
    expected = greedy_without_cache(SMALL, variables, prompt, 7)
    assert generate(SMALL, variables, [prompt], KEY, length=7, temperature=0.0) == [expected]


def test_a_row_is_the_same_in_any_batch():
    variables = make_variables(SMALL)
    alone = generate(SMALL, variables, PROMPTS[:1], KEY, length=12)
    beside = generate(SMALL, variables, PROMPTS, KEY, length=12)
    others = generate(SMALL, variables, [PROMPTS[0], [9], [8, 8]], KEY, length=12)
    assert alone[0] == beside[0] == others[0]


def test_rows_and_keys_draw_differently():
    variables = make_variables(SMALL)
    first = generate(SMALL, variables, [[1], [1]], KEY, length=16, temperature=2.0)
    assert first[0] != first[1]
    assert first != generate(SMALL, variables, [[1], [1]], jax.random.key(1), length=16, temperature=2.0)
    assert first == generate(SMALL, variables, [[1], [1]], KEY, length=16, temperature=2.0)


def test_a_shorter_request_is_the_beginning_of_a_longer_one():
    variables = make_variables(SMALL)
    long = generate(SMALL, variables, PROMPTS, KEY, length=12)
    assert generate(SMALL, variables, PROMPTS, KEY, length=9) == [row[:9] for row in long]


def test_a_stop_token_ends_its_row_and_is_not_returned():
    variables = make_variables(SMALL)
    free = generate(SMALL, variables, PROMPTS, KEY, length=12)
    stop = free[0][3]
    stopped = generate(SMALL, variables, PROMPTS, KEY, length=12, stop=stop)
    assert stopped == [row[: row.index(stop)] if stop in row else row for row in free]


def test_dropout_is_off():
    model, variables = SMALL.clone(dropout=0.5), make_variables(SMALL)
    assert generate(model, variables, PROMPTS, KEY, length=12) == generate(SMALL, variables, PROMPTS, KEY, length=12)


def test_half_precision_parameters_generate():
    variables = jax.tree.map(lambda x: x.astype(jnp.bfloat16), make_variables(SMALL))
    rows = generate(SMALL, variables, PROMPTS, KEY, length=4)
    assert [len(row) for row in rows] == [4, 4, 4]


@dataclass(frozen=True)
class Counting:
    """Not a Linen module: always continues with the last token plus one. Counts how often it is traced."""

    vocab: int = 100
    context: int = 64
    traces: list = field(default_factory=list, hash=False, compare=False)

    def init(self, key, tokens):
        return {"params": {"one": jnp.ones((), jnp.float32)}}

    def init_cache(self, batch, length, dtype, start):
        return start

    def apply(self, variables, tokens, *, cache):
        self.traces.append(tokens.shape)
        following = tokens + variables["params"]["one"].astype(jnp.int32)
        return 50 * jax.nn.one_hot(following, self.vocab), cache


def test_any_model_with_the_protocol_generates_and_one_program_serves_nearby_requests():
    model = Counting()
    variables = model.init(KEY, None)
    assert generate(model, variables, [[5], [6, 7, 8]], KEY, length=3) == [[6, 7, 8], [9, 10, 11]]
    compiled = len(model.traces)
    again = generate(model, variables, [[1, 2], [1, 2, 3, 4]], KEY, length=4, temperature=0.5, top_p=0.9, stop=7)
    assert again == [[3, 4, 5, 6], [5, 6]]
    assert len(model.traces) == compiled
    assert generate(model, variables, [[1]], KEY, length=5, top_k=1) == [[2, 3, 4, 5, 6]]


@pytest.mark.parametrize(
    ("prompts", "options", "words"),
    [
        ([], {}, "no prompts"),
        ([[1], []], {}, "prompt 1 is empty"),
        ([[1], [11]], {}, "prompt 1 holds a token outside of 0 .. 10"),
        ([[-1]], {}, "outside"),
        ([[1] * 20], {"length": 5}, "at most 4"),
        ([[1]], {"length": 0}, "length is 0"),
        ([[1]], {"temperature": -1.0}, "temperature"),
        ([[1]], {"temperature": float("nan")}, "temperature"),
        ([[1]], {"top_k": 0}, "top_k is 0"),
        ([[1]], {"top_p": 0.0}, "top_p is 0.0"),
        ([[1]], {"top_p": 1.5}, "top_p is 1.5"),
    ],
)
def test_unusable_requests_are_refused_with_one_line(prompts, options, words):
    with pytest.raises(BadInput, match=words) as error:
        generate(SMALL, {}, prompts, KEY, **{"length": 4, **options})
    assert "\n" not in str(error.value)


class Letters:
    """A codec of one token a letter, with no token between documents."""

    separator = None

    def frame(self):
        return SimpleNamespace(before=[])

    def encode(self, text):
        return np.array([ord(letter) - ord("a") for letter in text], np.int32)

    def decode(self, ids):
        return "".join(chr(number + ord("a")) for number in ids)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_text_does_not_depend_on_how_long_other_prompts_are(temperature):
    write = partial(continue_text, SMALL, make_variables(SMALL), Letters(), key=KEY, length=20, temperature=temperature)
    prompts = ["abc", "abcdefghijkabcdefghijk", "d"]
    together = write(prompts=prompts)
    assert together[:1] == write(prompts=prompts[:1])
    assert together[2] == write(prompts=["b", "c", "d"])[2]
    assert together[1] == write(prompts=["b", prompts[1]])[1]
    with pytest.raises(BadInput, match="no prompts"):
        write(prompts=[])
