"""What a service remembers: feedback, and predictions where they are asked to be kept, in SQLite or PostgreSQL.

Nothing that was acknowledged is lost: a thread writes what is waiting in one transaction (group commit), and whoever
waits is told after it is on disk.
"""

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sql
from sqlalchemy.exc import SQLAlchemyError

from jaxlm.errors import BadInput, one_line
from jaxlm.serve.batching import settle_future

DAY = 86400.0
TABLES = sql.MetaData()
PREDICTIONS = sql.Table(
    "predictions",
    TABLES,
    sql.Column("request", sql.String(64), primary_key=True),
    sql.Column("place", sql.Integer, primary_key=True),  # of the input in its request
    sql.Column("time", sql.Float, nullable=False, index=True),
    sql.Column("model", sql.Text, nullable=False),
    sql.Column("digest", sql.String(64), nullable=False),
    sql.Column("kind", sql.Text, nullable=False),
    sql.Column("input", sql.Text, nullable=False),  # JSON
    sql.Column("answer", sql.Text, nullable=False),  # JSON
)
FEEDBACK = sql.Table(
    "feedback",
    TABLES,
    sql.Column("number", sql.Integer, primary_key=True),
    sql.Column("request", sql.String(64), nullable=False, index=True),
    sql.Column("place", sql.Integer, nullable=False),
    sql.Column("time", sql.Float, nullable=False),
    sql.Column("model", sql.Text, nullable=False),
    sql.Column("digest", sql.String(64), nullable=False),
    sql.Column("kind", sql.Text, nullable=False),
    sql.Column("input", sql.Text),  # JSON, or null where the prediction has it
    sql.Column("label", sql.Text),
    sql.Column("correction", sql.Text),  # JSON
    sql.Column("rating", sql.Float),
)


class Told(NamedTuple):
    """Feedback with its input.

    Attributes:
        kind: of the model's inputs, see `Form`.
        input: JSON.
        label: the right class or text, or None.
        correction: the right answer as JSON, or None.
        rating: or None.
        model: that answered.
        digest: of it.
        answer: that it gave, or None where predictions were not kept.
    """

    kind: str
    input: Any
    label: str | None
    correction: Any
    rating: float | None
    model: str
    digest: str
    answer: Any


