"""`jaxlm new`: an experiment and a config of the user's own, which run at once on the user's data."""

import argparse
import keyword
import math
import os
import sys
from pathlib import Path
from string import Template
from typing import Any

from jaxlm.errors import BadInput
from jaxlm.runs.files import write_atomic
from jaxlm.runs.shipped import find_file, folders

TEMPLATES = Path(__file__).parent / "templates"
EXPERIMENTS = {
    "labelled_texts": "text_classification",
    "class_table": "tabular_classification",
    "number_table": "tabular_regression",
    "images": "image_classification",
    "text": "language_model",
}
KINDS = {"csv": "labelled_texts", "jsonl": "labelled_texts", "table": "table", "images": "images", "text": "text"}
LEAST = 10  # rows
MANY = 20  # different numbers in a column that are a quantity and not classes


def new(args: argparse.Namespace) -> int:
    """Write NAME.py and NAME_config.py, check them on the data, and print how to go on."""
    kind, path = args.data
    check_name(args.name)
    if kind not in KINDS:
        raise BadInput(f"--data {kind}: there are {', '.join(KINDS)}, as in --data csv FILE")
    source = Path(path).expanduser()
    if not source.exists():
        raise BadInput(f"there is no {path}: give the file or folder with your data")
    template = target_kind(source, args.label or "label") if kind == "table" else KINDS[kind]
    values = {
        "labelled_texts": of_texts,
        "class_table": of_classes,
        "number_table": of_numbers,
        "images": of_images,
        "text": of_text,
    }[template](source, args)
    path = os.path.abspath(source)
    values |= {"name": args.name, "file": source.name, "path": repr(path)}
    shipped = find_file("experiment", str(folders("experiment")[-1] / EXPERIMENTS[template])).read_text("utf-8")
    _, _, code = shipped.removeprefix('"""').partition('"""')
    config = Template((TEMPLATES / f"{template}.txt").read_text("utf-8")).substitute(values)
    head = f'"""{args.name}: begins as the experiment {EXPERIMENTS[template]} of jaxlm; change what you like.\n\n'
    texts = {
        Path(f"{args.name}.py"): f'{head}    jaxlm train {args.name}_config\n"""{code}',
        Path(f"{args.name}_config.py"): config,
    }
    write_checked(texts)
    print(f"written: {', '.join(map(str, texts))}")
    print(f"train it with: jaxlm train {args.name}_config")
    return 0


def check_name(name: str) -> None:
    """Raise BadInput for a name that no file of the user's can have."""
    if not name.isidentifier() or keyword.iskeyword(name) or name in sys.stdlib_module_names:
        raise BadInput(f"{name!r} cannot be the name of a Python module: use letters, digits and _, as in my_model")
    if name in {path.stem for kind in ("experiment", "config") for path in folders(kind)[-1].glob("*.py")}:  # type: ignore[arg-type]
        raise BadInput(f"jaxlm has a {name} already: choose another name")
    for path in (Path(f"{name}.py"), Path(f"{name}_config.py")):
        if path.exists():
            raise BadInput(f"{path} is there already: choose another name, or remove it")


def write_checked(texts: dict[Path, str]) -> None:
    """Write files of which the last is a config; remove them again if its data do not fit its model."""
    from jaxlm.train.config import load_config

    try:
        for path, text in texts.items():
            write_atomic(path, text)
        config = load_config(list(texts)[-1])
        config.data.check(config.model)
    except BaseException:
        for path in texts:
            path.unlink(missing_ok=True)
        raise


def of_texts(source: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Return what the template of labelled texts needs: the columns, the number of classes and the batch."""
    from jaxlm.data.readers.records import read_records

    records = [record for _, record in read_records(source)]
    if len(records) < LEAST:
        raise BadInput(f"{source} has {len(records)} rows: give {LEAST} or more")
    columns = list(records[0])
    text, label = args.text or "text", args.label or "label"
    for option, column in (("--text", text), ("--label", label)):
        if column not in columns:
            raise BadInput(f"{source} has the columns {', '.join(columns)}: say which one to read with {option} COLUMN")
    classes = len({str(record.get(label)).strip() for record in records})
    if classes > len(records) // 2:
        raise BadInput(f"the column {label} has {classes} different values in {len(records)} rows: name one of classes")
    return {
        "text": repr(text),
        "label": repr(label),
        "classes": classes,
        "batch": largest_power_of_two(len(records) * 4 // 5),
    }


def target_kind(source: Path, column: str) -> str:
    """Return "number_table" where a column of a table has many different numbers, else "class_table"."""
    from jaxlm.data.tables.frames import read_frame

    frame = read_frame(source)
    if len(frame) < LEAST:
        raise BadInput(f"{source} has {len(frame)} rows: give {LEAST} or more")
    if column not in frame:
        names = ", ".join(frame.columns)
        raise BadInput(f"{source} has the columns {names}: say which one to predict with --label COLUMN")
    cells = {str(cell) for cell in frame[column]}
    return "number_table" if len(cells) > MANY and all(map(is_number, cells)) else "class_table"


def is_number(cell: str) -> bool:
    """Return whether a cell is a finite number."""
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def of_classes(source: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Return what the template of a table with classes needs: their number, and what `of_numbers` returns."""
    from jaxlm.data.tables import ClassTable

    table = ClassTable(train_file=str(source), folds=5, target=args.label or "label", batch=1)
    return {**of_table(table), "classes": len(table.names())}


def of_numbers(source: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Return what the template of a table with a number to predict needs: column, categories and batch."""
    from jaxlm.data.tables import RegressionTable

    return of_table(RegressionTable(train_file=str(source), folds=5, target=args.label or "label", batch=1))


def of_table(table: Any) -> dict[str, Any]:
    """Return the column to predict, the size of the table of categories, and the batch, of a spec."""
    loaded = table.loaded()
    batch = largest_power_of_two(len(table.train()) // 8, 256)
    return {"label": repr(table.target), "vocab": max(loaded.schema.vocab, 1), "batch": batch}


def of_images(source: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Return what the template of images needs: the number of classes and the batch."""
    from jaxlm.data.images.folder import find_images

    names, files = find_images(source / "train" if (source / "train").is_dir() else source)
    return {"classes": len(names), "batch": largest_power_of_two(len(files) * 4 // 5)}


def of_text(source: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Return what the template of text needs: the length of its rows and the batch."""
    files = [source] if source.is_file() else [path for path in source.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    length = largest_power_of_two(size // 40, 128)
    return {"length": length, "batch": largest_power_of_two(size * 9 // 10 // (length + 1), 16)}


def largest_power_of_two(limit: int, most: int = 32) -> int:
    """Return the largest power of two that is at most two numbers; 1 for less."""
    return 1 << (max(min(limit, most), 1).bit_length() - 1)
