"""Feedback as a training set, in the form that the fine-tuning experiments read."""

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from jaxlm.errors import BadInput
from jaxlm.serve.feedback.inputs import read_input
from jaxlm.serve.feedback.store import Told

LONGEST = 255  # bytes of a folder's name


def write_dataset(folder: Path, told: Iterable[Told]) -> Counter[str]:
    """Write feedback to inputs of one kind as a data set: files that `--data.path` and its like take.

    Texts become train.jsonl (text or first and second, label), images a folder for each class, tables train.csv,
    recordings sound files with train.jsonl, questions train.json as SQuAD has it, conversations train.jsonl.

    Args:
        folder: empty.
        told: feedback; that without a label or a correction is counted and left out.

    Returns:
        How many examples were written, by label where there are labels; "(left out)" counts the others, and
        "(of another form)" those whose input is none of their kind, which a client may have sent.

    Raises:
        BadInput: nothing to write, or inputs of several kinds.
    """
    found, counts = [], Counter[str]()
    for one in told:
        if one.label is None and one.correction is None:
            counts["(left out)"] += 1
        elif (read := _read(one)) is None:
            counts["(of another form)"] += 1
        else:
            found.append(read)
            counts[one.label if one.label is not None else one.kind] += 1
    kinds = sorted({one.kind for one in found})
    if not found:
        raise BadInput(
            "nothing to write: no feedback has a label or a correction, and an input that its model reads: serve with "
            "--keep-predictions, or send the input with the feedback"
        )
    if len(kinds) > 1 or kinds[0] not in WRITERS:
        raise BadInput(f"feedback on inputs of the kinds {', '.join(kinds)}: choose one model with --model")
    WRITERS[kinds[0]](folder, found)
    return counts


def _read(one: Told) -> Told | None:
    """Return feedback with its raw input, or None where that is none of its kind or cannot be written as UTF-8."""
    try:
        json.dumps([one.input, one.correction], ensure_ascii=False).encode()
        return one._replace(input=read_input(one.kind, one.input))
    except (BadInput, UnicodeEncodeError):
        return None


def _right(one: Told) -> Any:
    return one.label if one.correction is None else one.correction


def _lines(folder: Path, rows: Iterable[Any]) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "train.jsonl").write_text(text, "utf-8")


def _texts(folder: Path, told: Sequence[Told]) -> None:
    _lines(folder, ({"text": one.input, "label": _right(one)} for one in told))


def _pairs(folder: Path, told: Sequence[Told]) -> None:
    _lines(folder, ({"first": one.input[0], "second": one.input[1], "label": _right(one)} for one in told))


def _images(folder: Path, told: Sequence[Told]) -> None:
    for number, one in enumerate(told):
        name = str(one.label)
        long = len(name.encode()) > LONGEST
        if one.label is None or "/" in name or name in ("", ".", "..") or "\0" in name or long:
            raise BadInput(f"the label {name[:60]!r} cannot be the name of a folder: correct the feedback")
        (folder / name).mkdir(exist_ok=True)
        (folder / name / f"{number:06}").with_suffix(_suffix(one.input)).write_bytes(one.input)


def _suffix(content: bytes) -> str:
    starts = {b"\x89PNG": ".png", b"\xff\xd8": ".jpg", b"GIF8": ".gif", b"RIFF": ".webp", b"BM": ".bmp"}
    return next((suffix for start, suffix in starts.items() if content.startswith(start)), ".png")


def _rows(folder: Path, told: Sequence[Told]) -> None:
    columns = list(dict.fromkeys(name for one in told for name in one.input))
    with (folder / "train.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*columns, "label"])
        for one in told:
            cells = (one.input.get(name) for name in columns)
            writer.writerow([*("" if cell is None else cell for cell in cells), _right(one)])


def _sounds(folder: Path, told: Sequence[Told]) -> None:
    rows = []
    for number, one in enumerate(told):
        suffix = {b"fLaC": ".flac", b"OggS": ".ogg"}.get(one.input[:4], ".wav")
        (folder / f"{number:06}{suffix}").write_bytes(one.input)
        rows.append({"audio": f"{number:06}{suffix}", "text": _right(one)})
    _lines(folder, rows)


def _questions(folder: Path, told: Sequence[Told]) -> None:
    articles = []
    for number, one in enumerate(told):
        text, (question, context) = str(_right(one)), one.input
        if text not in context:
            raise BadInput(f"the answer {text!r} is not in its context: correct the feedback")
        answers = [{"text": text, "answer_start": context.index(text)}]
        asked = [{"id": str(number), "question": question, "answers": answers}]
        articles.append({"title": str(number), "paragraphs": [{"context": context, "qas": asked}]})
    content = {"version": "1.1", "data": articles}
    (folder / "train.json").write_text(json.dumps(content, ensure_ascii=False) + "\n", "utf-8")


def _chats(folder: Path, told: Sequence[Told]) -> None:
    answers = ({"role": "assistant", "content": _right(one)} for one in told)
    _lines(folder, ({"messages": [*one.input, answer]} for one, answer in zip(told, answers, strict=True)))


WRITERS: dict[str, Callable[[Path, Sequence[Told]], None]] = {
    "text": _texts,
    "pair": _pairs,
    "prompt": _texts,
    "image": _images,
    "row": _rows,
    "audio": _sounds,
    "question": _questions,
    "chat": _chats,
}
