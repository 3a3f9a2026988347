"""Text of a TFDS dataset, read from array_record files without TensorFlow."""

import os
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from jaxlm.data.documents import Document
from jaxlm.data.text import LanguageData
from jaxlm.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class TfdsText(LanguageData):
    """Spec: a text feature of a TFDS dataset, each example a document.

    Read from the folder `TFDS_DATA_DIR` (else `~/tensorflow_datasets`), where `scripts/prepare_tfds.py` puts it.

    Attributes:
        name: the dataset, with its configuration where it has one: "tiny_shakespeare", "glue/sst2".
        feature: the name of a text feature.
        train_split: the training split, such as "train" or "train[:90%]".
        eval_split: the evaluation split, such as "validation+test"; "" for none.
    """

    name: str = "tiny_shakespeare"
    feature: str = "text"
    train_split: str = "train"
    eval_split: str = "validation"

    def documents(self) -> tuple[Sequence[Document], Sequence[Document]]:
        """Return training and evaluation documents.

        Raises:
            BadInput: the dataset is not prepared, or has no such feature or split.
        """
        builder = open_dataset(self.name)
        return self._split(builder, self.train_split), self._split(builder, self.eval_split) if self.eval_split else []

    def signature(self) -> Hashable:
        """Return where the dataset lies and when it was prepared."""
        folder = find_dataset(self.name)
        return str(folder), (folder / "dataset_info.json").stat().st_mtime_ns

    def _split(self, builder: Any, split: str) -> list[Document]:
        features = builder.info.features
        texts = [
            name for name in features if features[name].shape == () and np.dtype(features[name].np_dtype) == object
        ]
        if self.feature not in texts:
            raise BadInput(f"{self.name} has no text feature {self.feature!r}: it has {', '.join(texts) or 'none'}")
        return [
            Document(
                f"example {number} of {self.name} {split}", partial(np.frombuffer, example[self.feature], np.uint8)
            )
            for number, example in enumerate(read_examples(builder, self.name, split))
        ]


def read_examples(builder: Any, name: str, split: str) -> Iterator[dict[str, Any]]:
    """Yield the examples of a split, read many at a call: one at a time took ten times as long.

    Raises:
        BadInput: no such split.
    """
    try:
        examples = builder.as_data_source(split=split)
    except (KeyError, ValueError):
        splits = ", ".join(builder.info.splits)
        raise BadInput(f"{name} has no split {split!r}: it has {splits}, slices and sums of them") from None
    for start in range(0, len(examples), 4096):
        yield from examples.__getitems__(range(start, min(start + 4096, len(examples))))


def find_dataset(name: str) -> Path:
    """Return the folder of the newest prepared version of a dataset.

    Looked for before tfds is asked, since a missing dataset makes tfds retry a download for minutes.

    Raises:
        BadInput: it is not there; says what to run.
    """
    home = Path(os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser()
    versions = [info.parent for info in (home / name).glob("*/dataset_info.json") if _version(info.parent)]
    if not name or not versions:
        raise BadInput(
            f"the TFDS dataset {name!r} is not prepared in {home} (TFDS_DATA_DIR): "
            f"run `python scripts/prepare_tfds.py {name}` once, or set TFDS_DATA_DIR to where it is"
        )
    return max(versions, key=_version)


def _version(folder: Path) -> tuple[int, ...]:
    """Return the numbers of a folder named like 1.0.0; () for any other."""
    numbers = folder.name.split(".")
    return tuple(map(int, numbers)) if all(number.isdecimal() for number in numbers) else ()


def open_dataset(name: str) -> Any:
    """Return the tfds builder of a prepared dataset.

    Raises:
        BadInput: it is not prepared, or not as array_record.
    """
    folder = find_dataset(name)
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(folder)
    if builder.info.file_format is not tfds.core.FileFormat.ARRAY_RECORD:
        raise BadInput(
            f"{folder} holds {builder.info.file_format.value} files, which need TensorFlow: "
            f"run `python scripts/prepare_tfds.py {name}` with another TFDS_DATA_DIR"
        )
    return builder
