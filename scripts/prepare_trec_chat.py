"""Write the TREC questions as instructions and as preferences, in JSON lines.

    python scripts/prepare_trec_chat.py FOLDER OUT

FOLDER holds train_5500.label (Li and Roth 2002). OUT gets chat_{train,eval}.jsonl, where the answer to a question is
the kind of thing that it asks for, and preferences_{train,eval}.jsonl, where that is preferred over another kind.
Every 10th question is held out for evaluation.
"""

import argparse
import json
from pathlib import Path
from typing import Any

KINDS = {
    "ABBR": "a short form",
    "DESC": "a description",
    "ENTY": "a thing",
    "HUM": "a person",
    "LOC": "a place",
    "NUM": "a number",
}


def main() -> None:
    """Read the command line and write the four files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    words = parser.parse_args()
    lines = (words.folder / "train_5500.label").read_text(encoding="latin-1").splitlines()
    words.out.mkdir(parents=True, exist_ok=True)
    for part, chosen in (("train", lambda i: i % 10 != 0), ("eval", lambda i: i % 10 == 0)):
        examples = [example(number, line) for number, line in enumerate(lines) if chosen(number)]
        for name, write in (("chat", as_chat), ("preferences", as_preference)):
            text = "".join(json.dumps(write(*one)) + "\n" for one in examples)
            (words.out / f"{name}_{part}.jsonl").write_text(text)
            print(f"{words.out}/{name}_{part}.jsonl: {len(examples)} lines")


def example(number: int, line: str) -> tuple[str, str, str]:
    """Return the question of a line, its kind, and another kind that follows from the line's number."""
    label, _, question = line.partition(" ")
    kinds = list(KINDS.values())
    right = KINDS[label.partition(":")[0]]
    return question.strip(), right, kinds[(kinds.index(right) + 1 + number % 5) % 6]


def as_chat(question: str, right: str, wrong: str) -> dict[str, Any]:
    """Return the question and its kind as a conversation."""
    del wrong
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": right}]}


def as_preference(question: str, right: str, wrong: str) -> dict[str, Any]:
    """Return the question, its kind and another one."""
    return {"messages": [{"role": "user", "content": question}], "chosen": right, "rejected": wrong}


if __name__ == "__main__":
    main()
