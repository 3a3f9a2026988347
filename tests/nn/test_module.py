import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from flax.errors import SetAttributeFrozenModuleError

from jaxlm.nn.module import Module


class Affine(Module):
    width: int = 3

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.width, name="dense")(x)


class Holder(Module):
    inner: Affine
    factor: float = 2.0

    def setup(self):
        self.outer = Affine(2)

    def __call__(self, x):
        return self.outer(self.inner(x)) * self.factor


class Derived(Module):
    width: int | None = None

    def __post_init__(self):
        if self.width is None:
            self.width = 7
        super().__post_init__()


def test_a_declared_field_of_an_unbound_module_cannot_be_assigned():
    module = Affine()
    with pytest.raises(SetAttributeFrozenModuleError, match="width"):
        module.width = 4
    assert module.width == 3


def test_fields_may_be_completed_in_post_init_and_are_frozen_afterwards():
    module = Derived()
    assert module.width == 7
    with pytest.raises(SetAttributeFrozenModuleError):
        module.width = 8


def test_clones_compare_and_hash_by_their_fields():
    assert Affine(4).clone() == Affine(4)
    assert hash(Affine(4).clone(width=5)) == hash(Affine(5))
    assert Affine(4) != Affine(5)


def test_setup_submodules_given_as_fields_and_bind_still_work():
    module, x = Holder(Affine(3)), jnp.ones((2, 5))
    variables = module.init(jax.random.key(0), x)
    assert set(variables["params"]) == {"inner", "outer"}
    bound = module.bind(variables)
    assert jnp.array_equal(bound(x), module.apply(variables, x))
    with pytest.raises(SetAttributeFrozenModuleError):
        bound.factor = 3.0


def test_transformed_modules_still_work():
    x = jnp.ones((2, 3))
    variables = Affine().init(jax.random.key(0), x)
    assert jnp.array_equal(nn.remat(Affine)().apply(variables, x), Affine().apply(variables, x))
    assert jnp.array_equal(nn.jit(Affine)().apply(variables, x), Affine().apply(variables, x))
