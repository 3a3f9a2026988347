"""One architecture of the Hugging Face hub, as the functions that translate it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jaxlm.hub.mapping import TensorTable
from jaxlm.hub.options import Options


@dataclass(frozen=True)
class Family:
    """The translation of one architecture between transformers and jaxlm.

    Attributes:
        supports: model -> whether a module of jaxlm belongs to this family and can be written in its layout.
        from_config: options of a config.json -> module; raises BadInput for what jaxlm does not compute.
        to_config: module -> content of config.json. What a config.json cannot express is left out;
            `save_pretrained` finds it by reading the config again.
        table: module -> names and layouts of all its tensors.
        example: module -> the arguments that its `init` takes after the key, or their shapes.
        not_in_encoder: regular expression matched from the start of parameter paths: what `encode` alone does not use.
        model_inputs: what a model of texts takes of a tokenizer of transformers, as `model_input_names` lists it.
    """

    supports: Callable[[Any], bool]
    from_config: Callable[[Options], Any]
    to_config: Callable[[Any], dict[str, Any]]
    table: Callable[[Any], TensorTable]
    example: Callable[[Any], tuple[Any, ...]]
    not_in_encoder: str
    model_inputs: tuple[str, ...] = ()
