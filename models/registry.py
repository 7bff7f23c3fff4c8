"""The registry: which versions exist, which one is champion, and which was champion when."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from infra import schema
from infra.clock import now
from infra.database import reading, writing
from infra.errors import UserError
from infra.files import sha256_of, write_atomically
from infra.ledger import append_within
from infra.objects import ObjectMissing, ObjectStore

CHAMPION = "champion"
REGISTERED = "registered"
# The state of a version that was promoted, did worse than it was judged, and was sent back by itself.
DISAPPOINTED = "disappointed"
# The state of a candidate that the gate can neither pass nor reject yet: labels that would decide are asked for.
WAITING = "waiting"
# A page as it is, or made once the version's number is known.
Page = str | Callable[[int], str]

_SERVED, _WEIGHTS = ("model.onnx", "artifact.json"), "model.safetensors"
_LONGEST_KEY = 80  # the column's; names that are alike that far share their numbers, which only leaves gaps


@dataclass(frozen=True)
class ModelVersion:
    """
    One immutable artifact and what was decided about it.

    Attributes:
        version: Counts from 1 within `name`.
        state: "registered", "champion", "retired", "refused", "waiting" (undecided, until labels have come) or
            "disappointed" (sent back by its own rollout).
        scorecard: The judge-set scores, as `models.scorecard.Scorecard` writes them; None until judged.
        gate: The gate's decision, as `models.gate_records.GateDecision` writes it; None until judged.
        labels_until: When the newest label that its training saw was given; None where that is not known.
    """

    name: str
    version: int
    state: str
    created_at: datetime
    parent_version: int | None
    reason: str
    artifact_prefix: str
    onnx_sha256: str
    scorecard: Mapping[str, Any] | None
    gate: Mapping[str, Any] | None
    card_key: str | None
    labels_until: datetime | None = None

    @property
    def fresh_since(self) -> datetime:
        """Labels given after this moment are new to the version; what came while it trained is."""
        return self.created_at if self.labels_until is None else self.labels_until

    @property
    def title(self) -> str:
        """The version as people and answers name it."""
        return title_of(self.name, self.version)


@dataclass(frozen=True)
class Promotion:
    """One change of the champion pointer; `previous_version` is None for the first."""

    sequence: int
    version: int
    previous_version: int | None
    changed_at: datetime
    actor: str
    reason: str


def title_of(name: str, version: int) -> str:
    """A version as people and answers name it."""
    return f"{name}:{version}"


class Registry:
    """The versions of one model name: bytes in the object store, facts in the database."""

    def __init__(self, engine: sa.Engine, objects: ObjectStore, name: str) -> None:
        self.engine, self.objects, self.name = engine, objects, name

    def register(
        self,
        candidate: Path,
        *,
        reason: str,
        parent_version: int | None,
        scorecard: Mapping[str, Any] | None = None,
        gate: Mapping[str, Any] | None = None,
        state: str = "registered",
        card_html: Page | None = None,
        report_html: Page | None = None,
        labels_until: datetime | None = None,
        job_id: str = "",
    ) -> ModelVersion:
        """
        Store a candidate folder (model.onnx, model.safetensors, artifact.json) as the next version.

        The bytes are stored before the row, so a row never points at nothing; a crash between the two leaves
        objects without a row, and their number stays unused. The report lies beside the card, as report.html.

        job_id: What the candidate was made for: one job registers one version, and asked again gives that one.
        """
        if (made := self.version_of_job(job_id)) is not None:
            return made
        version = self._take_number()
        prefix = f"models/{self.name}/{version}"
        for file in (*_SERVED, _WEIGHTS):
            self.objects.put_file(f"{prefix}/{file}", candidate / file)
        card_key = None
        if card_html is not None:
            card_key = f"{prefix}/card.html"
            self.objects.put(card_key, _page(card_html, version))
        if report_html is not None:
            self.objects.put(f"{prefix}/report.html", _page(report_html, version))
        row = {
            "name": self.name,
            "version": version,
            "state": state,
            "created_at": now(),
            "parent_version": parent_version,
            "reason": reason,
            "artifact_prefix": prefix,
            "onnx_sha256": sha256_of(candidate / "model.onnx"),
            "scorecard": None if scorecard is None else dict(scorecard),
            "gate": None if gate is None else dict(gate),
            "card_key": card_key,
            "labels_until": labels_until,
        }
        with writing(self.engine) as connection:
            # Asked again inside: the same job may have been begun by two processes, one of which is to lose it.
            earlier = _registered_by(connection, job_id)
            if earlier is None:
                connection.execute(schema.model_versions.insert().values(**row))
                facts = {"version": version, "state": state, "reason": reason, "onnx_sha256": row["onnx_sha256"]}
                append_within(connection, "models", "registered", {**facts, "job": job_id} if job_id else facts)
        return self.version(version if earlier is None else earlier)

    def version_of_job(self, job_id: str) -> ModelVersion | None:
        """The version that was registered for a job; None before."""
        with reading(self.engine) as connection:
            number = _registered_by(connection, job_id)
        return None if number is None else self.version(number)

    def version(self, number: int) -> ModelVersion:
        """
        One version.

        Raises:
            UserError: there is no such version; the message lists those that exist.
        """
        for version in self.versions():
            if version.version == number:
                return version
        known = ", ".join(str(version.version) for version in self.versions()) or "none yet"
        raise UserError(f"{self.name} has no version {number}; there are: {known}. `kedge models` lists them.")

    def versions(self) -> tuple[ModelVersion, ...]:
        """Every version, oldest first."""
        table = schema.model_versions
        query = sa.select(table).where(table.c.name == self.name).order_by(table.c.version)
        with reading(self.engine) as connection:
            return tuple(ModelVersion(**row) for row in connection.execute(query).mappings())

    def champion(self) -> ModelVersion | None:
        """The version that serves; None before the first promotion."""
        number = self.champion_version()
        return None if number is None else self.version(number)

    def champion_version(self) -> int | None:
        """The champion's number alone: one small read, for workers that ask four times a second."""
        with reading(self.engine) as connection:
            return _pointer(connection, self.name)[0]

    def promote(self, version: int, *, actor: str, reason: str) -> Promotion:
        """
        Point the champion alias at `version`, in one transaction with its history and its ledger row.

        Raises:
            UserError: the version does not exist.
        """
        self.version(version)
        with writing(self.engine) as connection:
            current, before = _pointer(connection, self.name)
            # Promoting the champion again keeps the way back: a pointer never names itself as its previous.
            previous = before if current == version else current
            return self._move_pointer(connection, version, previous, actor, reason, "promoted")

    def rollback(self, *, actor: str, reason: str) -> Promotion:
        """
        Point the champion alias back at the version before; a second call goes one further back.

        Raises:
            UserError: there is no champion, or none before it.
        """
        with writing(self.engine) as connection:
            _, target = _pointer(connection, self.name)
            if target is None:
                raise UserError(
                    f"{self.name} cannot go back: no version was champion before. "
                    "`kedge models` lists the versions; `kedge promote N` chooses one."
                )
            # What the target itself had replaced: otherwise a second rollback would return to the bad one.
            previous = self._replaced_by(connection, target)
            return self._move_pointer(connection, target, previous, actor, reason, "rolled back")

    def promote_over(self, version: int, champion: int | None, *, actor: str, reason: str) -> Promotion | None:
        """
        The same as `promote`, but only over that champion (None = over nobody); None, and nothing moves, where
        another version is champion: what two processes want to promote at once is promoted once.
        """
        with writing(self.engine) as connection:
            current, _ = _pointer(connection, self.name)
            if current != champion:
                return None
            return self._move_pointer(connection, version, current, actor, reason, "promoted")

    def send_back(self, version: int, *, actor: str, reason: str) -> Promotion | None:
        """
        Roll back from `version` and mark it as disappointing; None, and nothing moves, where it is not champion or
        no version was champion before.
        """
        with writing(self.engine) as connection:
            current, target = _pointer(connection, self.name)
            if current != version or target is None:
                return None
            previous = self._replaced_by(connection, target)
            promotion = self._move_pointer(connection, target, previous, actor, reason, "rolled back")
            self._set_state(connection, version, DISAPPOINTED)
            return promotion

    def end_waiting(self, version: int, *, actor: str, reason: str) -> bool:
        """Refuse a version that waits for labels; False, and nothing changes, where it does not wait any more."""
        return self._refuse(version, WAITING, "given up", actor, reason)

    def withdraw(self, version: int, *, actor: str, reason: str) -> bool:
        """Refuse a version that is registered and nothing more; False, and nothing changes, where it is not."""
        return self._refuse(version, REGISTERED, "withdrawn", actor, reason)

    def put_back(self, promotion: Promotion, *, actor: str, reason: str) -> Promotion | None:
        """
        Undo `promotion`: champion and way back become what they were before it.

        None, and nothing is moved, where it was the first of all or where the pointer has moved on since: somebody
        else's later choice is not undone.
        """
        table = schema.pointer_history
        mine = (table.c.name == self.name) & (table.c.alias == CHAMPION)
        query = sa.select(table).where(mine, table.c.sequence >= promotion.sequence - 1).order_by(table.c.sequence)
        with writing(self.engine) as connection:
            rows = connection.execute(query).mappings().all()
            if [row["sequence"] for row in rows] != [promotion.sequence - 1, promotion.sequence]:
                return None
            before = _promotion(dict(rows[0]))
            return self._move_pointer(connection, before.version, before.previous_version, actor, reason, "put back")

    def history(self) -> tuple[Promotion, ...]:
        """Every change of the champion, oldest first, without gaps."""
        table = schema.pointer_history
        query = sa.select(table).where(table.c.name == self.name, table.c.alias == CHAMPION).order_by(table.c.sequence)
        with reading(self.engine) as connection:
            return tuple(_promotion(dict(row)) for row in connection.execute(query).mappings())

    def fetch(self, version: int, folder: Path, *, with_weights: bool = False) -> Path:
        """
        Bring a version's files to `folder/<version>` and give that folder; files already whole are kept.

        Serving and judging need the graph alone; training goes on from the weights.

        Raises:
            UserError: the object store lacks the version, or the model's bytes are not those registered.
        """
        wanted = self.version(version)
        target = folder / str(version)
        for file in (*_SERVED, _WEIGHTS) if with_weights else _SERVED:
            if file == "model.onnx" and _is_whole(target / file, wanted.onnx_sha256):
                continue
            try:
                write_atomically(target / file, self.objects.get(f"{wanted.artifact_prefix}/{file}"))
            except ObjectMissing as error:
                raise UserError(
                    f"{wanted.title} lacks {file} in {self.objects.describe()}. "
                    "Restore the object store, or `kedge rollback` to a version that is whole."
                ) from error
        if not _is_whole(target / "model.onnx", wanted.onnx_sha256):
            (target / "model.onnx").unlink()
            raise UserError(
                f"{wanted.title} is corrupt: model.onnx is not the file that was registered (SHA-256 "
                f"{wanted.onnx_sha256[:12]}… expected). Restore it, or `kedge rollback`."
            )
        return target

    def _refuse(self, version: int, state: str, kind: str, actor: str, reason: str) -> bool:
        table = schema.model_versions
        mine = (table.c.name == self.name) & (table.c.version == version) & (table.c.state == state)
        with writing(self.engine) as connection:
            if connection.execute(table.update().where(mine).values(state="refused")).rowcount == 0:
                return False
            append_within(connection, "models", kind, {"version": version, "reason": reason}, actor)
            return True

    def _take_number(self) -> int:
        """The next version's number, for this caller alone: two that register at once never share a folder."""
        taken, versions = schema.keys, schema.model_versions
        key = f"last version of {self.name}"[:_LONGEST_KEY]
        with writing(self.engine) as connection:
            last = connection.execute(sa.select(taken.c.value).where(taken.c.name == key)).scalar() or 0
            newest = sa.select(sa.func.max(versions.c.version)).where(versions.c.name == self.name)
            number = max(int(last), connection.execute(newest).scalar() or 0) + 1
            connection.execute(taken.delete().where(taken.c.name == key))
            connection.execute(taken.insert().values(name=key, value=str(number)))
        return number

    def _replaced_by(self, connection: sa.Connection, version: int) -> int | None:
        table = schema.pointer_history
        query = (
            sa.select(table.c.previous_version)
            .where(table.c.name == self.name, table.c.alias == CHAMPION, table.c.version == version)
            .order_by(table.c.sequence)
        )
        return connection.execute(query).scalars().first()

    def _move_pointer(
        self, connection: sa.Connection, version: int, previous: int | None, actor: str, reason: str, kind: str
    ) -> Promotion:
        current, _ = _pointer(connection, self.name)
        table, history = schema.pointers, schema.pointer_history
        mine = (table.c.name == self.name) & (table.c.alias == CHAMPION)
        newest = sa.select(sa.func.max(history.c.sequence)).where(
            history.c.name == self.name, history.c.alias == CHAMPION
        )
        sequence = (connection.execute(newest).scalar() or 0) + 1
        values = {"version": version, "previous_version": previous, "changed_at": now(), "sequence": sequence}
        connection.execute(table.delete().where(mine))
        connection.execute(table.insert().values(name=self.name, alias=CHAMPION, **values))
        row = {"name": self.name, "alias": CHAMPION, **values, "actor": actor, "reason": reason}
        connection.execute(history.insert().values(**row))
        if current is not None and current != version:
            self._set_state(connection, current, "retired")
        self._set_state(connection, version, CHAMPION)
        facts = {"version": version, "previous_version": previous, "reason": reason}
        append_within(connection, "models", kind, facts, actor)
        return _promotion(row)

    def _set_state(self, connection: sa.Connection, version: int, state: str) -> None:
        table = schema.model_versions
        connection.execute(
            table.update().where(table.c.name == self.name, table.c.version == version).values(state=state)
        )


def _page(page: Page, version: int) -> bytes:
    return (page if isinstance(page, str) else page(version)).encode()


def _registered_by(connection: sa.Connection, job_id: str) -> int | None:
    """The version whose ledger row names the job; the row was written together with the version's."""
    if not job_id:
        return None
    table = schema.ledger
    query = sa.select(table.c.facts).where(table.c.stream == "models", table.c.kind == "registered")
    facts = connection.execute(query.where(table.c.facts["job"].as_string() == job_id)).scalars().first()
    return None if facts is None else int(facts["version"])


def _pointer(connection: sa.Connection, name: str) -> tuple[int | None, int | None]:
    table = schema.pointers
    row = connection.execute(
        sa.select(table.c.version, table.c.previous_version).where(table.c.name == name, table.c.alias == CHAMPION)
    ).first()
    return (row.version, row.previous_version) if row else (None, None)


def _promotion(row: Mapping[str, Any]) -> Promotion:
    fields = ("sequence", "version", "previous_version", "changed_at", "actor", "reason")
    return Promotion(**{field: row[field] for field in fields})


def _is_whole(path: Path, sha256: str) -> bool:
    return path.exists() and sha256_of(path) == sha256
