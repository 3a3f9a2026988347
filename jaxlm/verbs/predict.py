"""`jaxlm predict`: answers of a run's model for texts, images, recordings, questions, conversations and tables."""

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxlm.errors import BadInput, join_reasons

# of predictors, see `Predictor.with_options`
OPTIONS = "top length temperature top_p seed speaker speed vocoder skip_rows guidance steps score".split()
COLUMN = 60  # characters of an input that a table shows


class Input(NamedTuple):
    """A raw input, and what to call it in a table or a message."""

    name: str
    value: Any


def predict(words: argparse.Namespace) -> int:
    """Print an answer for each input, as a table or as JSON lines.

    Nothing is printed before every input has its answer. An input that cannot be read is an error that names it; with
    `--skip-broken` it is named on the standard error, and is {"error": ...} among the JSON lines.

    Raises:
        BadInput: no run, an input that cannot be read, or an option that the run's predictor does not have.
    """
    from jaxlm.export.load import load_model
    from jaxlm.predict.classes import ClassProbabilities
    from jaxlm.predict.images import ReadImages
    from jaxlm.predict.predictor import answer_all
    from jaxlm.predict.sound.speech import ReadSpeech
    from jaxlm.predict.tables.rows import EncodeRows, RowClass
    from jaxlm.predict.vision.boxes import ReadScenes

    check_given(words)
    loaded = load_model(words.run, words.step)
    chosen = {name: getattr(words, name) for name in OPTIONS if getattr(words, name) is not None}
    predictor = loaded.predictor.with_options(**chosen)
    if isinstance(predictor.preprocess, EncodeRows):
        inputs = list(read_rows(words, predictor.preprocess))
    else:
        inputs = list(read_inputs(words, getattr(predictor.preprocess, "columns", ())))
    inputs += [Input(f"user {name}", {"user": name}) for name in words.user]
    # a path is never cut, a text that names itself is
    if not isinstance(predictor.preprocess, ReadImages | ReadScenes | ReadSpeech):
        inputs = [Input(shorten(one.name) or '""', one.value) if one.name == one.value else one for one in inputs]
    if words.proba and not isinstance(predictor.postprocess, ClassProbabilities | RowClass):
        raise BadInput(f"{words.run} is not a run of a classifier: leave --proba out")
    if words.batch is not None and words.batch < 1:
        raise BadInput(f"--batch is {words.batch}: it must be at least 1")
    answers = answer_all(predictor, loaded.variables, [one.value for one in inputs], batch=words.batch)
    found = keep_files(checked(inputs, answers, words.skip_broken), words.output)
    count_noted(found)
    lines = json_lines(found) if words.json else table_lines(found, words)
    for line in lines:
        print(line)
    return 0


Answered = tuple[Input, Any]  # an answer, or the BadInput that stands for it


def checked(inputs: list[Input], answers: Iterable[Any], skip: bool) -> list[Answered]:
    """Return inputs with their answers.

    Raises:
        BadInput: inputs that cannot be read, all named, unless they are skipped; or all of them are.
    """
    found = list(zip(inputs, answers, strict=True))
    broken = [(one.name, answer) for one, answer in found if isinstance(answer, BadInput)]
    if broken and not skip:
        reasons = join_reasons([f"{name}: {answer}" for name, answer in broken])
        count = f"{len(broken)} of {len(found)} inputs cannot be read: " if len(broken) > 1 else ""
        raise BadInput(f"{count}{reasons}, or add --skip-broken")
    for name, answer in broken:
        print(f"skipped {name}: {answer}", file=sys.stderr)
    if len(broken) == len(found):
        raise BadInput("none of the inputs can be read")
    return found


