"""The ledger of a project: checked, and its heads exported to where the database cannot reach them."""

from dataclasses import dataclass
from pathlib import Path

from flows.workplace import Workplace
from infra.errors import UserError
from infra.files import write_atomically
from infra.ledger import LedgerRow
from infra.ledger_check import LedgerCheck, check
from infra.ledger_heads import HeadsExport, encoded, read_export, write_export


@dataclass(frozen=True)
class Exported:
    """An export, and the files of it that were written elsewhere."""

    export: HeadsExport
    files: tuple[Path, ...] = ()


def newest_rows(place: Workplace, stream: str, last: int) -> tuple[LedgerRow, ...]:
    """
    The newest rows of a stream, or of all where it is "", oldest first.

    Raises:
        UserError: there is no such stream.
    """
    if not stream:
        return place.ledger.newest(last)
    known = [head.stream for head in place.ledger.heads()]
    if stream not in known:
        listed = ", ".join(known) or "none yet"
        raise UserError(f"The ledger has no stream '{stream}'; there are: {listed}. `kedge ledger verify` counts them.")
    return place.ledger.rows(stream, last)


def verify(place: Workplace, heads: tuple[Path, ...] = ()) -> LedgerCheck:
    """
    The whole ledger, held against the exports in the object store and those in these files.

    Raises:
        UserError: a file is not there, or no export.
    """
    return check(place.ledger, place.objects, [_export_in(path) for path in heads])


def export(place: Workplace, *, actor: str, to: Path | None = None, begins_anew: str = "") -> Exported:
    """
    Export every stream's head, after a check that the ledger fits the exports before.

    Args:
        place: The project.
        actor: Who does it, for the ledger.
        to: A folder elsewhere that gets a copy.
        begins_anew: Why the ledger need not fit the exports before; "" = it has to.

    Raises:
        LedgerBroken: it does not fit them.
    """
    if not begins_anew:
        check(place.ledger, place.objects).insist()
    name = place.settings.project.name
    made = write_export(place.engine, place.objects, name, actor=actor, begins_anew=begins_anew)
    if to is None:
        return Exported(made)
    stem = f"{name}-ledger-{made.at:%Y-%m-%d}-{made.number}"
    files = (to / f"{stem}.json", to / f"{stem}.txt")
    write_atomically(files[0], encoded(made))
    write_atomically(files[1], made.words())
    return Exported(made, files)


def _export_in(path: Path) -> HeadsExport:
    try:
        return read_export(str(path), path.read_bytes())
    except FileNotFoundError as error:
        raise UserError(
            f"{path} is not there. Expected a file that `kedge ledger export --to FOLDER` wrote."
        ) from error
