"""Tidying: tables merged, what is past its time deleted, forgetting gone on with, the ledger's heads exported."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from flows.bias_watch import audit_for_bias
from flows.forget import go_on
from flows.history.ledger import export
from flows.notify import notify
from flows.pinned import pins
from flows.telling import Logged, Teller
from flows.workplace import Workplace, open_workplace
from infra.clock import now
from infra.errors import UserError
from infra.forgettings import STREAM, open_forgettings
from infra.settings import Settings
from infra.tables import Table, before
from monitoring.labelling.keeping import count_before, drop_before
from monitoring.log.image_keeping import evict, gather_images
from monitoring.log.retention import Evictions, ImageRules, decide, first_day_kept

_log = logging.getLogger(__name__)
_TOLD_EVERY = 100


@dataclass(frozen=True)
class TableTidied:
    """
    One table.

    Attributes:
        rows_deleted: Rows of days before `kept_from`, a date (UTC); None where all are kept.
        files_merged: How many fewer files the same rows lie in.
        files_deleted: Files that nothing reads any more.
    """

    name: str
    kept_from: str | None
    rows_deleted: int
    files_merged: int = 0
    files_deleted: int = 0


@dataclass(frozen=True)
class ImagesTidied:
    """
    The images.

    Attributes:
        kept: How many stay, by why.
        expired: Past their days, without a label, used by no training, and not in the sample.
        capped: Deleted because there was no room under the cap, by why they would have stayed.
        over_bytes: By how much what the champion needs breaks the cap.
    """

    kept: Mapping[str, int]
    kept_bytes: int
    expired: int
    capped: Mapping[str, int]
    freed_bytes: int
    over_bytes: int


@dataclass(frozen=True)
class Tidied:
    """
    What a run came to; a dry run says what one would.

    Attributes:
        ledger: That it is whole and was exported, or what is wrong with it; "" in a dry run.
    """

    dry_run: bool
    tables: tuple[TableTidied, ...]
    images: ImagesTidied
    forgotten: int
    remarks: tuple[str, ...]
    ledger: str = ""

    def words(self) -> list[str]:
        """A sentence each, for a person."""
        would = "would be " if self.dry_run else ""
        told = []
        for table in self.tables:
            since = "all are kept" if table.kept_from is None else f"kept from {table.kept_from} on"
            merged = f", {table.files_merged} files merged, {table.files_deleted} deleted"
            told.append(
                f"{table.name}: {table.rows_deleted} rows {would}deleted ({since}){'' if self.dry_run else merged}"
            )
        images = self.images
        stay = ", ".join(f"{count} {why}" for why, count in images.kept.items()) or "none"
        gone = images.expired + sum(images.capped.values())
        told.append(
            f"images: {gone} {would}deleted ({images.freed_bytes / 1e6:.1f} MB); "
            f"{sum(images.kept.values())} stay ({images.kept_bytes / 1e6:.1f} MB): {stay}"
        )
        if self.forgotten:
            told.append(f"{self.forgotten} requests to forget were finished")
        return [*told, *self.remarks, *([self.ledger] if self.ledger else [])]


def tidy_project(settings: Settings) -> Tidied:
    """What the schedule does."""
    place = open_workplace(settings.root)
    tidied = tidy(place, Logged(_log))
    audit_for_bias(place)
    return tidied


def tidy(place: Workplace, teller: Teller, *, dry_run: bool = False) -> Tidied:
    """
    Gather, decide, act; what was done is in the ledger, stream "keeping".

    Broken off, it is simply done again: each part finds what the one before left.

    Args:
        place: The project.
        teller: Told how it goes.
        dry_run: Only say what would be done.
    """
    remarks: list[str] = []
    forgotten = 0 if dry_run else _go_on_forgetting(place, teller, remarks)
    # Rows first: an image whose last row goes today has nobody who would look for it.
    tables = (
        *(_tidy_table(place, table, dry_run=dry_run) for table in place.log.tables),
        _tidy_requests(place, dry_run=dry_run),
    )
    retention = place.settings.retention
    rules = ImageRules(retention.images_days, retention.image_sample, retention.most_images_gb * 1e9)
    decided = decide(gather_images(place.log, place.objects, pins(place)), rules, now())
    if not dry_run:
        _evict(place, decided, teller)
    if decided.over_bytes:
        remarks.append(
            f"Images take {decided.kept_bytes / 1e6:,.1f} MB, {decided.over_bytes / 1e6:,.1f} MB more than "
            "retention.most_images_gb: what is left is needed by the champion, by a running training, or too new to "
            "judge. Raise the cap, or promote a successor that was trained on less."
        )
    done = Tidied(dry_run, tables, _images_tidied(decided), forgotten, tuple(remarks))
    if dry_run:
        return done
    place.ledger.append(STREAM, "tidied", _facts(done))
    return replace(done, ledger=_export_heads(place))


def _export_heads(place: Workplace) -> str:
    """Every stream's newest hash to where the database cannot reach it; a ledger that does not fit is told at once."""
    try:
        made = export(place, actor="kedge tidy").export
    except UserError as broken:
        notify(place.settings, "ledger_broken", str(broken))
        return str(broken)
    # The export's own row is in the ledger, too, but not yet in the export.
    return f"ledger: whole, {made.rows + 1} rows; {made.title} is in the object store"


