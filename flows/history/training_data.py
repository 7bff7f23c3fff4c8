"""What a version was trained on: from its artifact, the snapshot kept beside it or in its run, and the ledger."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flows.history.explained import Training
from flows.workplace import Workplace
from infra.bucket import StoreUnreachable
from infra.ledger import LedgerRow
from infra.objects import ObjectMissing
from models.registry import ModelVersion
from monitoring.decisions.records import proof_of
from monitoring.decisions.rows import Row

_ROLES = ("train", "select", "judge_old", "judge_recent")
_SNAPSHOT = "snapshot.json"


def training_of(
    place: Workplace, version: ModelVersion, job: Row | None, gated: LedgerRow | None
) -> tuple[Training, tuple[str, ...]]:
    """
    What trained the version, and what of it is missing.

    Args:
        place: The project.
        version: Whose.
        job: That made it; None where none is known.
        gated: The ledger's row of its gate, which names the snapshot's fingerprint.
    """
    artifact = _document(place, f"{version.artifact_prefix}/artifact.json")
    lineage = _mapping(artifact.get("lineage"))
    run = str((job or {}).get("run_dir") or "")
    snapshot, told_by = _snapshot(place, version, run)
    images = _counts(snapshot) or _counted_by_job(job)
    fingerprint = str((gated.facts if gated else {}).get("data_fingerprint") or snapshot.get("fingerprint") or "")
    missing = [
        *([] if artifact else [f"{version.title} has no artifact.json in {place.objects.describe()}"]),
        *([] if fingerprint else ["no row names the fingerprint of its data"]),
        *([] if images else ["neither its snapshot nor its job says how many images trained it"]),
        *([] if job else ["no job is known that made it"]),
    ]
    if fingerprint and snapshot.get("fingerprint") not in (None, fingerprint):
        missing.append(f"the snapshot ({told_by}) is not the one whose fingerprint the ledger names")
    training = Training(
        data_fingerprint=fingerprint,
        images=images,
        left_out={
            str(why): count for why, count in _mapping(snapshot.get("left_out")).items() if isinstance(count, int)
        },
        forgotten=int(snapshot.get("forgotten") or 0),
        labels_until=version.labels_until,
        backbone=str(artifact.get("backbone", "")),
        strategy=str(lineage.get("strategy", "")),
        seed=lineage.get("seed"),
        trained_at=str(lineage.get("trained_at", "")),
        run=run,
        told_by=told_by if snapshot else "the job's row" if images else "",
        proofs=(proof_of(gated),) if gated else (),
    )
    return training, tuple(missing)


def _snapshot(place: Workplace, version: ModelVersion, run: str) -> tuple[Mapping[str, Any], str]:
    """The one kept with the version, or the run's own where that is still here."""
    kept = _document(place, f"{version.artifact_prefix}/{_SNAPSHOT}")
    if kept:
        return kept, f"{version.artifact_prefix}/{_SNAPSHOT}"
    path = Path(run) / _SNAPSHOT
    try:
        return (_mapping(json.loads(path.read_text())), str(path)) if run else ({}, "")
    except (OSError, ValueError):
        return {}, ""


def _counts(snapshot: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """By role and source: from a list of the images, or where there is none from the counts that stand for it."""
    counts: dict[str, dict[str, int]] = {}
    for role in _ROLES:
        listed = snapshot.get(role)
        if isinstance(listed, list) and listed:
            sources = Counter(str(_mapping(one).get("source", "unknown")) for one in listed)
            counts[role] = dict(sorted(sources.items()))
    given = _mapping(snapshot.get("counts"))
    for role, value in given.items():
        if role not in counts and isinstance(value, int):
            counts[role] = {"": value}
        elif role not in counts and isinstance(value, Mapping) and value:
            counts[role] = {str(source): int(count) for source, count in value.items() if isinstance(count, int)}
    return counts


def _counted_by_job(job: Row | None) -> dict[str, dict[str, int]]:
    outcome = _mapping((job or {}).get("outcome"))
    images, fresh = outcome.get("train_images"), outcome.get("fresh_images")
    if not isinstance(images, int) or not isinstance(fresh, int):
        return {}
    return {"train": {"manifest": images - fresh, "production": fresh}}


def _document(place: Workplace, key: str) -> Mapping[str, Any]:
    """A JSON object of the store; empty where it is not there, or is none."""
    try:
        return _mapping(json.loads(place.objects.get(key)))
    except (ObjectMissing, ValueError, *StoreUnreachable):
        return {}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
