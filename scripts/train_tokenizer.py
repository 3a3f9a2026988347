"""Train a byte-level BPE on the training part of a text, and write it as a tokenizer.json.

    python scripts/train_tokenizer.py --vocab 4096 --out tokenizer.json                 # the standard library's source
    python scripts/train_tokenizer.py books/ --vocab 8192 --out books.json              # a file or a folder
    python scripts/train_tokenizer.py --tfds glue/sst2 --feature sentence --out sst2.json

The same text and size give the same file. Use it in a config as `tokenizer=BPE("tokenizer.json")`.
"""

import argparse
import hashlib
import os
import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from jaxlm.data import LanguageData, Text, TfdsText
from jaxlm.data.text.documents import Document
from jaxlm.data.tokenizers.byte_pairs import train_byte_pairs
from jaxlm.data.tokenizers.specs import BPETokenizer
from jaxlm.errors import BadInput


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and write a tokenizer; print its digest and how many bytes a token stands for."""
    options = _parse(arguments)
    try:
        out = Path(options.out).expanduser()
        if not out.parent.is_dir():
            raise BadInput(f"no folder {out.parent} to write {out.name} to: make it first")
        training, _ = _data(options).documents()
        model = train_bpe(training, options.vocab, options.sentinels)
        _write(out, model)
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    tokenizer = BPETokenizer(model)
    read = sum(len(document.read()) for document in training)
    tokens = sum(len(tokenizer.encode(piece)) for document in training for piece in document.pieces())
    print(f"{out}: {tokenizer.vocab} tokens, {read / tokens:.2f} bytes per token over {read} bytes")
    print(f"sha256 {hashlib.sha256(model.encode()).hexdigest()}")


def train_bpe(documents: Sequence[Document], vocab: int, sentinels: int = 0) -> str:
    """Return the JSON text of a byte-level BPE with at most `vocab` tokens, trained on these documents.

    Raises:
        BadInput: fewer tokens than 256 bytes and the separator; no text, or not UTF-8.
    """
    if not any(len(document.read()) for document in documents):
        raise BadInput("the text is empty: give files with text in them")
    return train_byte_pairs(chain.from_iterable(document.pieces() for document in documents), vocab, sentinels)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", nargs="?", help="a file or a folder; left out: the standard library's source")
    parser.add_argument("--tfds", metavar="NAME", help="a prepared TFDS dataset instead of a path")
    parser.add_argument("--feature", default="text", help="its text feature (default: text)")
    parser.add_argument("--split", default="train", help="its training split (default: train)")
    parser.add_argument("--eval-fraction", type=float, default=0.1, help="share of the text to keep out (default: 0.1)")
    parser.add_argument("--vocab", type=int, default=4096, help="size of the vocabulary (default: 4096)")
    parser.add_argument("--sentinels", type=int, default=0, help="of these, tokens that stand for spans (T5 has 100)")
    parser.add_argument("--out", default="tokenizer.json", help="file to write (default: tokenizer.json)")
    return parser.parse_args(arguments)


def _data(options: argparse.Namespace) -> LanguageData:
    if options.tfds is None:
        return Text(path=options.path, eval_fraction=options.eval_fraction)
    if options.path is not None:
        raise BadInput("a path and --tfds: give one of them")
    return TfdsText(name=options.tfds, feature=options.feature, train_split=options.split, eval_split="")


def _write(out: Path, text: str) -> None:
    """Write the file whole or not at all."""
    part = out.with_name(out.name + f".part-{os.getpid()}")
    part.write_text(text, encoding="utf-8")
    part.replace(out)


if __name__ == "__main__":
    main()
