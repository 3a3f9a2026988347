"""Rank items for users: the evaluations of a model that recommends, and its answers."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxlm.data.interactions.specs import INTERACTIONS
from jaxlm.data.protocol import Data
from jaxlm.data.readers.json_text import parse_json
from jaxlm.errors import BadInput
from jaxlm.metrics.item_ranking import rank_counts, ranking_metrics
from jaxlm.predict.predictor import Answer, Example, Predictor, Prepared, in_evaluation, zeros
from jaxlm.runs.directory import RunDirectory
from jaxlm.steps import LossFn, eval_variables
from jaxlm.train import Config, Evaluation


def full_ranking(logits: LossFn, data: Data, cutoffs: Sequence[int], every: int | None = None) -> Evaluation:
    """Return the evaluation that ranks each user's held-out items among all that the user has not met in training.

    Args:
        logits: gives the scores of all items, [B, I] (`predict.forward`).
        data: batches of `RankingRows`.
        cutoffs: the k of the metrics.
        every: updates between two evaluations.
    """
    compute = in_evaluation(logits)

    def outputs(state: Any, batch: Any) -> Any:
        scores_BI = compute(eval_variables(state.params, state.variables, state.ema), batch)["logits"]
        return rank_counts(scores_BI, batch["targets"], batch["seen"])

    def score(counts: Any, batch: Any) -> Any:
        return ranking_metrics(counts["above"], counts["equal"], batch["targets"], batch["mask"], cutoffs)

    return Evaluation(data, outputs, score, every=every)


def sampled_ranking(logits: LossFn, data: Data, cutoffs: Sequence[int], every: int | None = None) -> Evaluation:
    """Return the evaluation that ranks each held-out item among a few drawn ones; its name should say how many.

    Sampled metrics may order models otherwise than full ones do (Krichene and Rendle 2020, KDD).

    Args:
        logits: gives the scores of "items" [B, K] (`predict.forward`).
        data: batches of `SampledRows`, whose first item is the held-out one.
        cutoffs: the k of the metrics.
        every: updates between two evaluations.
    """
    compute = in_evaluation(logits)

    def outputs(state: Any, batch: Any) -> Any:
        scores_BK = compute(eval_variables(state.params, state.variables, state.ema), batch)["logits"]
        first_B1 = jnp.zeros((len(scores_BK), 1), jnp.int32)
        return rank_counts(scores_BK, first_B1, jnp.zeros((len(scores_BK), 0), jnp.int32))

    def score(counts: Any, batch: Any) -> Any:
        return ranking_metrics(counts["above"], counts["equal"], batch["items"][:, :1], batch["mask"], cutoffs)

    return Evaluation(data, outputs, score, every=every)


class RankingRequest(NamedTuple):
    """What is ranked.

    Attributes:
        left_out: items that are not candidates, int64.
        candidates: the only candidates, int64; None: all items.
        top: how many are answered; None: what the predictor says.
    """

    left_out: np.ndarray
    candidates: np.ndarray | None
    top: int | None


@dataclass(frozen=True)
class FindUsers:
    """Make rows of users by name, or of what somebody has met.

    An input is {"user": name}, the same as a JSON text, or the name alone; where the model reads what a user has met,
    it may be {"history": [names of items in their order]} instead. With "top": K it asks for K items, and with
    "items": [names] for these alone, in the order of their scores, even where the user has met them.

    Attributes:
        users: names of users, by number.
        items: names of items, by number.
        met: of each user the items of the training, which are left out of answers.
        width: the most items of a user that a model which reads them is given, the last ones; 0: it reads none.
    """

    users: tuple[str, ...]
    items: tuple[str, ...]
    met: tuple[tuple[int, ...], ...]
    width: int = 0

    columns: ClassVar[tuple[str, ...]] = ("user",)

    def __call__(self, inputs: Iterable[Any]) -> Iterator[Prepared | BadInput]:
        """Yield a row for each input, "user" int32 [] and, where it is read, "seen" int32 [width]; or its error."""
        for given in inputs:
            try:
                yield self.prepared(request_fields(given))
            except BadInput as error:
                yield error

    def prepared(self, fields: Mapping[str, Any]) -> Prepared:
        """Return the row of a request.

        Raises:
            BadInput: an unknown user or item, or a number that cannot be.
        """
        if "history" in fields:
            user, met = 0, find_names(fields["history"], self._items, "item")
            if not self.width:
                raise BadInput("this model knows users by name and reads no history: give {'user': name}")
        else:
            user = int(find_names([fields["user"]], self._users, "user")[0])
            met = np.array(self.met[user], np.int64)
        row: Example = {"user": np.array(user, np.int32)}
        if self.width:
            last = met[-self.width :].astype(np.int32)
            row["seen"] = np.pad(last, (0, self.width - len(last)), constant_values=-1)
        return Prepared([row], to_request(fields, met, self._items))

    @cached_property
    def _users(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.users)}

    @cached_property
    def _items(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.items)}


def request_fields(given: Any) -> Mapping[str, Any]:
    """Return the fields of an input: an object, the same as a JSON text, or the name of a user.

    Raises:
        BadInput: it has another form.
    """
    if isinstance(given, str) and given.lstrip().startswith("{"):
        given = parse_json(given, "the input")
    fields = given if isinstance(given, dict) else {"user": given}
    if not set(fields) <= {"user", "history", "items", "top"} or ("user" in fields) == ("history" in fields):
        raise BadInput(
            "give an object with either 'user' or 'history' and, where wanted, 'items' and 'top', as {\"user\": \"17\"}"
        )
    return fields


def find_names(names: Any, known: Mapping[str, int], kind: str) -> np.ndarray:
    """Return the numbers of named users or items; int64.

    Raises:
        BadInput: they are not a list of names, or one of them is not among those of the training.
    """
    if not isinstance(names, list | tuple) or not all(isinstance(name, str | int) for name in names):
        raise BadInput(f"{kind}s are given by name, as a text or a whole number: correct it")
    if unknown := [str(name) for name in names if str(name) not in known]:
        raise BadInput(f"the {kind} {unknown[0]!r} is not among the {len(known)} that the run was trained on")
    return np.array([known[str(name)] for name in names], np.int64)


def to_request(fields: Mapping[str, Any], met: np.ndarray, items: Mapping[str, int]) -> RankingRequest:
    """Return what is ranked for an input.

    Raises:
        BadInput: an unknown item, no item, or a `top` that is not a whole number of at least 1.
    """
    top = fields.get("top")
    if top is not None and (not isinstance(top, int) or isinstance(top, bool) or top < 1):
        raise BadInput(f"top is {top!r}: give a whole number of at least 1")
    if fields.get("items") is None:
        return RankingRequest(met, None, top)
    candidates = np.unique(find_names(fields["items"], items, "item"))
    if not len(candidates):
        raise BadInput("no items to rank: name some, or leave 'items' out to rank all")
    return RankingRequest(met[:0], candidates, top)


@dataclass(frozen=True)
class TopItems:
    """Answer with {"items": names, "scores": numbers}, the largest score first; of equal ones in the order of `items`.

    Attributes:
        items: names of items, by number.
        top: how many; those that the user has met are not among them.
    """

    items: tuple[str, ...]
    top: int = 10

    options: ClassVar[tuple[str, ...]] = ("top",)

    def __post_init__(self) -> None:
        if self.top < 1:
            raise BadInput(f"top is {self.top}: it must be at least 1")

    def __call__(self, outputs: Sequence[Example], context: RankingRequest) -> Answer:
        """Return the answer for the scores float32 [I] of all items.

        Raises:
            BadInput: the scores are not finite.
        """
        scores_I = outputs[0]["logits"].astype(np.float64)
        chosen = np.arange(len(scores_I)) if context.candidates is None else context.candidates
        chosen = chosen[~np.isin(chosen, context.left_out)]
        if not np.isfinite(scores_I[chosen]).all():
            raise BadInput("the model's scores are not finite: train it again with a lower rate")
        count = context.top or (self.top if context.candidates is None else len(chosen))
        best = chosen[np.argsort(-scores_I[chosen], kind="stable")][:count]
        return {"items": [self.items[item] for item in best], "scores": scores_I[best].tolist()}


def read_interactions(run: RunDirectory) -> tuple[tuple[str, ...], tuple[str, ...], tuple[tuple[int, ...], ...]]:
    """Return the names of the users and items of a run, and what each user has met in training.

    Raises:
        BadInput: interactions.json is damaged or not there.
    """
    place = run.path / INTERACTIONS
    match parse_json(run.artefact(INTERACTIONS), str(place)):
        case {"users": list(users), "items": list(items), "met": list(met)} if len(users) == len(met):
            return tuple(users), tuple(items), tuple(map(tuple, met))
    raise BadInput(f"{place} is damaged: copy it from a run on the same data")


def recommender(logits: LossFn, config: Config, run: RunDirectory) -> Predictor:
    """Compose the predictor of a run that ranks items for users.

    Args:
        logits: gives the scores of all items under the transforms that the loss is under.
        config: of the run, with a model of `jaxlm.models` that has `inputs` and data of `jaxlm.data.interactions`.
        run: whose interactions.json is read.
    """
    users, items, met = read_interactions(run)
    width = max(map(len, met), default=0) if "seen" in config.model.inputs else 0
    row: Example = {"user": np.zeros((), np.int32)} | ({"seen": np.zeros(width, np.int32)} if width else {})
    examples = (zeros(row, config.data.eval_batch or config.data.batch),)
    return Predictor(FindUsers(users, items, met, width), in_evaluation(logits), TopItems(items), examples)
