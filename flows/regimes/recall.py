"""Recalling an archived version: chosen on *select*, judged on *judge*, and told to the ledger; promoted elsewhere."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flows.collecting.snapshot import Snapshot
from flows.gating.untrained import untrained
from flows.judging import judge
from flows.regimes.archive import Fit, fitting_version
from flows.telling import Teller
from flows.workplace import Workplace
from infra.files import write_atomically
from models.gate_records import PROMOTE, GateDecision
from models.registry import ModelVersion

_FILE = "regimes.json"


@dataclass(frozen=True)
class Recalled:
    """An archived version that the gate lets through, what the gate said, and how that came about."""

    version: ModelVersion
    decision: GateDecision
    words: str


def recalled(
    place: Workplace, run_dir: Path, snapshot: Snapshot, champion: ModelVersion, reason: str, teller: Teller, job: str
) -> Recalled | None:
    """
    An archived version that fits the fresh images and passes the gate; None where there is none.

    Asked once in a run directory: a job that goes on after a crash does not read the judge images again.

    Args:
        place: The project.
        run_dir: Of the job.
        snapshot: Its images.
        champion: What the version has to be better than.
        reason: As the gate understands it.
        teller: Hears how it goes.
        job: Its id, for the ledger.
    """
    document = _kept(run_dir, champion)
    if document is None:
        document = _ask(place, snapshot, champion, reason, teller, job)
        write_atomically(run_dir / _FILE, json.dumps(document))
    teller.say(document["words"])
    if document["gate"] is None or not _passed(GateDecision.from_json(document["gate"])):
        return None
    version = place.registry.version(int(document["version"]))
    return Recalled(version, GateDecision.from_json(document["gate"]), document["words"])


def _ask(
    place: Workplace, snapshot: Snapshot, champion: ModelVersion, reason: str, teller: Teller, job: str
) -> dict[str, Any]:
    fit = fitting_version(place, snapshot, champion, teller)
    decision = None
    if fit.version is not None:
        teller.say(f"{fit.words} Judging it on images that trained nothing …")
        candidate = place.registry.fetch(fit.version.version, place.fetched)
        decision = judge(place, candidate, untrained(place, snapshot, fit.version), champion, reason).decision
    document = {
        "champion": champion.version,
        "version": None if fit.version is None else fit.version.version,
        "outcome": None if decision is None else decision.outcome,
        "gate": None if decision is None else json.loads(json.dumps(decision.to_json())),
        "words": f"{_words(fit, decision)} {fit.left_out}".rstrip(),
    }
    place.ledger.append("decisions", "regimes", _facts(document, fit, job))
    return document


def _words(fit: Fit, decision: GateDecision | None) -> str:
    if fit.version is None or decision is None:
        return fit.words
    instead = "so it returns instead of anything being trained."
    if decision.outcome == PROMOTE:
        return f"{fit.words} It passed the gate, {instead}"
    if decision.relief:
        return f"{fit.words} The gate is undecided on old images, but a large gain on recent ones is proven, {instead}"
    return f"{fit.words} The gate keeps it back: {' '.join(decision.words())}"


def _passed(decision: GateDecision) -> bool:
    return decision.outcome == PROMOTE or decision.relief


def _facts(document: Mapping[str, Any], fit: Fit, job: str) -> dict[str, Any]:
    plain = {name: document[name] for name in ("champion", "version", "outcome", "words")}
    return {**plain, "job": job, "images": fit.images, "tried": [asdict(one) for one in fit.tried]}


def _kept(run_dir: Path, champion: ModelVersion) -> dict[str, Any] | None:
    path = run_dir / _FILE
    if not path.exists():
        return None
    document: dict[str, Any] = json.loads(path.read_text())
    return document if document["champion"] == champion.version else None
