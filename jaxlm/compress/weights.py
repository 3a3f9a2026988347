"""A model whose weights are kept in 8 or 4 bits, and computed with as float32."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxlm.decode.slots import SlotDecoder
from jaxlm.errors import BadInput
from jaxlm.hub.pretrained import leaves_by_path
from jaxlm.nn.quantise import Bits, dequantise, quantise
from jaxlm.predict.load import LoadedModel


def quantise_model(model: LoadedModel, bits: Bits) -> LoadedModel:
    """Quantise the weights of a model (see `jaxlm.nn.quantise`); its programs restore them as they run.

    Raises:
        BadInput: it has several nets, or weights that are not finite.
    """
    variables, apply = model.variables, model.predictor.apply
    if "params" not in variables:
        raise BadInput(f"this model has several nets ({', '.join(variables)}), and one alone can be compressed")
    for name, leaf in leaves_by_path(variables["params"]).items():
        if not np.isfinite(np.asarray(leaf)).all():
            raise BadInput(f"params/{name} has weights that are not finite: take an earlier checkpoint with --step")
    small = {**variables, "params": quantise(variables["params"], bits)}
    decoder = model.predictor.decoder
    predictor = dataclasses.replace(
        model.predictor,
        apply=lambda v, batch: apply(dequantise(v), batch),
        decoder=None if decoder is None else RestoredSlots(decoder),
    )
    return LoadedModel(predictor, small)


@dataclass(frozen=True)
class RestoredSlots:
    """Decodes several texts at a time with quantised weights, see `jaxlm.decode.slots.SlotDecoder`.

    Attributes:
        inner: what decodes with whole weights.
    """

    inner: SlotDecoder

    @property
    def context(self) -> int:
        """Return the longest sequence."""
        return self.inner.context

    @property
    def piece(self) -> int:
        """Return the tokens of a prompt that are read at a time."""
        return self.inner.piece

    @property
    def pieces(self) -> tuple[int, ...]:
        """Numbers of tokens that may be read at a time."""
        return self.inner.pieces

    @property
    def sizes(self) -> tuple[int, ...]:
        """Return the places that a step may be limited to."""
        return self.inner.sizes

    @property
    def counts(self) -> tuple[int, ...]:
        """Return the numbers of tokens that a step may add."""
        return self.inner.counts

    def init(self, variables: Any, count: int) -> Any:
        """Return the empty caches of a number of slots."""
        return self.inner.init(dequantise(variables), count)

    def prefill(self, variables: Any, *rest: Any) -> tuple[Any, Any]:
        """Read a piece of a prompt into a slot."""
        return self.inner.prefill(dequantise(variables), *rest)

    def step(self, variables: Any, *rest: Any, places: int, count: int) -> tuple[Any, Any]:
        """Add tokens to every slot that is in use."""
        return self.inner.step(dequantise(variables), *rest, places=places, count=count)
