"""Read the tokenizer files of pretrained models, and write those that `transformers` reads.

tokenizer.json            any model of the `tokenizers` library: BPE, WordPiece, Unigram
vocab.json + merges.txt   byte-level BPE (GPT-2, RoBERTa, Qwen2, Whisper)
vocab.txt                 WordPiece, one piece a line (BERT)
pieces and scores         SentencePiece BPE (Llama): {"vocabulary": [...], "scores": [...]}
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jaxlm.data.readers.json_text import parse_json
from jaxlm.data.readers.text import read_text, to_lines
from jaxlm.data.tokenizers.convert import byte_level, sentence_piece, word_piece
from jaxlm.data.tokenizers.inner import LARGEST
from jaxlm.data.tokenizers.library import LibraryTokenizer, PretrainedTokenizer
from jaxlm.data.tokenizers.protocol import SEPARATOR, Special, Tokenizer
from jaxlm.data.tokenizers.tokenizer_config import TokenizerConfig, read_tokenizer_config
from jaxlm.errors import BadInput

# The usual names of special tokens, for files that do not give their roles.
USUAL = {
    "cls": ("[CLS]",),
    "sep": ("[SEP]",),
    "pad": ("[PAD]", "<pad>"),
    "mask": ("[MASK]", "<mask>"),
    "bos": ("<s>", "<|begin_of_text|>", SEPARATOR),
    "eos": ("</s>", "<|end_of_text|>", SEPARATOR),
    "unk": ("[UNK]", "<unk>", SEPARATOR),
}


def read_tokenizer(path: Path, lower: bool | None) -> PretrainedTokenizer:
    """Read the tokenizer of a folder or a file.

    Args:
        path: a folder of a pretrained model, or a file of one of the formats above.
        lower: whether texts are lower-cased, for a vocab.txt alone; None: as tokenizer_config.json says.

    Raises:
        BadInput: there is nothing to read, or it has another format; names the file.
    """
    file = find_tokenizer(path)
    text, config = read_text(file), read_tokenizer_config(file.parent)
    found = None if file.suffix == ".txt" else parse_json(text, str(file))
    try:
        if file.suffix == ".txt":
            model = word_piece(to_lines(text), _lower(config, lower), config)
        else:
            model = _from_json(file, found, text, config)
            if lower is not None:
                raise BadInput(
                    "tokenizer.lower is for a vocab.txt alone; other files have it in themselves: leave it out"
                )
        return PretrainedTokenizer(model, _roles(LibraryTokenizer(model), config))
    except BadInput as error:
        raise BadInput(f"{file}: {error}") from error


def find_tokenizer(path: Path) -> Path:
    """Return the file to read: the path itself, or the first known file of a folder.

    Raises:
        BadInput: there is no file that can be read.
    """
    if path.is_dir():
        for name in ("tokenizer.json", "vocab.json", "vocab.txt"):
            if (path / name).is_file():
                return path / name
        raise BadInput(
            f"{path} holds none of tokenizer.json, vocab.json with merges.txt, and vocab.txt: give the folder of a "
            "pretrained model (one with only a SentencePiece .model file: save it again with transformers)"
        )
    if not path.is_file():
        raise BadInput(f"there is no tokenizer at {path}: give a folder or a file of one")
    if path.suffix not in (".json", ".txt"):
        raise BadInput(f"{path} is neither .json nor .txt: give a tokenizer.json, vocab.json or vocab.txt")
    return path


def library_files(tokenizer: Tokenizer) -> dict[str, str]:
    """Return the files that `transformers` reads, by name; none for a tokenizer that its format cannot express.

    A role that no token has is written as null, so that no reader guesses one.
    """
    if not isinstance(tokenizer, LibraryTokenizer):
        return {}
    names: dict[int | None, str] = {index: piece for piece, index in tokenizer.ids.items()}
    named = {f"{role}_token": names.get(index) for role, index in asdict(tokenizer.special).items()}
    config = {"tokenizer_class": "PreTrainedTokenizerFast"} | named
    return {"tokenizer.json": tokenizer.model, "tokenizer_config.json": json.dumps(config, indent=2) + "\n"}


def _lower(config: TokenizerConfig, lower: bool | None) -> bool:
    """Return whether texts are lower-cased: as the spec says, else as tokenizer_config.json says."""
    found = config.flag("do_lower_case") if lower is None else lower
    if found is None:
        raise BadInput(
            "a vocab.txt does not say whether texts are lower-cased, and there is no tokenizer_config.json that does: "
            "set tokenizer.lower to True (uncased models) or False"
        )
    return found


def _from_json(file: Path, found: Any, content: str, config: TokenizerConfig) -> str:
    """Return a `tokenizer.json`, from the content of one or from the vocabulary of a BPE."""
    match found:
        case {"model": dict()}:
            return content
        case {"vocabulary": list(pieces), "scores": list(scores)}:
            if not all(isinstance(piece, str) for piece in pieces) or not all(type(n) in (int, float) for n in scores):
                raise BadInput("a piece is not a text, or a score not a number: correct it")
            return sentence_piece(pieces, scores)
        case dict() if all(type(index) is int for index in found.values()):
            if found and not 0 <= min(found.values()) <= max(found.values()) < LARGEST:
                raise BadInput(f"a token has an id that is not within 0 ... {LARGEST - 1:,}: number them from 0 on")
            merges = file.with_name(file.name.replace("vocab.json", "merges.txt"))
            if merges == file or not merges.is_file():
                raise BadInput(f"a BPE needs {merges.name} in the folder of its vocabulary: put it there")
            return byte_level(found, to_lines(read_text(merges)), config)
    raise BadInput("neither a tokenizer.json nor a vocabulary: give one of these")


def _roles(tokenizer: LibraryTokenizer, config: TokenizerConfig) -> Special:
    """Return the special tokens by role.

    They are what the files of the folder name, where null is an answer. Where they say nothing of a role, it is the
    unknown token of the model itself, or a token of the usual name that is flagged as special.
    """
    flagged, model = tokenizer.special_tokens, json.loads(tokenizer.model)["model"]
    own = model.get("unk_token")
    found = {"unk": tokenizer.ids.get(own) if isinstance(own, str) else model.get("unk_id")}
    for role, usual in USUAL.items():
        if f"{role}_token" in config.values:
            found[role] = tokenizer.ids.get(config.marker(role) or "")
        elif found.get(role) is None:
            found[role] = next((flagged[name] for name in usual if name in flagged), None)
    return Special(**found)
