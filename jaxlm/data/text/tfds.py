"""Text of a TFDS dataset, read from array_record files without TensorFlow."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from jaxlm.data.text.documents import Document
from jaxlm.data.text.specs import LanguageData
from jaxlm.data.tfds import find_dataset, open_dataset, read_examples
from jaxlm.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class TfdsText(LanguageData):
    """Spec: a text feature of a TFDS dataset; each example is a document.

    It is read from the folder `TFDS_DATA_DIR` (else `~/tensorflow_datasets`), where `scripts/prepare_tfds.py` puts it.

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
        """Return the folder of the dataset and when it was prepared."""
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
