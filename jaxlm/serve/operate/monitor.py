"""Read how a service's inputs and answers differ from those of its export: from its metrics, or from what it kept."""

import contextlib
import json
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from jaxlm.drift.distance import Drift, DriftVerdict, report
from jaxlm.drift.features import features_of
from jaxlm.errors import BadInput, one_line
from jaxlm.export.artefact import open_artefact
from jaxlm.serve.counters import ALARMS
from jaxlm.serve.feedback.store import Store
from jaxlm.serve.form import form_of

SECONDS = 30


def of_service(url: str, token: str | None = None) -> dict[str, list[Drift]]:
    """Return what a service says of its models, by their names.

    Raises:
        BadInput: it does not answer, or not as a service of jaxlm.
    """
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    try:
        asked = urllib.request.Request(f"{url.rstrip('/')}/metrics", headers=headers)
        with urllib.request.urlopen(asked, timeout=SECONDS) as answer:
            text = answer.read().decode()
    except (OSError, ValueError) as error:
        raise BadInput(f"{url}/metrics cannot be read ({one_line(error)}): give the address of a service") from None
    return _parsed(text)


def _parsed(text: str) -> dict[str, list[Drift]]:
    found: dict[str, dict[str, dict[str, float]]] = {}
    try:
        for family in text_string_to_metric_families(text):
            if family.name.startswith("jaxlm_drift_"):
                for sample in family.samples:
                    labels, statistic = sample.labels, family.name.removeprefix("jaxlm_drift_")
                    by_feature = found.setdefault(labels["model"], {}).setdefault(labels["feature"], {})
                    by_feature[statistic] = sample.value
        return {model: [_drift(*one) for one in features.items()] for model, features in found.items()}
    except (ValueError, KeyError, IndexError):
        raise BadInput("the metrics are not as a service of jaxlm writes them: give the address of one") from None


def _drift(feature: str, found: Mapping[str, float]) -> Drift:
    names: dict[int, DriftVerdict] = {number: name for name, number in ALARMS.items()}
    verdict = names[int(found["alarm"])]
    return Drift(feature, int(found["values"]), found["psi"], found.get("ks"), found["p"], verdict)


def of_predictions(url: str, artefact: Path, model: str | None = None, window: int = 1000) -> tuple[list[Drift], int]:
    """Compare the newest predictions that a service kept with an artefact's inputs and answers.

    Args:
        url: of the database, see `Store`.
        artefact: its folder; its predictor reads the inputs.
        model: name of the model that answered; None: any.
        window: predictions.

    Returns:
        How each feature differs, and how many inputs were left out as the predictor cannot read them.

    Raises:
        BadInput: the database or the artefact cannot be read, or the latter has no sketches.
    """
    opened = open_artefact(artefact)
    reference = opened.reference()
    if not reference:
        raise BadInput(f"{artefact} keeps nothing to compare with: export it again where the data of its run are")
    store = Store(url)
    try:
        kept = store.recent(window, model)
    finally:
        store.close()
    predictor = opened.load().predictor
    read = form_of(predictor).read(json.loads(given) for given, _ in kept)
    good = [(given, answer) for given, (_, answer) in zip(read, kept, strict=True) if not isinstance(given, BadInput)]
    rows, broken = [], len(kept) - len(good)
    for prepared, (_, answer) in zip(predictor.preprocess([given for given, _ in good]), good, strict=True):
        if isinstance(prepared, BadInput) or not prepared.rows:
            broken += 1
            continue
        with contextlib.suppress(Exception):  # such as an answer that another version wrote
            rows.append(features_of(predictor.preprocess, prepared.rows, json.loads(answer)))
    window_of = {name: one.of(row[name] for row in rows if name in row) for name, one in reference.items()}
    return report(reference, window_of), broken