def keep_files(found: list[Answered], folder: str | None) -> list[Answered]:
    """Write sound and pictures among the answers to WAV and PNG files, and name these in their place.

    Boxes are drawn on their image where a folder is given.

    Args:
        found: inputs with their answers.
        folder: where to write; None: the current folder, and no answer need have sound or a picture.

    Raises:
        BadInput: a file cannot be written, or a folder is given and no answer has sound, a picture or boxes.
    """
    kinds = {"samples", "pixels"} | ({"boxes"} if folder is not None else set())
    if not any(isinstance(answer, dict) and answer.keys() & kinds for _, answer in found):
        if folder is not None:
            raise BadInput(
                "--output is for answers that are sound, pictures or boxes, and this run gives none: leave it out"
            )
        return found
    from jaxlm.predict.files import keep_file

    home, kept = Path(folder or ".").expanduser(), []
    for number, (one, answer) in enumerate(found, 1):
        if isinstance(answer, dict):
            name = re.sub(r"[^a-z0-9]+", "-", one.name.rpartition("/")[2].lower()).strip("-")
            speaker = re.sub(r"[^\w.-]+|^\.+", "-", answer.get("speaker", ""))
            path = home / "-".join(filter(None, [f"{number:04}", name, speaker]))
            answer = keep_file(path, answer, one.value)
        kept.append((one, answer))
    return kept


def json_lines(found: list[Answered]) -> Iterator[str]:
    """Yield one JSON object an input."""
    for _, answer in found:
        yield json.dumps({"error": str(answer)} if isinstance(answer, BadInput) else answer)


def table_lines(found: list[Answered], words: argparse.Namespace) -> Iterator[str]:
    """Yield one line an input for people; those that are skipped are left out."""
    whole = [(one, answer) for one, answer in found if not isinstance(answer, BadInput)]
    width = max((len(one.name) for one, _ in whole), default=0)
    for one, answer in whole:
        match answer:
            case {"label": label, "probability": share, "probabilities": shares}:
                pairs = shares.items() if words.proba or words.top else [(label, share)]
                yield f"{one.name:{width}}  " + "  ".join(f"{name} {p:.4f}" for name, p in pairs)
            case {"answer": text, "start": start, "end": end, "probability": share}:
                yield f"{one.name:{width}}  {text or '-'} [{start}:{end}] {share:.4f}"
                for a in answer.get("answers", []):
                    yield f"  {a['answer'] or '-'} [{a['start']}:{a['end']}] {a['probability']:.4f}"
            case {"value": value}:
                yield f"{one.name:{width}}  {value:.6g}"
            case {"entities": entities}:
                shown = [f"{e['type']} {e['text']} [{e['start']}:{e['end']}]" for e in entities]
                yield f"{one.name:{width}}  " + ("  ".join(shown) or "-")
            case {"text": text, "words": _}:
                yield f"{one.name:{width}}  {text}"
            case {"audio": path, "seconds": seconds}:
                yield f"{one.name:{width}}  {path}  {seconds:.2f} s"
            case {"items": names, "scores": scores}:
                pairs = zip(names, scores, strict=True)
                yield f"{one.name:{width}}  " + "  ".join(f"{name} {score:.4f}" for name, score in pairs)
            case {"boxes": boxes}:
                shown = [f"{b['label']} {b['score']:.2f} [{', '.join(f'{x:g}' for x in b['box'])}]" for b in boxes]
                yield f"{one.name:{width}}  " + ("  ".join([*shown, *filter(None, [answer.get("picture")])]) or "-")
            case {"picture": path, "height": high, "width": wide}:
                yield f"{one.name:{width}}  {path}  {wide} x {high}"
            case {"text": text}:
                yield f"{one.value if isinstance(one.value, str) else one.name}|{text}"
                for guesses in answer.get("masks", []) if words.top else []:
                    yield "  " + "  ".join(f"{guess['token']} {guess['probability']:.4f}" for guess in guesses)
            case _:
                yield f"{one.name:{width}}  {json.dumps(answer)}"


def check_given(words: argparse.Namespace) -> None:
    """Raise BadInput where the command line has no inputs, or a column of no file."""
    if not words.inputs and not words.user and words.file is None:
        raise BadInput(
            "nothing to predict for: give texts or image files, --user NAME, --file FILE, or - for the standard input"
        )
    if words.column and words.file is None:
        raise BadInput("--column names a column of a file: give the file with --file")


