"""A model whose weights are kept in 8 or 4 bits, and computed with as float32."""

import dataclasses

import numpy as np

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
    predictor = dataclasses.replace(model.predictor, apply=lambda v, batch: apply(dequantise(v), batch))
    return LoadedModel(predictor, small)
