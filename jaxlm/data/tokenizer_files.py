"""The files that tokenizers of pretrained models come in, each brought into the form of a `tokenizer.json`.

tokenizer.json            any model of the `tokenizers` library: BPE, WordPiece, Unigram
vocab.json + merges.txt   byte-level BPE (GPT-2)
vocab.txt                 WordPiece, one piece a line (BERT)
pieces and scores         SentencePiece BPE (Llama): {"vocabulary": [...], "scores": [...]}
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jaxlm.data.tokenizer_library import LibraryTokenizer, PretrainedTokenizer
from jaxlm.data.tokenizer_protocol import SEPARATOR, Special, Tokenizer
from jaxlm.errors import BadInput

# What the field calls special tokens, for files that do not tell their roles.
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
    """Return the tokenizer of a folder or a file.

    Raises:
        BadInput: nothing to read, or not in one of these forms; names the file.
    """
    file = find_tokenizer(path)
    try:
        content = file.read_text(encoding="utf-8")
        if file.suffix == ".txt":
            model = word_piece(content.splitlines(), _lower(file, lower))
        else:
            model = _from_json(file, json.loads(content), content)
            if lower is not None:
                raise BadInput("tokenizer.lower is for a vocab.txt, which does not tell it: leave it out")
        return PretrainedTokenizer(model, _roles(file.parent, json.loads(model)))
    except json.JSONDecodeError as error:
        raise BadInput(f"{file} is not whole JSON ({error}): fetch it again") from None
    except (OSError, UnicodeDecodeError, BadInput) as error:
        raise BadInput(f"{file}: {error}") from error


def find_tokenizer(path: Path) -> Path:
    """Return the file to read: the path itself, or the first known one of a folder.

    Raises:
        BadInput: nothing there that can be read.
    """
    if path.is_dir():
        for name in ("tokenizer.json", "vocab.json", "vocab.txt"):
            if (path / name).is_file():
                return path / name
        raise BadInput(
            f"{path} holds none of tokenizer.json, vocab.json with merges.txt, and vocab.txt: give the folder of a "
            "pretrained model (one with only a SentencePiece .model file: save it anew with transformers)"
        )
    if not path.is_file():
        raise BadInput(f"there is no tokenizer at {path}: give a folder or a file of one")
    if path.suffix not in (".json", ".txt"):
        raise BadInput(f"{path} is neither .json nor .txt: give a tokenizer.json, vocab.json or vocab.txt")
    return path


def library_files(tokenizer: Tokenizer) -> dict[str, str]:
    """Return the files by name, as `transformers` reads them; nothing for a tokenizer that its form does not know."""
    if not isinstance(tokenizer, LibraryTokenizer):
        return {}
    names = {index: piece for piece, index in _vocabulary(json.loads(tokenizer.model)).items()}
    roles = {f"{role}_token": names[index] for role, index in asdict(tokenizer.special).items() if index is not None}
    config = {"tokenizer_class": "PreTrainedTokenizerFast"} | roles
    return {"tokenizer.json": tokenizer.model, "tokenizer_config.json": json.dumps(config, indent=2) + "\n"}


def _lower(file: Path, lower: bool | None) -> bool:
    """Return whether texts are lower-cased, from the spec or from the file that tells it."""
    told = _read_config(file.parent / "tokenizer_config.json").get("do_lower_case")
    if lower is None and told is None:
        raise BadInput(
            "a vocab.txt does not tell whether texts are lower-cased, and no tokenizer_config.json beside it does: "
            "set tokenizer.lower to True (uncased models) or False"
        )
    return bool(told if lower is None else lower)


def _from_json(file: Path, found: Any, content: str) -> str:
    """Return a `tokenizer.json` from one, or from the vocabulary of a BPE."""
    match found:
        case {"model": dict()}:
            return content
        case {"vocabulary": list(pieces), "scores": list(scores)}:
            return sentence_piece(pieces, scores)
        case dict() if all(isinstance(index, int) for index in found.values()):
            merges = file.with_name(file.name.replace("vocab.json", "merges.txt"))
            if merges == file or not merges.is_file():
                raise BadInput(f"a BPE needs {merges.name} beside its vocabulary: put it there")
            return byte_level(found, merges.read_text(encoding="utf-8"))
    raise BadInput("neither a tokenizer.json nor a vocabulary: give one of these")


def byte_level(vocabulary: dict[str, int], merges: str) -> str:
    """Return the `tokenizer.json` of GPT-2's two files (Radford et al. 2019).

    Raises:
        BadInput: a line of the merges that is not two pieces, or pieces that the vocabulary has not.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

    lines = [line for line in merges.split("\n") if line and not line.startswith("#version")]
    if wrong := [number for number, line in enumerate(lines, 1) if line.count(" ") != 1]:
        raise BadInput(f"merge {wrong[0]} of merges.txt is {lines[wrong[0] - 1]!r}, not two pieces and a space between")
    pairs = [(line.partition(" ")[0], line.partition(" ")[2]) for line in lines]
    for pair in pairs:
        if unknown := [piece for piece in (*pair, "".join(pair)) if piece not in vocabulary]:
            raise BadInput(f"merges.txt makes {unknown[0]!r}, which the vocabulary has not: take both from one model")
    inner = Tokenizer(models.BPE(vocabulary, pairs))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.post_processor = processors.ByteLevel(trim_offsets=False)
    if SEPARATOR in vocabulary:
        inner.add_special_tokens([AddedToken(SEPARATOR, special=True, normalized=False)])
    return inner.to_str()


