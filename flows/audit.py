"""`kedge audit`: how the champion treats each subgroup, from labelled predictions; kept, and in the ledger."""

from dataclasses import dataclass, replace
from pathlib import Path

from flows.workplace import Workplace
from infra import schema
from infra.clock import new_id, now
from infra.database import writing
from infra.errors import UserError
from infra.files import write_atomically
from infra.ledger import append_within
from models.artifact import read_artifact
from monitoring.audit_page import render_audit_html
from monitoring.bias import BiasReport, bias_report
from monitoring.performance import labelled_rows


@dataclass(frozen=True)
class Audit:
    """A finished audit; `place` is where the object store has its page, `path` the copy that was asked for."""

    report: BiasReport
    place: str
    path: Path | None


def audit(place: Workplace, output: Path | None = None) -> Audit:
    """
    Audit the champion's labelled answers; the page goes into the object store, and to `output` where given.

    Raises:
        UserError: there is no champion.
    """
    champion = place.registry.champion()
    if champion is None:
        raise UserError("There is no champion to audit. `kedge train` makes the first model.")
    labelled = place.log.labelled()
    classes = read_artifact(place.registry.fetch(champion.version, place.fetched)).classes
    # A label that names no class of the model says nothing about how it treats a group.
    rows = labelled_rows(labelled.filter(labelled["true_label"].is_in(list(classes))), champion.version)
    unknown = labelled.filter(labelled["model_version"] == champion.version).height - len(rows)
    at = now()
    report = bias_report(
        rows,
        place.settings.data.subgroups,
        title=f"Fairness audit of {champion.title}",
        at=at,
        model_version=champion.version,
    )
    if unknown:
        note = f"{unknown} labels name a class that the model does not know, and are left out."
        report = replace(report, notes=(*report.notes, note))
    page = render_audit_html(report)
    identifier = new_id(at)
    key = f"reports/audit-{identifier}.html"
    place.objects.put(key, page.encode())
    facts = {"model_version": champion.version, "images": report.images}
    with writing(place.engine) as connection:
        connection.execute(
            schema.reports.insert().values(
                id=identifier, kind="audit", at=at, title=report.title, object_key=key, facts=facts
            )
        )
        append_within(connection, "audits", "audit", {**facts, "report": key})
    if output is not None:
        write_atomically(output, page)
    return Audit(report, f"{place.objects.describe()}/{key}", output)
