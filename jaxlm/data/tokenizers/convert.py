"""Convert the vocabularies of pretrained models to a `tokenizer.json`.

vocab.txt                 WordPiece, one piece a line (BERT)
vocab.json + merges.txt   byte-level BPE (GPT-2, RoBERTa, Qwen2, Whisper)
pieces and scores         SentencePiece BPE (Llama)
"""

from collections.abc import Sequence
from typing import Any

from jaxlm.data.tokenizers.protocol import SEPARATOR
from jaxlm.data.tokenizers.tokenizer_config import AddedToken, TokenizerConfig
from jaxlm.errors import BadInput

NO_CONFIG = TokenizerConfig({})
# The classes of transformers whose vocab.txt is split as that of BERT.
WORD_PIECE = ("", "Bert", "ConvBert", "DistilBert", "Electra", "LayoutLM", "Lxmert", "MobileBert", "SqueezeBert")
BERT = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def word_piece(pieces: Sequence[str], lower: bool, config: TokenizerConfig = NO_CONFIG) -> str:
    """Return a `tokenizer.json` for the vocabulary of a BERT (Devlin et al. 2019).

    Args:
        pieces: in the order of their ids.
        lower: whether texts are lower-cased.
        config: read are "strip_accents" (null: as `lower`), "tokenize_chinese_chars", "clean_text", the names of
            special tokens, and added tokens.

    Raises:
        BadInput: a special token is missing, a piece occurs twice, or an option cannot be followed.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    if config.kind.removesuffix("Tokenizer") not in WORD_PIECE:
        raise other_class(config, "a vocab.txt")
    config.refuse(do_basic_tokenize=True, never_split=[], wordpieces_prefix="##")
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    if len(vocabulary) != len(pieces):
        twice = next(number for number, piece in enumerate(pieces) if vocabulary[piece] != number)
        raise BadInput(f"line {twice + 1}: the piece {pieces[twice]!r} occurs twice: correct the file")
    names = {role: config.marker(role, name) for role, name in BERT.items()}
    known = {*vocabulary, *(token.content for token in config.added)}
    if missing := [name for role, name in names.items() if role != "mask" and name and name not in known]:
        raise BadInput(f"the vocabulary has no {', '.join(missing)}: give a vocab.txt of BERT, one piece a line")
    inner = Tokenizer(models.WordPiece(vocabulary, unk_token=names["unk"] or BERT["unk"], max_input_chars_per_word=100))
    inner.normalizer = normalizers.BertNormalizer(
        clean_text=bool(config.flag("clean_text", True)),
        handle_chinese_chars=bool(config.flag("tokenize_chinese_chars", True)),
        strip_accents=config.flag("strip_accents"),
        lowercase=lower,
    )
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.decoder = decoders.WordPiece()
    add_tokens(inner, config, [name for name in names.values() if name])
    before, after = ([name for name in (names[role],) if name] for role in ("cls", "sep"))
    single = [*before, "$A", *after]
    inner.post_processor = processors.TemplateProcessing(
        single=single,
        pair=[*single, "$B:1", *(f"{name}:1" for name in after)],
        special_tokens=[(name, inner.token_to_id(name)) for name in {*before, *after}],
    )
    return inner.to_str()


def byte_level(vocabulary: dict[str, int], merges: Sequence[str], config: TokenizerConfig = NO_CONFIG) -> str:
    """Return a `tokenizer.json` for the two files of GPT-2 (Radford et al. 2019), of RoBERTa, of Qwen2, or of Whisper.

    Args:
        vocabulary: piece -> id.
        merges: the lines of merges.txt: two pieces each.
        config: read are the class, which says how texts are split and framed, "add_prefix_space", "add_bos_token",
            the names of special tokens, and added tokens.

    Raises:
        BadInput: a line of the merges is not two pieces, the vocabulary lacks a piece, or an option cannot be followed.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    kind = config.kind.removesuffix("Tokenizer")
    if kind not in ("", "GPT2", "Roberta", "Qwen2", "Whisper"):
        raise other_class(config, "vocab.json and merges.txt")
    config.refuse(add_eos_token=False)
    space = bool(config.flag("add_prefix_space", False))
    inner = Tokenizer(models.BPE(vocabulary, _pairs(vocabulary, merges)))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=space, use_regex=kind != "Qwen2")
    if kind == "Qwen2":
        inner.normalizer = normalizers.NFC()
        split = pre_tokenizers.Split(Regex(QWEN2), "isolated")
        inner.pre_tokenizer = pre_tokenizers.Sequence([split, inner.pre_tokenizer])
    inner.decoder = decoders.ByteLevel()
    add_tokens(inner, config, [SEPARATOR])
    inner.post_processor = processors.ByteLevel(trim_offsets=False)
    if kind == "Roberta":
        cls, sep = (_known(inner, config.marker(role)) for role in ("cls", "sep"))
        inner.post_processor = processors.RobertaProcessing(sep, cls, trim_offsets=False, add_prefix_space=space)
    elif config.flag("add_bos_token"):
        name, index = _known(inner, config.marker("bos", SEPARATOR))
        inner.post_processor = processors.TemplateProcessing(
            single=[name, "$A"], pair=[name, "$A", f"{name}:1", "$B:1"], special_tokens=[(name, index)]
        )
    return inner.to_str()


