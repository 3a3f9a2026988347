"""Options of a Hugging Face config.json, read one by one so that none is ignored silently."""

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from jaxlm.errors import BadInput
from jaxlm.hub.json_file import load_json
from jaxlm.hub.tensors import Tensors

CONFIG = "config.json"

# Options that any config may have and that do not change what the model computes.
GENERIC = frozenset(
    """_attn_implementation_autoset _name_or_path architectures bos_token_id chunk_size_feed_forward
    decoder_start_token_id dtype eos_token_id finetuning_task forced_bos_token_id forced_eos_token_id
    gradient_checkpointing id2label initializer_factor initializer_range keys_to_ignore_at_inference label2id
    model_type num_labels output_attentions output_hidden_states pad_token_id prefix problem_type return_dict
    sep_token_id task_specific_params tokenizer_class torch_dtype transformers_version use_cache use_return_dict
    vocab_file""".split()
)
GENERIC_IF: dict[str, tuple[Any, ...]] = {  # ... as long as they have these values
    "add_cross_attention": (False,),
    "cross_attention_hidden_size": (None,),
    "is_decoder": (False,),
    "is_encoder_decoder": (False,),
    "pruned_heads": ({}, None),
    "quantization_config": (None,),
    "tie_encoder_decoder": (False,),
}
MISSING = object()
LARGEST = 2**31 - 1  # size or count: ids are int32
HIGHEST = 1e15  # number, such as the base of rotary angles


class Options:
    """The options of a config.json.

    `finish` refuses options that were not read: they might change what the model computes.
    """

    def __init__(self, values: dict[str, Any], where: str | Path = CONFIG):
        self.where = where
        self._values = dict(values)
        self._unread = dict(values)

    @classmethod
    def read(cls, folder: Path) -> "Options":
        """Read the config.json of a folder in Hugging Face's layout.

        Raises:
            BadInput: the file cannot be read or is not a JSON object.
        """
        path = folder / CONFIG
        try:
            values = load_json(path)
        except (OSError, ValueError) as error:
            raise BadInput(f"{path} cannot be read ({error}): give a folder in Hugging Face's layout") from None
        if not isinstance(values, dict):
            raise BadInput(f"{path} is not a JSON object: give a folder in Hugging Face's layout")
        return cls(values, path)

    def take(self, name: str, default: Any = MISSING) -> Any:
        """Return the value of an option and mark it as read."""
        self._unread.pop(name, None)
        value = self._values.get(name, default)
        if value is MISSING:
            raise BadInput(f"{self.where} lacks {name}: download it again")
        return value

    def peek(self, name: str, default: Any = None) -> Any:
        """Return the value of an option without marking it as read."""
        return self._values.get(name, default)

    @cached_property
    def tensors(self) -> Mapping[str, Any] | None:
        """The tensors of the folder of the config.json; None for options that are of no folder."""
        return None if self.where == CONFIG else Tensors(Path(self.where).parent)

    def stores(self, name: str) -> bool:
        """Return whether the folder of the config.json has a tensor of that name."""
        return self.tensors is not None and name in self.tensors

    def size(self, name: str, default: Any = MISSING, null: bool = False, largest: int = LARGEST) -> Any:
        """Return an option that is a whole number from 1, or None with `null` or where that is the default."""
        value = self.take(name, default)
        if value is None and (null or default is None):
            return None
        if type(value) is not int or not 1 <= value <= largest:
            raise BadInput(
                f"{self.where} has {name} {json.dumps(value)}: it must be a whole number from 1 to {largest}"
            )
        return value

    def layers(self, name: str, default: Any = MISSING) -> Any:
        """Return a number of layers, which is not above the number of tensors in the folder."""
        value = self.size(name, default)
        self._check_layers(name, value or 0)
        return value

    def stages(self, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
        """Return the numbers of layers of each stage, together not above the number of tensors in the folder."""
        value = self.take(name, default)
        if not isinstance(value, (list, tuple)) or not all(type(depth) is int and depth > 0 for depth in value):
            raise BadInput(f"{self.where} has {name} {json.dumps(value)}: it must be whole numbers from 1")
        self._check_layers(name, sum(value))
        return tuple(value)

    def _check_layers(self, name: str, layers: int) -> None:
        if self.tensors is not None and layers > len(self.tensors):
            raise BadInput(
                f"{self.where} has {name} {json.dumps(self._values[name])}, more layers than the {len(self.tensors)} "
                "tensors of its folder: one of the two is of another model"
            )

    def number(self, name: str, default: Any = MISSING) -> Any:
        """Return an option that is a number from 0, as a float; the default may be None."""
        value = self.take(name, default)
        if value is None and default is None:
            return None
        if type(value) not in (int, float) or not 0 <= value <= HIGHEST:
            raise BadInput(f"{self.where} has {name} {json.dumps(value)}: it must be a number from 0 to {HIGHEST:g}")
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        """Return an option that is true or false."""
        return self.choose(name, {True: True, False: False}, default)

    def class_names(self) -> tuple[str, ...]:
        """Return the names of a head's classes in the order of its logits.

        As in transformers `id2label` has them, `num_labels` counts classes without names, and two is the default.

        Raises:
            BadInput: names that are not numbered from 0, or another number of them in `num_labels`; a head for several
                labels at once or for numbers, whose logits are no classes.
        """
        self.expect("problem_type", None, "single_label_classification")
        found, count = self.take("id2label", None), self.size("num_labels", None)
        names = default_names(count or 2)
        if found is not None:
            if not isinstance(found, dict) or found.keys() != {str(index) for index in range(len(found) or 1)}:
                raise BadInput(f"{self.where} has an id2label that does not number its classes from 0: correct it")
            names = tuple(str(found[str(index)]) for index in range(len(found)))
        if len(names) != (count or len(names)):
            raise BadInput(
                f"{self.where} has num_labels {count} and {len(names)} names in id2label: correct one of them"
            )
        return names

    def choose(self, name: str, known: dict[Any, Any], default: Any = MISSING) -> Any:
        """Return the value that `known` maps an option to; other values are refused."""
        value = self.take(name, default)
        if value not in known:
            raise self.refusal(name, value, known)
        return known[value]

    def expect(self, name: str, *values: Any) -> None:
        """Refuse an option that is present with any other value."""
        found = self.take(name, values[0])
        if found not in values:
            raise self.refusal(name, found, values)

    def refusal(self, name: str, value: Any, known: Iterable[Any]) -> BadInput:
        """Return the error for a value that is not supported."""
        supported = " or ".join(json.dumps(one) for one in known)
        return BadInput(f"{self.where} has {name} {json.dumps(value)}, which is not supported: only {supported} is")

    def finish(self, harmless: str = "") -> None:
        """Refuse options that were not read, except those named in `harmless`."""
        for name, values in GENERIC_IF.items():
            if name in self._unread:
                self.expect(name, *values)
        unknown = sorted(self._unread.keys() - GENERIC - set(harmless.split()))
        if unknown:
            value = json.dumps(self._unread[unknown[0]])
            raise BadInput(
                f"{self.where} has {unknown[0]} {value}, an option that is not known here: remove it there if it does "
                "not change what the model computes"
            )


def default_names(classes: int) -> tuple[str, ...]:
    """Return the names that transformers gives to classes that have none."""
    return tuple(f"LABEL_{label}" for label in range(classes))


def label_options(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the options that name the classes of a head, in the order of its logits."""
    return {
        "id2label": {str(label): name for label, name in enumerate(names)},
        "label2id": {name: label for label, name in enumerate(names)},
    }
