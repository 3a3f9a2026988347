"""ViT against transformers: outputs, one update, and back again."""

import jax
import numpy as np
import pytest

from jaxlm.hub import pretrained
from jaxlm.losses import classification
from parity.parity_helpers import (
    assert_close,
    assert_round_trip,
    assert_the_same_adamw_step,
    save,
    tiny,
    torch,
    transformers,
)

pytestmark = pytest.mark.slow

SMALL = {"image_size": 8, "patch_size": 4, "num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 4}
SMALL |= {"intermediate_size": 24}
VARIANTS = {
    "classes": SMALL | {"num_labels": 5},
    "classes two": SMALL | {"hidden_act": "gelu_new"},
    "classes no bias": SMALL | {"num_labels": 3, "qkv_bias": False, "patch_size": 2},
    "classes wide": SMALL | {"num_labels": 3, "image_size": [4, 12], "num_channels": 1},
    "model": SMALL,
    "model eps": SMALL | {"layer_norm_eps": 1e-2, "patch_size": 8, "hidden_act": "gelu_pytorch_tanh"},
}
KINDS = {"classes": transformers.ViTForImageClassification, "model": transformers.ViTModel}


@pytest.fixture(scope="module", params=[(name, seed) for name in VARIANTS for seed in (0, 1)], ids=str)
def folder(request, tmp_path_factory):
    """Where a tiny model of theirs lies."""
    name, seed = request.param
    config = transformers.ViTConfig(**VARIANTS[name])
    return save(tiny(KINDS[name.split()[0]], config, seed), tmp_path_factory.mktemp("hub") / "theirs")


@pytest.fixture
def theirs(folder):
    kind = getattr(transformers, transformers.AutoConfig.from_pretrained(folder).architectures[0])
    return kind.from_pretrained(folder, attn_implementation="eager").eval()


@pytest.fixture(scope="module")
def ours(folder):
    return pretrained.load_pretrained(folder)


def images(model):
    return np.random.default_rng(0).normal(size=(3, *model.image)).astype(np.float32)


def tensor(images):
    return torch.from_numpy(images.transpose(0, 3, 1, 2).copy())


def test_outputs_and_hidden_vectors(ours, theirs):
    x = images(ours.model)
    found = jax.jit(ours.model.apply)(ours.variables, x)
    hidden = ours.model.apply(ours.variables, x, method="encode")
    expected = theirs(tensor(x))
    assert_close(found, expected.logits if ours.model.classes else expected.pooler_output)
    encoder = theirs.vit if ours.model.classes else theirs
    assert_close(hidden, encoder(tensor(x)).last_hidden_state)


def test_round_trip(folder, tmp_path):
    assert_round_trip(folder, tmp_path / "ours")


def test_one_adamw_step(folder, ours, theirs):
    if not ours.model.classes:
        pytest.skip("transformers has no loss for the encoder")
    x, labels = images(ours.model), np.array([1, 0, 1], np.int32)

    def their_loss(model):
        return model(tensor(x), labels=torch.from_numpy(labels).long()).loss

    batch = {"image": x, "label": labels}
    assert_the_same_adamw_step(folder, theirs, their_loss, classification(ours.model), batch)