def _pairs(vocabulary: dict[str, int], merges: Sequence[str]) -> list[tuple[str, str]]:
    """Return the pairs of pieces that are merged, in their order."""
    lines = [line for line in merges if line and not line.startswith("#version")]
    if wrong := [number for number, line in enumerate(lines, 1) if line.count(" ") != 1]:
        raise BadInput(f"merge {wrong[0]} of merges.txt is {lines[wrong[0] - 1]!r}, not two pieces and a space between")
    pairs = [(line.partition(" ")[0], line.partition(" ")[2]) for line in lines]
    for pair in pairs:
        if unknown := [piece for piece in (*pair, "".join(pair)) if piece not in vocabulary]:
            raise BadInput(f"merges.txt makes {unknown[0]!r}, which the vocabulary lacks: take both from one model")
    return pairs


def _known(inner: Any, name: str | None) -> tuple[str, int]:
    """Return the name of a special token that frames a text, and its id."""
    index = None if name is None else inner.token_to_id(name)
    if name is None or index is None:
        raise BadInput(f"the token {name!r}, which goes around every text, is not in the vocabulary: name another")
    return name, index


def add_tokens(inner: Any, config: TokenizerConfig, special: Sequence[str]) -> None:
    """Add the tokens of a folder to a tokenizer, and mark as special those of the vocabulary that have a role.

    Args:
        inner: a tokenizer of the `tokenizers` library, which is changed.
        config: of the folder.
        special: names of special tokens, marked where the vocabulary has them.

    Raises:
        BadInput: the id of an added token is not the next one.
    """
    from tokenizers import AddedToken as LibraryToken

    listed = {token.content for token in config.added}
    for token in config.added:
        inner.add_tokens([LibraryToken(token.content, **token.flags)])
        if inner.token_to_id(token.content) != token.index:
            raise _wrong_id(inner, token)
    names = [name for name in dict.fromkeys([*special, *config.markers()]) if inner.token_to_id(name) is not None]
    marked = [LibraryToken(name, special=True, normalized=False) for name in names if name not in listed]
    inner.add_special_tokens(marked)


def _wrong_id(inner: Any, token: AddedToken) -> BadInput:
    place = inner.token_to_id(token.content)
    return BadInput(
        f"the added token {token.content!r} has the id {token.index} in the files and {place} after the vocabulary: "
        "take all files from one model"
    )


def other_class(config: TokenizerConfig, files: str) -> BadInput:
    """Return the error for a class of transformers that reads the same files in another way."""
    return BadInput(
        f"tokenizer_config.json names the class {config.values['tokenizer_class']}, whose way of splitting texts "
        f"{files} cannot say: save the tokenizer again with transformers, which writes a tokenizer.json"
    )


def sentence_piece(pieces: list[str], scores: list[float]) -> str:
    """Return a `tokenizer.json` for a SentencePiece BPE that falls back to bytes, as that of Llama.

    Pairs are merged in the order of the scores of the pieces that they make, the highest first. The first three pieces
    are unknown, begin and end of text; a begin token precedes every text.

    Args:
        pieces: in the order of their ids.
        scores: one for each piece.

    Raises:
        BadInput: the lists differ in length, or have fewer than three pieces.
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
