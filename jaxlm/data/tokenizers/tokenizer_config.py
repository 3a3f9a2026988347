"""Read what the files beside a vocabulary say: tokenizer_config.json, special_tokens_map.json, added_tokens.json."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxlm.data.readers.json_text import read_json_file
from jaxlm.errors import BadInput

ROLES = ("cls", "sep", "pad", "mask", "bos", "eos", "unk")
# What the classes of transformers take where the files say nothing.
DEFAULTS: dict[str, dict[str, str | None]] = {
    "Qwen2Tokenizer": {"bos_token": None},
    "RobertaTokenizer": {
        **{"cls_token": "<s>", "bos_token": "<s>", "sep_token": "</s>", "eos_token": "</s>"},
        **{"unk_token": "<unk>", "pad_token": "<pad>", "mask_token": "<mask>"},
    },
}
FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")


@dataclass(frozen=True)
class AddedToken:
    """A token that is not in the vocabulary file, or is special.

    Attributes:
        index: its id.
        content: its text.
        flags: arguments of the same class of the `tokenizers` library.
    """

    index: int
    content: str
    flags: dict[str, bool]


@dataclass(frozen=True)
class TokenizerConfig:
    """The config of a tokenizer.

    Attributes:
        values: of tokenizer_config.json, where it lacks them of special_tokens_map.json, else of `DEFAULTS`.
        added: the tokens of added_tokens.json and of "added_tokens_decoder", by id.
    """

    values: dict[str, Any]
    added: tuple[AddedToken, ...] = ()

    @property
    def kind(self) -> str:
        """Return the class in transformers without "Fast", or "" where none is named."""
        return str(self.values.get("tokenizer_class") or "").removesuffix("Fast")

    def marker(self, role: str, default: str | None = None) -> str | None:
        """Return the name of the special token of a role; None where the files say null."""
        return _content(self.values.get(f"{role}_token", default))

    def markers(self) -> list[str]:
        """Return the names of all special tokens that the files name."""
        extra = [self.values.get(f"{kind}_special_tokens") or [] for kind in ("additional", "extra")]
        listed = [name for part in extra for name in (part.values() if isinstance(part, dict) else part)]
        named = [_content(value) for value in (*(self.values.get(f"{role}_token") for role in ROLES), *listed)]
        return [name for name in named if name]

    def flag(self, name: str, default: bool | None = None) -> bool | None:
        """Return a truth value, or the default where it is not given.

        Raises:
            BadInput: it is something else.
        """
        found = self.values.get(name)
        if found is not None and not isinstance(found, bool):
            raise BadInput(f"tokenizer_config.json: {name!r} is {found!r}: write true or false")
        return default if found is None else found

    def refuse(self, **values: Any) -> None:
        """Raise BadInput for an option that is given, is not the value here, and cannot be followed."""
        for name, value in values.items():
            if self.values.get(name) not in (None, value):
                raise BadInput(
                    f"tokenizer_config.json: {name!r} is {self.values[name]!r}, which is not read: save the tokenizer "
                    "again with transformers, which writes a tokenizer.json"
                )


def read_tokenizer_config(folder: Path) -> TokenizerConfig:
    """Return the config of a tokenizer from the files of its folder; there may be none.

    Raises:
        BadInput: a file is not JSON, or has another form; names it.
    """
    values = _object(folder / "special_tokens_map.json") | _object(folder / "tokenizer_config.json")
    values = DEFAULTS.get(TokenizerConfig(values).kind, {}) | values
    given, listed = _object(folder / "added_tokens.json"), values.get("added_tokens_decoder") or {}
    try:
        added: dict[int, tuple[Any, dict[str, Any]]] = {int(index): (content, {}) for content, index in given.items()}
        added |= {int(index): (token["content"], token) for index, token in listed.items()}
        config = TokenizerConfig(values)
        special = {*config.markers()}
        tokens = [
            AddedToken(index, content, _flags(content, flags, content in special))
            for index, (content, flags) in sorted(added.items())
        ]
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
        raise BadInput(
            f"{folder}: the added tokens or the names of special tokens have another form than transformers writes: "
            "fetch tokenizer_config.json, special_tokens_map.json and added_tokens.json again"
        ) from None
    return TokenizerConfig(values, tuple(tokens))


def _flags(content: str, given: dict[str, Any], special: bool) -> dict[str, bool]:
    """Return the flags of an added token; those of a special token are as transformers sets them."""
    if not isinstance(content, str) or not content:
        raise TypeError
    found = {name: bool(given[name]) for name in FLAGS if name in given}
    return {"special": special, "normalized": not special} | found


def _content(value: Any) -> str | None:
    """Return the text of a token that is given as text or as an object."""
    found = value.get("content") if isinstance(value, dict) else value
    if not isinstance(found, str | None):
        raise TypeError
    return found


def _object(file: Path) -> dict[str, Any]:
    """Return the JSON object in a file; empty where there is no file."""
    found = read_json_file(file) if file.is_file() else {}
    if not isinstance(found, dict):
        raise BadInput(f"{file} is not a JSON object: fetch it again")
    return found
