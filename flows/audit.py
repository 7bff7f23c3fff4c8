"""`kedge audit`: how a version treats each subgroup, from labelled predictions; kept, and in the ledger."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from flows.workplace import Workplace
from infra import schema
from infra.clock import new_id, now
from infra.database import writing
from infra.errors import UserError
from infra.files import write_atomically
from infra.ledger import append_within
from infra.objects import ObjectMissing
from models.artifact import read_artifact
from models.registry import ModelVersion
from monitoring.bias import ALIKE, DIFFERS, UNDECIDED, BiasReport, bias_report
from monitoring.policies.behind import behind_in
from monitoring.prediction_log import image_key
from monitoring.quality.labelled import LabelledAnswers
from monitoring.slices import WeakSlices, weak_slices
from monitoring.subgroups.page import AuditFindings, render_audit_html
from monitoring.subgroups.rows import LabelBasis, basis_of, drawn_ids, labelled_answers, only


@dataclass(frozen=True)
class Asked:
    """
    Which answers to audit.

    Attributes:
        version: None = the champion's.
        since: Only predictions of this day (UTC) or later; None = all.
        drawn_only: Only labels that the audit sample drew by chance.
    """

    version: int | None = None
    since: date | None = None
    drawn_only: bool = False


@dataclass(frozen=True)
class Audit:
    """A finished audit; `place` is where the object store has its page, `path` the copy that was asked for."""

    findings: AuditFindings
    place: str
    path: Path | None

    @property
    def report(self) -> BiasReport:
        return self.findings.report

    @property
    def slices(self) -> WeakSlices:
        return self.findings.slices

    @property
    def basis(self) -> LabelBasis:
        return self.findings.basis

    def to_json(self) -> dict[str, Any]:
        """The report's fields, and beside them the weak slices, the labels it rests on and where its page is."""
        return {
            **self.report.to_json(),
            "weak_slices": asdict(self.slices),
            "labels": {**asdict(self.basis), "warning": self.basis.warning},
            "page": self.place,
        }


def audit(place: Workplace, output: Path | None = None, asked: Asked = Asked()) -> Audit:
    """
    Audit a version's labelled answers; the page goes into the object store, and to `output` where given.

    Raises:
        UserError: there is no champion, or no such version.
    """
    version = _version(place, asked.version)
    settings = place.settings
    given = labelled_answers(place.log, version.version, settings.data.group, asked.since)
    requests = drawn_ids(place.engine, settings.project.name)
    chosen = np.array([requests.get(identifier, False) for identifier in given.ids], dtype=bool)
    counted = only(given, chosen) if asked.drawn_only else given
    rows, notes = _of_known_classes(counted, _classes(place, version))
    report = bias_report(
        rows,
        settings.data.subgroups,
        title=f"Fairness audit of {version.title}",
        at=now(),
        model_version=version.version,
    )
    if asked.since is not None:
        notes.append(f"Only predictions since {asked.since.isoformat()} are counted.")
    if asked.drawn_only:
        notes.append(f"Only labels drawn by chance are counted; {len(given) - len(counted)} others are left out.")
    findings = AuditFindings(
        report=replace(report, notes=(*report.notes, *notes)),
        slices=weak_slices(rows, settings.data.subgroups),
        basis=basis_of(rows, requests, random=settings.monitor.feedback_is_random),
    )
    page = render_audit_html(findings, lambda sha256: _picture(place, sha256))
    key = _keep(place, findings, page)
    if output is not None:
        write_atomically(output, page)
    return Audit(findings, f"{place.objects.describe()}/{key}", output)


def _version(place: Workplace, number: int | None) -> ModelVersion:
    if number is None:
        champion = place.registry.champion()
        if champion is None:
            raise UserError("There is no champion to audit. `kedge train` makes the first model.")
        return champion
    versions = {one.version: one for one in place.registry.versions()}
    if number not in versions:
        known = ", ".join(map(str, versions)) or "none"
        raise UserError(f"There is no version {number} to audit. The registry has: {known}.")
    return versions[number]


def _classes(place: Workplace, version: ModelVersion) -> tuple[str, ...]:
    return tuple(read_artifact(place.registry.fetch(version.version, place.fetched)).classes)


def _of_known_classes(rows: LabelledAnswers, classes: tuple[str, ...]) -> tuple[LabelledAnswers, list[str]]:
    """A label that names no class of the model says nothing about how it treats a group."""
    known = np.array([truth in set(classes) for truth in rows.truth], dtype=bool)
    notes = []
    if not known.all():
        unknown = sorted({truth for truth in rows.truth if truth not in set(classes)})
        notes.append(
            f"{int((~known).sum())} labels name a class that the model does not know ({', '.join(unknown[:5])}"
            f"{', …' if len(unknown) > 5 else ''}), and are left out."  # noqa: PLR2004 - those named before it
        )
    kept = only(rows, known)
    unseen = [name for name in classes if name not in set(kept.truth)]
    if len(kept) and unseen:
        words = f"{', '.join(unseen[:5])}{', …' if len(unseen) > 5 else ''}"  # noqa: PLR2004
        notes.append(f"No labelled image shows {words}: nothing is said about how often the model finds them.")
    return kept, notes


def _picture(place: Workplace, sha256: str) -> bytes | None:
    try:
        return place.objects.get(image_key(sha256))
    except ObjectMissing:
        return None


def _keep(place: Workplace, findings: AuditFindings, page: str) -> str:
    """The page into the object store, and a row that names it; gives its key."""
    report = findings.report
    identifier = new_id(report.at)
    key = f"reports/audit-{identifier}.html"
    place.objects.put(key, page.encode())
    facts: Mapping[str, Any] = {
        "name": place.settings.project.name,
        "model_version": report.model_version,
        "images": report.images,
        "judged": sum(group.verdict in {DIFFERS, ALIKE} for group in report.groups),
        "differ": [group.short for group in report.groups if group.verdict == DIFFERS],
        "behind": [asdict(one) for one in behind_in(report)],
        "undecided": sum(group.verdict == UNDECIDED for group in report.groups),
        "weak_slices": [one.words for one in findings.slices.found],
        "volunteered": findings.basis.volunteered,
        "warning": findings.basis.warning,
    }
    with writing(place.engine) as connection:
        connection.execute(
            schema.reports.insert().values(
                id=identifier, kind="audit", at=report.at, title=report.title, object_key=key, facts=facts
            )
        )
        append_within(
            connection,
            "audits",
            "audit",
            {"model_version": report.model_version, "images": report.images, "differ": facts["differ"], "report": key},
        )
    return key
