"""Their config.json, read option by option, so that nothing in it is dropped without a word."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jaxlm.errors import BadInput
from jaxlm.hub.tensors import Tensors

CONFIG = "config.json"

# Options of every config that say nothing about what the model computes when it is applied.
GENERIC = frozenset(
    """_attn_implementation_autoset _name_or_path architectures bos_token_id chunk_size_feed_forward
    decoder_start_token_id dtype eos_token_id finetuning_task forced_bos_token_id forced_eos_token_id
    gradient_checkpointing id2label initializer_factor initializer_range keys_to_ignore_at_inference label2id
    model_type output_attentions output_hidden_states pad_token_id prefix problem_type return_dict
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


class Options:
    """The options of a config.json. What `finish` finds unread is refused: it might change what the model computes."""

    def __init__(self, values: dict[str, Any], where: str | Path = CONFIG):
        self.where = where
        self._values = dict(values)
        self._unread = dict(values)

    @classmethod
    def read(cls, folder: Path) -> "Options":
        """Of a folder in Hugging Face's layout."""
        path = folder / CONFIG
        try:
            values = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise BadInput(f"{path} cannot be read ({error}): give a folder in Hugging Face's layout") from None
        if not isinstance(values, dict):
            raise BadInput(f"{path} holds no JSON object: give a folder in Hugging Face's layout")
        return cls(values, path)

    def take(self, name: str, default: Any = MISSING) -> Any:
        """The value of an option."""
        self._unread.pop(name, None)
        value = self._values.get(name, default)
        if value is MISSING:
            raise BadInput(f"{self.where} lacks {name}: fetch it anew")
        return value

    def peek(self, name: str, default: Any = None) -> Any:
        """The value of an option, which stays to be read."""
        return self._values.get(name, default)

    def stores(self, name: str) -> bool:
        """Whether a tensor of that name lies beside the config.json, for what the options do not tell."""
        folder = Path(self.where).parent
        return self.where != CONFIG and name in Tensors(folder)

    def classes(self) -> int:
        """The number of classes of a classifier, which transformers writes by their names, and two of them not."""
        return self.take("num_labels", None) or len(self.peek("id2label") or range(2))

    def choose(self, name: str, known: dict[Any, Any], default: Any = MISSING) -> Any:
        """What `known` makes of the value of an option."""
        value = self.take(name, default)
        if value not in known:
            raise self.refusal(name, value, known)
        return known[value]

    def expect(self, name: str, *values: Any) -> None:
        """Refuse an option that is there with any other value."""
        found = self.take(name, values[0])
        if found not in values:
            raise self.refusal(name, found, values)

    def refusal(self, name: str, value: Any, known: Iterable[Any]) -> BadInput:
        """What to raise for a value that is not computed here."""
        told = " or ".join(json.dumps(one) for one in known)
        return BadInput(f"{self.where} has {name} {json.dumps(value)}, which is not computed here: only {told} is")

    def finish(self, harmless: str = "") -> None:
        """Refuse options that were not read, apart from those named in `harmless`, which the model does not need."""
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


def labels(classes: int) -> dict[str, dict[str, Any]]:
    """Names of classes, as transformers gives them where nobody else did."""
    names = [f"LABEL_{label}" for label in range(classes)]
    return {
        "id2label": {str(label): name for label, name in enumerate(names)},
        "label2id": {name: label for label, name in enumerate(names)},
    }