def word_piece(pieces: list[str], lower: bool) -> str:
    """Return the `tokenizer.json` of BERT's vocabulary (Devlin et al. 2019); ids are line numbers from 0.

    Accents are stripped where texts are lower-cased, as the published models have it.

    Raises:
        BadInput: a special token is missing, or a piece stands there twice.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    if len(vocabulary) != len(pieces):
        twice = next(number for number, piece in enumerate(pieces) if vocabulary[piece] != number)
        raise BadInput(f"line {twice + 1}: the piece {pieces[twice]!r} stands there twice: mend the file")
    names = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    if missing := [name for name in names[:4] if name not in vocabulary]:
        raise BadInput(f"the vocabulary has no {', '.join(missing)}: give a vocab.txt of BERT, one piece a line")
    inner = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    inner.normalizer = normalizers.BertNormalizer(lowercase=lower)
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.decoder = decoders.WordPiece()
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")],
    )
    inner.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names if name in vocabulary])
    return inner.to_str()


def sentence_piece(pieces: list[str], scores: list[float]) -> str:
    """Return the `tokenizer.json` of a SentencePiece BPE with bytes to fall back on, as Llama has it.

    A pair is merged before others where the piece that it makes has a higher score. The first three pieces are those
    for the unknown, the beginning and the end of a text; a beginning stands before every text.

    Raises:
        BadInput: lists that do not fit each other.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors

    if len(pieces) != len(scores) or len(pieces) < 3:
        raise BadInput(f"{len(pieces)} pieces and {len(scores)} scores: give one score for each piece")
    names = ["<unk>", "<s>", "</s>"]
    vocabulary = {piece.replace(" ", "▁"): index for index, piece in enumerate([*names, *pieces[3:]])}
    merges = [
        (-scores[index], vocabulary[piece[:cut]], vocabulary[piece[cut:]], piece[:cut], piece[cut:])
        for piece, index in vocabulary.items()
        for cut in range(1, len(piece))
        if piece[:cut] in vocabulary and piece[cut:] in vocabulary
    ]
    pairs = [pair[3:] for pair in sorted(merges)]
    inner = Tokenizer(models.BPE(vocabulary, pairs, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    inner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    inner.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 1)]
    )
    inner.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])
    return inner.to_str()


def _roles(folder: Path, model: dict[str, Any]) -> Special:
    """Return the special tokens by role: as the folder's files tell it, else by their usual names."""
    ids = _vocabulary(model)
    told = _read_config(folder / "special_tokens_map.json") | _read_config(folder / "tokenizer_config.json")
    found = {}
    for role, usual in USUAL.items():
        name = told.get(f"{role}_token")
        name = name.get("content") if isinstance(name, dict) else name
        names = usual if name is None else (name,)
        found[role] = next((ids[name] for name in names if name in ids), None)
    return Special(**found)


def _vocabulary(model: dict[str, Any]) -> dict[str, int]:
    """Return the id of every token of a `tokenizer.json`."""
    listed = model["model"].get("vocab", {})
    ids = dict(listed) if isinstance(listed, dict) else {piece: index for index, (piece, _) in enumerate(listed)}
    return ids | {token["content"]: token["id"] for token in model.get("added_tokens", [])}


def _read_config(file: Path) -> dict[str, Any]:
    """Return the contents of a JSON file, nothing where there is none."""
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadInput(f"{file.name} beside it is not whole JSON ({error}): fetch it again") from None
    return found if isinstance(found, dict) else {}
