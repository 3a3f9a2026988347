"""Operations are refused where they are made if a number would give NaN, or images that it does not say."""

import dataclasses
import re

import numpy as np
import pytest
from augmented import apply, draw

from jaxlm.data.images.augment import CutMix, HorizontalFlip, MixUp, RandomAffine, RandomCrop, RandomErasing
from jaxlm.data.images.rand_augment import RandAugment
from jaxlm.errors import BadInput

OUTSIDE = {
    HorizontalFlip: {"probability": (-0.1, 1.1)},
    RandomCrop: {"padding": (-1,), "size": (0, -3)},
    RandomAffine: {"degrees": (-1, 181), "translate": (-0.1, 1.1), "scale": (-0.1, 1.0)},
    RandomErasing: {"probability": (-0.1, 1.1), "value": (-0.1, 1.1)},
    MixUp: {"alpha": (0, -1, np.inf)},
    CutMix: {"alpha": (0, -1, np.inf)},
    RandAugment: {"count": (-1,), "magnitude": (-1, 31, 60)},
}
EDGES = (
    HorizontalFlip(0.0),
    RandomCrop(0, 1),
    RandomAffine(180, 1, 0.99),
    RandomErasing(1.0, 0.0),
    MixUp(1e-12),
    MixUp(1e8),
    CutMix(1e-12),
    RandAugment(count=0),
    RandAugment(count=1, magnitude=30),
)


@pytest.mark.parametrize("kind", OUTSIDE)
def test_a_number_outside_of_its_range_is_refused(kind):
    fields = {field.name for field in dataclasses.fields(kind)}
    assert fields == OUTSIDE[kind].keys()  # every field has a range
    for name, values in OUTSIDE[kind].items():
        for value in (*values, np.nan):
            with pytest.raises(BadInput, match=rf"^{kind.__name__}.{name} is {re.escape(str(value))}: give [^\n]+$"):
                kind(**{name: value})


@pytest.mark.parametrize("operation", EDGES, ids=repr)
def test_on_the_edge_of_its_range_an_operation_gives_images_and_shares(operation):
    images, targets = apply(draw(5), operation)
    assert 0 <= images.min() <= images.max() <= 1
    np.testing.assert_allclose(targets.sum(-1), 1, rtol=1e-6)


def test_a_crop_that_is_larger_than_the_padded_image_is_refused():
    assert apply(draw(5), RandomCrop(1, 7))[0].shape[1:3] == (7, 7)
    with pytest.raises(BadInput, match="RandomCrop.size is 8: give at most that of the padded images, 7"):
        apply(draw(5), RandomCrop(1, 8))
