"""Sources of interactions: a file with columns, the layout of CiteULike, a TFDS dataset."""

import math
from collections.abc import Hashable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jaxlm.data.interactions.log import InteractionLog, make_log
from jaxlm.data.readers.records import read_records, to_text
from jaxlm.data.readers.text import BLANK, decode_text, is_blank, read_text, to_lines
from jaxlm.data.tfds import find_dataset, open_dataset, read_examples
from jaxlm.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class CiteULike:
    """Spec: the layout of CiteULike-a (Wang and Blei 2011): line u, from 0, is a count and the items of user u.

    Attributes:
        path: the file, such as users.dat.
    """

    path: str = "users.dat"

    def read(self) -> InteractionLog:
        """Read the file.

        Raises:
            BadInput: it cannot be read, or a line is not a count and as many items; names file and line.
        """
        path = Path(self.path).expanduser()
        users: list[str] = []
        items: list[str] = []
        for number, line in enumerate(to_lines(read_text(path)), 1):
            words = line.split()
            if not words or not all(word.isascii() and word.isdecimal() for word in words):
                raise BadInput(f"{path} line {number}: not a count and the numbers of items: correct it")
            if (words[0].lstrip("0") or "0") != str(len(words) - 1):
                raise BadInput(
                    f"{path} line {number}: the count is {words[0][:20]} and {len(words) - 1} items follow: correct it"
                )
            users += [str(number - 1)] * (len(words) - 1)
            items += [word.lstrip("0") or "0" for word in words[1:]]
        return make_log(users, items, None, str(path))

    def signature(self) -> Hashable:
        """Return the size and time of the file."""
        return _signature(self.path)


@dataclass(frozen=True, kw_only=True)
class InteractionFile:
    """Spec: users and items in columns of a .csv or .tsv file (the first line names them), or keys of a .jsonl file.

    White space around the name of a user or an item is not part of it.

    Attributes:
        path: the file.
        user: the column of the user.
        item: the column of the item.
        time: the column of the time, a number or a date of ISO 8601 (without a zone it is UTC); "": there is none.
    """

    path: str = "interactions.csv"
    user: str = "user"
    item: str = "item"
    time: str = ""

    def read(self) -> InteractionLog:
        """Read the file.

        Raises:
            BadInput: it cannot be read, or a line lacks a column or has another time; names file and line.
        """
        path = Path(self.path).expanduser()
        users: list[str] = []
        items: list[str] = []
        times: list[float] = []
        for line, record in read_records(path):
            place = f"{path} line {line}"
            columns = (self.user, self.item, self.time) if self.time else (self.user, self.item)
            if missing := [name for name in columns if record.get(name) is None]:
                raise BadInput(
                    f"{place}: no {missing[0]!r} there (it has {', '.join(record)}): correct it, or name the column"
                )
            user, item, *moment = (to_text(record[name], place, name).strip(BLANK) for name in columns)
            for name, value in ((self.user, user), (self.item, item)):
                if is_blank(value):
                    raise BadInput(f"{place}: {name!r} is empty: name it, or leave the line out")
            users.append(user)
            items.append(item)
            times += [_to_seconds(text, place, self.time) for text in moment]
        return make_log(users, items, times if self.time else None, str(path))

    def signature(self) -> Hashable:
        """Return the size and time of the file."""
        return _signature(self.path)


def _signature(name: str) -> Hashable:
    path = Path(name).expanduser()
    return (path.stat().st_size, path.stat().st_mtime_ns) if path.is_file() else None


def _to_seconds(text: str, place: str, column: str) -> float:
    """Return a time as a number that grows with it: the number itself, or the seconds since 1970 of a date."""
    try:
        return _finite(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadInput(
            f"{place}: {column!r} is {text[:40]!r}, neither a number nor a date such as 2024-05-17T08:30:00: correct it"
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


@dataclass(frozen=True, kw_only=True)
class TfdsInteractions:
    """Spec: a TFDS dataset of ratings, of which every one counts as an interaction (He et al. 2017, section 4.1).

    Attributes:
        name: the dataset, with its configuration.
        split: of the dataset.
        user: the name of the feature of the user.
        item: that of the item.
        time: that of the time; "": there is none.
    """

    name: str = "movielens/1m-ratings"
    split: str = "train"
    user: str = "user_id"
    item: str = "movie_id"
    time: str = "timestamp"

    def read(self) -> InteractionLog:
        """Read the dataset.

        Raises:
            BadInput: it is not prepared, or has no such feature or split.
        """
        builder = open_dataset(self.name)
        features = builder.info.features
        if missing := [name for name in (self.user, self.item, self.time) if name and name not in features]:
            raise BadInput(f"{self.name} has no feature {missing[0]!r}: it has {', '.join(sorted(features))}")
        rows: list[tuple[str, str, float]] = []
        for number, example in enumerate(read_examples(builder, self.name, self.split)):
            place = f"example {number} of {self.name} {self.split}"
            time = float(example[self.time]) if self.time else 0.0
            rows.append((_name(example[self.user], place), _name(example[self.item], place), time))
        times = [time for _, _, time in rows] if self.time else None
        return make_log([one for one, _, _ in rows], [one for _, one, _ in rows], times, f"{self.name} {self.split}")

    def signature(self) -> Hashable:
        """Return the folder of the dataset and when it was prepared."""
        folder = find_dataset(self.name)
        return str(folder), (folder / "dataset_info.json").stat().st_mtime_ns


def _name(value: Any, place: str) -> str:
    return decode_text(value, place) if isinstance(value, bytes) else str(value)
