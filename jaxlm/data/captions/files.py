"""Images with captions from a table: the tiles of a sheet, or files of a folder."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxlm.data.arrays import ArraySource
from jaxlm.data.captions.captioned import Captioned, Captions
from jaxlm.data.epoch import Epoch, permutation
from jaxlm.data.images.decode import MAX_PIXELS, decode
from jaxlm.data.images.decoded import UNREADABLE, Decoded, Subset, load_images, refuse_broken
from jaxlm.data.images.folder import FolderFiles
from jaxlm.data.order import RowSource
from jaxlm.data.readers.records import read_records, to_text
from jaxlm.data.readers.text import file_bytes
from jaxlm.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class CaptionFile(Captioned):
    """Spec: a .csv, .tsv or .jsonl file with a caption for each image.

    Attributes:
        path: the file.
        caption: the column of the captions.
        sheet: an image with the images as tiles, row by row, in the order of the file; None: they are files.
        file: the column with the path of each image, from the folder of `path`, where there is no sheet.
        size: height and width of an image: of the tiles of a sheet; files are resized to it.
        channels: 3 for colour, 1 for grey.
        group: a column; images of one value are in the same part. None: each image by itself.
        eval_fraction: about which fraction of the images is for evaluation, chosen at random, the same for every seed.
        batch: images in a training batch.
        eval_batch: images in an evaluation batch; None: as in training.
        max_pixels: the most pixels that an image, or the sheet, may have.
    """

    path: str = "captions.csv"
    caption: str = "caption"
    sheet: str | None = None
    file: str = "file"
    size: int = 32
    channels: int = 3
    group: str | None = None
    eval_fraction: float = 0.05
    batch: int = 128
    eval_batch: int | None = None
    max_pixels: int = MAX_PIXELS

    @property
    def batch_sizes(self) -> tuple[int, int]:
        """Return the images in a training batch and in an evaluation batch."""
        return self.batch, self.eval_batch or self.batch

    def signature(self) -> Hashable:
        """Return sizes and times of the table and of the sheet."""
        table = Path(self.path).expanduser()
        files = [table, *([table.parent / Path(self.sheet).expanduser()] if self.sheet is not None else [])]
        return tuple((file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file())

    def load(self) -> tuple[Captions, Captions]:
        """Return the images and captions of both parts.

        Raises:
            BadInput: the table or an image cannot be read, a column is missing, or the sheet has too few tiles.
        """
        path = Path(self.path).expanduser()
        lines, records = [], []
        for line, record in read_records(path):
            lines.append(line)
            records.append(record)
        if not records:
            raise BadInput(f"{path} has no captions: give a .csv, .tsv or .jsonl file with a column of captions")
        texts = [self._value(path, line, one, self.caption) for line, one in zip(lines, records, strict=True)]
        if self.sheet is None:
            names = [self._value(path, line, one, self.file) for line, one in zip(lines, records, strict=True)]
            images = self._files([path.parent / name for name in names])
        else:
            sheet = Path(self.sheet).expanduser()
            images = ArraySource({"image": self._tiles(path.parent / sheet, len(texts))})
        groups = [str(row) for row in range(len(texts))]
        if self.group is not None:
            groups = [self._value(path, line, one, self.group) for line, one in zip(lines, records, strict=True)]
        chosen = chosen_groups(groups, self.eval_fraction)
        parts = [self._part(path, images, texts, lines, rows) for rows in (~chosen, chosen)]
        return parts[0], parts[1]

    def _part(
        self, path: Path, images: RowSource, texts: Sequence[str], lines: Sequence[int], chosen: np.ndarray
    ) -> Captions:
        rows = np.flatnonzero(chosen)
        numbers = np.arange(len(rows))[:, None]
        return Captions(
            Subset(images, rows),
            [texts[int(row)] for row in rows],
            numbers,
            lambda n: f"{path} line {lines[int(rows[n])]}",
        )

    def _value(self, path: Path, line: int, record: dict, name: str) -> str:
        if name not in record:
            raise BadInput(f"{path} line {line} has no {name!r} (it has {', '.join(record)}): name another column")
        return to_text(record[name], f"{path} line {line}", name)

    def _files(self, paths: Sequence[Path]) -> RowSource:
        files = FolderFiles(tuple(paths), (0,) * len(paths))
        images, broken = load_images(Decoded(files, self.size, self.channels, "squash", self.max_pixels))
        refuse_broken(broken, len(files), str(Path(self.path)))
        return images

    def _tiles(self, path: Path, count: int) -> np.ndarray:
        """Return the first tiles of the sheet, uint8 [count, size, size, channels]."""
        try:
            sheet = decode(file_bytes(path), None, self.channels, "squash", None, self.max_pixels)
        except UNREADABLE as error:
            raise BadInput(f"{path} is not a readable image ({error}): give the sheet with data.sheet") from None
        rows, columns = sheet.shape[0] // self.size, sheet.shape[1] // self.size
        if rows * columns < count:
            raise BadInput(
                f"{path} is {sheet.shape[1]} x {sheet.shape[0]} and has {rows * columns} tiles of {self.size} x "
                f"{self.size}, and {self.path} has {count} captions: give the sheet of these, or set data.size"
            )
        grid = sheet[: rows * self.size, : columns * self.size].reshape(rows, self.size, columns, self.size, -1)
        return np.ascontiguousarray(grid.swapaxes(1, 2).reshape(-1, self.size, self.size, self.channels)[:count])


def chosen_groups(groups: Sequence[str], share: float) -> np.ndarray:
    """Choose about a share of rows at random, all those of a group or none, the same for every seed; bool [N].

    Raises:
        BadInput: a part would be empty.
    """
    names = sorted(set(groups))
    count = round(share * len(names))
    if not 0 < count < len(names):
        raise BadInput(f"data.eval_fraction {share} of {len(names)} images or groups leaves a part empty: change it")
    drawn = {names[place] for place in permutation(Epoch(0, 0), len(names))[:count]}
    return np.array([group in drawn for group in groups])