def read_inputs(words: argparse.Namespace, columns: Sequence[str] = ()) -> Iterator[Input]:
    """Yield the inputs of the command line, of the standard input for "-", and of --file.

    Args:
        words: the command line.
        columns: those to read of a file, where no --column names others.

    Raises:
        BadInput: a file or a column that cannot be read.
    """
    from jaxlm.data.readers.text import decode_text, to_lines

    for word in words.inputs:
        if word == "-":
            text = decode_text(sys.stdin.buffer.read(), "the standard input")
            yield from (Input(line, line) for line in to_lines(text))
        else:
            yield Input(word, word)
    if words.file is not None:
        yield from read_file(Path(words.file).expanduser(), words.column, columns)


def read_rows(words: argparse.Namespace, preprocess: Any) -> Iterator[Input]:
    """Yield the rows of the tables that the command line names, or gives as JSON; the standard input has JSON lines.

    Columns that the model does not read are named on the standard error, once for each file.

    Args:
        words: the command line.
        preprocess: an `EncodeRows`.

    Raises:
        BadInput: a file cannot be read, or has not all columns.
    """
    from jaxlm.data.readers.json_text import parse_object
    from jaxlm.data.readers.records import read_json_lines
    from jaxlm.data.readers.text import decode_text

    if words.column:
        raise BadInput("--column is for texts, and this run reads columns by their names: leave it out")
    for word in [*words.inputs, *([] if words.file is None else [words.file])]:
        if word == "-":
            text = decode_text(sys.stdin.buffer.read(), "the standard input")
            yield from (Input(f"line {n}", row) for n, row in read_json_lines(Path("the standard input"), text))
            continue
        if word.startswith("{"):
            yield Input(word, parse_object(word, "the row"))
            continue
        rows, extra = preprocess.read_file(Path(word).expanduser())
        if extra:
            print(f"{word}: columns that this run does not read: {', '.join(extra)}", file=sys.stderr)
        yield from (Input(place, row) for place, row in rows)


def count_noted(found: list[Answered]) -> None:
    """Count on the standard error the rows with unknown categories, and those with cells that were filled in."""
    texts = {"unknown": "with a category unknown in training", "filled": "filled with the median of training"}
    for key, text in texts.items():
        answers = [answer for _, answer in found if isinstance(answer, dict)]
        counts = Counter(column for answer in answers for column in answer.get(key, ()))
        for column, count in counts.items():
            print(f"{column}: {count} of {len(found)} rows {text}", file=sys.stderr)


def read_file(path: Path, columns: Sequence[str], usual: Sequence[str] = ()) -> Iterator[Input]:
    """Yield the inputs of a .csv, .tsv or .jsonl file by column, or the lines of another one.

    Raises:
        BadInput: no such file, text of another encoding, or no such column.
    """
    from jaxlm.data.readers.records import SUFFIXES, read_records
    from jaxlm.data.readers.text import read_text, to_lines

    if path.suffix in SUFFIXES:
        for line, record in read_records(path):
            yield Input(f"{path} line {line}", read_columns(f"{path} line {line}", record, columns or usual))
    elif columns:
        raise BadInput(f"{path} is a file of lines and has no columns: leave --column out")
    else:
        yield from (Input(f"{path} line {number}", line) for number, line in enumerate(to_lines(read_text(path)), 1))


def read_columns(place: str, record: dict[str, Any], columns: Sequence[str]) -> Any:
    """Return the input in a record: what is in its one column, or a list of what is in several."""
    from jaxlm.data.readers.records import to_text

    has = ", ".join(record)
    if not columns and len(record) != 1:
        raise BadInput(f"{place} has the columns {has}: name the one to read with --column")
    chosen = columns or list(record)
    if missing := [name for name in chosen if record.get(name) is None]:
        raise BadInput(f"{place} has no {missing[0]!r} (it has {has}): name another with --column")
    read = {name: record[name] for name in chosen}
    values = [v if isinstance(v, list | dict) else to_text(v, place, name) for name, v in read.items()]
    return values[0] if len(values) == 1 else values


def shorten(text: str) -> str:
    """Return a text as one short line."""
    line = " ".join(text.split())
    return line if len(line) <= COLUMN else line[: COLUMN - 3] + "..."