class Store:
    """A database of feedback and predictions.

    Args:
        url: a file, which becomes a database of SQLite, or the URL of a database, as postgresql://USER@HOST/NAME.
        days: predictions older than this are deleted; None: never.

    Raises:
        BadInput: the database cannot be opened.
    """

    def __init__(self, url: str, days: float | None = None):
        self._days = days
        try:
            self._engine = sql.create_engine(to_url(url), pool_pre_ping=True)  # a server may be started again
            if self._engine.dialect.name == "sqlite":
                sql.event.listen(self._engine, "connect", _durable)
            TABLES.create_all(self._engine)
        except (SQLAlchemyError, ModuleNotFoundError, ValueError) as error:  # a port that is not a number
            raise BadInput(f"the database {hide(url)} cannot be opened: {one_line(error)}") from None
        self._waiting: list[tuple[Any, Any, asyncio.Future]] = []
        self._changed, self._open = threading.Condition(), True
        self._expired = 0.0
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)
        self._thread.start()

    async def add(self, table: sql.Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert rows and return when they are on disk.

        Raises:
            BadInput: the database refused them.
        """
        await self._do(sql.insert(table), list(rows))

    async def forget(self, request: str) -> None:
        """Delete the predictions and the feedback of a request."""
        for table in (PREDICTIONS, FEEDBACK):
            await self._do(sql.delete(table).where(table.c.request == request), None)

    async def _do(self, statement: Any, rows: Any) -> None:
        done = asyncio.get_running_loop().create_future()
        with self._changed:
            if not self._open:
                raise BadInput("the service is ending")
            self._waiting.append((statement, rows, done))
            self._changed.notify()
        await asyncio.shield(done)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and self._open:
                    self._changed.wait()
                group, self._waiting = self._waiting, []
            if not group:
                return
            self._commit(group)
            self._expire()

    def _commit(self, group: list[tuple[Any, Any, asyncio.Future]]) -> None:
        """Write a group in one transaction; where that fails, each alone, so that one of them spoils no other."""
        try:
            self._write(group)
        except Exception as error:  # of the database, or of a value that its driver cannot write
            if len(group) == 1:
                settle_future(group[0][2], error=BadInput(f"the database refused it: {one_line(error)}"))
                return
            for one in group:
                self._commit([one])
            return
        for _, _, done in group:
            settle_future(done)

    def _write(self, group: list[tuple[Any, Any, asyncio.Future]]) -> None:
        with self._engine.begin() as connection:
            for statement, rows, _ in group:
                connection.execute(statement, rows)

    def _expire(self) -> None:
        """Delete old predictions, at most once a minute."""
        if self._days is None or time.monotonic() - self._expired < 60:
            return
        self._expired = time.monotonic()
        with contextlib.suppress(SQLAlchemyError), self._engine.begin() as connection:
            connection.execute(sql.delete(PREDICTIONS).where(PREDICTIONS.c.time < time.time() - self._days * DAY))

    def told(self, model: str | None = None) -> Iterator[Told]:
        """Yield the last feedback to each input, in the order in which it came; what has no input is left out.

        Args:
            model: its name; None: all.
        """
        f, p = FEEDBACK.c, PREDICTIONS.c
        newest = sql.select(sql.func.max(f.number)).group_by(f.request, f.place)
        joined = FEEDBACK.outerjoin(PREDICTIONS, (f.request == p.request) & (f.place == p.place))
        found = sql.select(FEEDBACK, p.input.label("asked"), p.answer).select_from(joined)
        found = found.where(f.number.in_(newest)).order_by(f.number)
        with self._engine.connect() as connection:
            for row in connection.execute(found if model is None else found.where(f.model == model)).mappings():
                given = row["input"] if row["input"] is not None else row["asked"]
                if given is not None:
                    whole = [None if row[name] is None else json.loads(row[name]) for name in ("correction", "answer")]
                    yield Told(
                        row["kind"],
                        json.loads(given),
                        row["label"],
                        whole[0],
                        row["rating"],
                        row["model"],
                        row["digest"],
                        whole[1],
                    )

    def recent(self, count: int, model: str | None = None) -> list[tuple[str, str]]:
        """Return the newest predictions, the JSON of an input and of its answer each.

        Args:
            count: how many at most.
            model: its name; None: all.
        """
        p = PREDICTIONS.c
        found = sql.select(p.input, p.answer).order_by(p.time.desc(), p.request, p.place).limit(count)
        with self._engine.connect() as connection:
            return [
                (one, two) for one, two in connection.execute(found if model is None else found.where(p.model == model))
            ]

    def prediction(self, request: str, place: int) -> Mapping[str, Any] | None:
        """Return what is kept of an answer: its model, digest and kind; None where nothing is."""
        p = PREDICTIONS.c
        found = sql.select(p.model, p.digest, p.kind).where(p.request == request, p.place == place)
        with self._engine.connect() as connection:
            row = connection.execute(found).mappings().first()
        return None if row is None else dict(row)

    def close(self) -> None:
        """Write what is waiting and end."""
        with self._changed:
            self._open = False
            self._changed.notify()
        self._thread.join()
        self._engine.dispose()


def to_url(text: str) -> str:
    """Return the URL of a database; a file is one of SQLite."""
    if "://" not in text:
        return f"sqlite:///{Path(text).expanduser().absolute()}"
    return text.replace("postgresql://", "postgresql+psycopg://", 1)


def hide(url: str) -> str:
    """Return a URL without its password."""
    head, at, rest = url.rpartition("@")
    return f"{head.rpartition(':')[0] if head.count(':') > 1 else head}{at}{rest}"


def _durable(connection: Any, record: Any) -> None:
    """Have SQLite write ahead (readers do not wait), and return from a commit when it is on disk."""
    for line in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=10000"):
        connection.execute(f"PRAGMA {line}")
