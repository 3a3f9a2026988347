"""Continuous batching: a request's tokens are its own, whoever shares the slots, whenever it came, whoever left."""

import asyncio
import random

import jax
import numpy as np
import pytest

import jaxlm
from jaxlm.decode.generate import generate
from jaxlm.decode.slots import ModelSlots
from jaxlm.errors import BadInput
from jaxlm.models.gpt import GPT
from jaxlm.serve.batching import Busy
from jaxlm.serve.engine import Engine, TextRequest
from small_models import text_model, write_models

MODEL = GPT(vocab=50, depth=2, width=16, heads=2, context=48, norm="rms", positions="rotary", activation="swiglu")


@pytest.fixture(scope="module")
def variables():
    found = MODEL.init(jax.random.key(1), np.zeros((1, 4), np.int32))
    return jax.tree.map(lambda x: 3 * x, found)  # logits that are not all alike


@pytest.fixture(params=[True, False], ids=["fixed", "quick"])
def engine(variables, request):
    found = Engine(ModelSlots(MODEL, most=8), variables, slots=3, room=40, fixed=request.param)
    found.start()
    yield found
    found.close()


def requests(count):
    rng = random.Random(0)
    for number in range(count):
        size, length = rng.randint(1, 30), rng.randint(1, 18)
        tokens = [rng.randrange(50) for _ in range(size)]
        yield TextRequest(tokens, length, temperature=rng.choice([0.0, 1.0]), top_p=rng.choice([1.0, 0.8]), seed=number)


async def written(engine, asked, delay=0.0):
    await asyncio.sleep(delay)
    return [token async for token in engine.write(asked)]


def test_tokens_are_those_of_a_request_alone_whoever_else_is_there(engine):
    asked = list(requests(12))

    async def together():
        return await asyncio.gather(*(written(engine, one, 0.003 * n) for n, one in enumerate(asked)))

    async def one_by_one():
        return [await written(engine, one) for one in reversed(asked)]

    found = asyncio.run(together())
    assert found == asyncio.run(one_by_one())[::-1]
    assert [len(tokens) for tokens in found] == [one.length for one in asked]


def test_a_prompt_is_read_as_if_alone_while_a_short_text_is_written(variables, monkeypatch):
    monkeypatch.setattr("jaxlm.serve.engine.SMOOTH", 0.0)  # a piece of the prompt, a token of the text, and so on
    engine = Engine(ModelSlots(MODEL.clone(context=160), most=8), variables, slots=2)
    engine.start()
    rng = random.Random(1)
    sizes = (70, 74, 78, 86, 94, 102, 110, 118)
    prompts = [TextRequest([rng.randrange(50) for _ in range(size)], 30, temperature=1.0) for size in sizes]

    async def beside():
        return [
            (await asyncio.gather(written(engine, TextRequest([7], 40)), written(engine, one)))[1] for one in prompts
        ]

    found = asyncio.run(beside())
    assert found == [asyncio.run(written(engine, one)) for one in prompts]
    engine.close()


def test_greedy_tokens_are_those_of_generate(engine, variables):
    for asked in requests(6):
        found = asyncio.run(written(engine, asked._replace(temperature=0.0)))
        (expected,) = generate(
            MODEL, variables, [asked.tokens], jax.random.key(0), length=asked.length, temperature=0.0
        )
        assert found == expected


def test_everything_is_compiled_at_the_start(tmp_path, caplog):
    write_models(tmp_path, texts=text_model())
    model = jaxlm.load(tmp_path / "texts")
    engine = Engine(model.predictor.decoder, model.variables, slots=3)
    jax.config.update("jax_log_compiles", True)  # of all threads
    try:
        with caplog.at_level("WARNING", logger="jax"):
            engine.start()
            before = len(compiled(caplog))
            for asked in (TextRequest([1, 2], 5), TextRequest([1] * 20, 12)):
                asyncio.run(written(engine, asked))
    finally:
        jax.config.update("jax_log_compiles", False)
        engine.close()
    assert before > 0
    assert compiled(caplog)[before:] == []


def compiled(caplog):
    return [one for one in caplog.messages if one.startswith("Compiling")]


def test_a_text_ends_at_its_stop(engine):
    asked = TextRequest([1, 2, 3], 20, temperature=1.0, seed=5)
    whole = asyncio.run(written(engine, asked))
    stop = whole[7]
    assert asyncio.run(written(engine, asked._replace(stop=stop))) == whole[: whole.index(stop)]


def test_streams_that_are_dropped_leave_no_slot_and_no_request(engine):
    async def drop(number):
        stream = engine.write(TextRequest([number % 50], 30))
        async for _ in stream:
            break
        await stream.aclose()

    async def all_of_them():
        for start in range(0, 60, 20):
            await asyncio.gather(*(drop(number) for number in range(start, start + 20)))
        for _ in range(200):
            if not engine.used:
                break
            await asyncio.sleep(0.01)
        assert (engine.used, engine.waiting) == (0, 0)

    asyncio.run(all_of_them())
    assert len(asyncio.run(written(engine, TextRequest([1], 5)))) == 5


def test_what_does_not_fit_is_refused(engine):
    with pytest.raises(BadInput, match="exceed the context of 48"):
        asyncio.run(written(engine, TextRequest([1] * 40, 9)))

    async def crowd():
        return await asyncio.gather(*(written(engine, TextRequest([1], 40)) for _ in range(60)), return_exceptions=True)

    found = asyncio.run(crowd())
    assert sum(isinstance(one, Busy) for one in found) >= 60 - 3 - 40
    assert all(len(one) == 40 for one in found if not isinstance(one, Busy))


def test_an_error_of_the_device_reaches_those_under_way_and_no_one_else(engine, monkeypatch):
    step, failed = engine._step, []

    def once(*args, **options):
        if not failed:
            failed.append(True)
            raise RuntimeError("lost")
        return step(*args, **options)

    monkeypatch.setattr(engine, "_step", once)
    with pytest.raises(RuntimeError, match="lost"):
        asyncio.run(written(engine, TextRequest([1], 5)))
    assert len(asyncio.run(written(engine, TextRequest([1], 5)))) == 5


def test_a_text_that_was_complete_before_an_error_is_given(engine, monkeypatch):
    """One token comes from reading the prompt; the step that fails belongs to others."""

    def never(*args, **options):
        raise RuntimeError("lost")

    monkeypatch.setattr(engine, "_step", never)

    async def both():
        asked = (TextRequest([1], 5), TextRequest([2], 1), TextRequest([3], 1))
        return await asyncio.wait_for(
            asyncio.gather(*(written(engine, one) for one in asked), return_exceptions=True), 60
        )

    found = asyncio.run(both())
    assert isinstance(found[0], RuntimeError)
    assert all(isinstance(one, RuntimeError) or len(one) == 1 for one in found[1:])