def _go_on_forgetting(place: Workplace, teller: Teller, remarks: list[str]) -> int:
    waiting = len(open_forgettings(place.engine))
    if not waiting:
        return 0
    try:
        go_on(place, teller)
    except UserError as error:
        # What has to wait is no reason to leave everything else lying about.
        remarks.append(str(error))
    return waiting - len(open_forgettings(place.engine))


def _tidy_table(place: Workplace, table: Table, *, dry_run: bool) -> TableTidied:
    days = getattr(place.settings.retention, f"{table.name}_days")
    kept_from = first_day_kept(days, now())
    if dry_run:
        return TableTidied(table.name, kept_from, 0 if kept_from is None else place.log.rows_before(table, kept_from))
    # Whole days are whole partitions: files are dropped, none is rewritten.
    deleted = 0 if kept_from is None else table.delete(before("date", kept_from))
    merged = table.compact()
    return TableTidied(table.name, kept_from, deleted, merged, table.vacuum(strays=True))


def _tidy_requests(place: Workplace, *, dry_run: bool) -> TableTidied:
    """A request names its prediction and may hold its label, so that it stays no longer than either."""
    retention, name = place.settings.retention, place.settings.project.name
    limits = [days for days in (retention.predictions_days, retention.labels_days) if days]
    kept_from = first_day_kept(min(limits), now()) if limits else None
    gone = 0
    if kept_from is not None:
        gone = (count_before if dry_run else drop_before)(place.engine, name, kept_from)
    return TableTidied("label_requests", kept_from, gone)


def _evict(place: Workplace, decided: Evictions, teller: Teller) -> None:
    total, done = len(decided.all), 0

    def told() -> None:
        nonlocal done
        done += 1
        if done % _TOLD_EVERY == 0 or done == total:
            teller.progress("images deleted", done, total)

    evict(place.objects, decided.all, told)


def _images_tidied(decided: Evictions) -> ImagesTidied:
    capped: dict[str, int] = {}
    for hold, count in decided.capped_by().items():
        capped[hold.words] = count
    return ImagesTidied(
        kept={hold.words: count for hold, count in decided.kept.items()},
        kept_bytes=decided.kept_bytes,
        expired=len(decided.expired),
        capped=capped,
        freed_bytes=sum(image.bytes for image in decided.all),
        over_bytes=decided.over_bytes,
    )


def _facts(done: Tidied) -> dict[str, Any]:
    return {
        "tables": [asdict(table) for table in done.tables],
        "images": asdict(done.images),
        "forgotten": done.forgotten,
        "remarks": list(done.remarks),
    }
