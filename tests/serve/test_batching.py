"""Rows of one moment are one batch, and a row that is alone waits for no other thread where that is quicker."""

import asyncio
import threading

import numpy as np
import pytest

from jaxlm.predict.predictor import stack_rows
from jaxlm.serve.batching import Batcher
from small_models import image_classifier, images


@pytest.fixture(scope="module")
def model():
    return image_classifier()


def rows(model, count):
    return [one.rows[0] for one in model.predictor.preprocess(images(count))]


@pytest.mark.parametrize("quick", [True, False])
def test_rows_of_one_moment_share_a_batch_and_every_row_has_its_output(model, quick):
    seen = []

    def note(count, size):
        seen.append((count, size, threading.current_thread() is threading.main_thread()))

    batcher = Batcher(model.predictor, model.variables, largest=8, seen=note)
    batcher.start(model.predictor.examples)
    batcher._quick = quick
    given = rows(model, 6)
    whole = np.asarray(model.predictor.apply(model.variables, stack_rows(given, 6))["logits"])

    async def one(row):
        (future,) = batcher.submit([row])
        return await future

    async def ask():
        found = [await one(given[0])]
        return found + list(await asyncio.gather(*map(one, given[1:])))

    found = asyncio.run(ask())
    batcher.close()
    np.testing.assert_allclose([row["logits"] for row in found], whole, rtol=1e-5, atol=1e-6)
    assert seen[0] == (1, 1, quick)
    assert sum(count for count, *_ in seen) == 6
    if quick:
        assert seen[1:] == [(5, 8, False)]
    assert batcher.waiting == 0


def test_a_row_that_is_given_up_before_its_turn_is_not_computed(model):
    seen = []
    batcher = Batcher(model.predictor, model.variables, largest=8, seen=lambda *one: seen.append(one))
    batcher.start(model.predictor.examples)
    batcher._quick = True

    async def ask():
        (future,) = batcher.submit(rows(model, 1))
        future.cancel()
        await asyncio.sleep(0.01)

    asyncio.run(ask())
    batcher.close()
    assert seen == []
