"""The registry: which versions exist, and what is known of each."""

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
from models.champions import Champions, no_such_version

REGISTERED = "registered"
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


def title_of(name: str, version: int) -> str:
    """A version as people and answers name it."""
    return f"{name}:{version}"


class Registry:
    """
    The versions of one model name: bytes in the object store, facts in the database.

    Attributes:
        champions: Which of them serves, and served when.
    """

    def __init__(self, engine: sa.Engine, objects: ObjectStore, name: str) -> None:
        self.engine, self.objects, self.name = engine, objects, name
        self.champions = Champions(engine, name)

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
        versions = {version.version: version for version in self.versions()}
        if number not in versions:
            raise no_such_version(self.name, number, versions)
        return versions[number]

    def versions(self) -> tuple[ModelVersion, ...]:
        """Every version, oldest first."""
        table = schema.model_versions
        query = sa.select(table).where(table.c.name == self.name).order_by(table.c.version)
        with reading(self.engine) as connection:
            return tuple(ModelVersion(**row) for row in connection.execute(query).mappings())

    def champion(self) -> ModelVersion | None:
        """The version that serves; None before the first promotion."""
        number = self.champions.current()
        return None if number is None else self.version(number)

    def end_waiting(self, version: int, *, actor: str, reason: str) -> bool:
        """Refuse a version that waits for labels; False, and nothing changes, where it does not wait any more."""
        return self._change(version, WAITING, ("refused", "given up"), actor, reason)

    def send_out(self, version: int, *, actor: str, reason: str) -> bool:
        """Let a version wait for labels no more, since a person answers for it; False where it does not wait."""
        return self._change(version, WAITING, (REGISTERED, "sent out"), actor, reason)

    def withdraw(self, version: int, *, actor: str, reason: str) -> bool:
        """Refuse a version that is registered and nothing more; False, and nothing changes, where it is not."""
        return self._change(version, REGISTERED, ("refused", "withdrawn"), actor, reason)

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

    def _change(self, version: int, before: str, after: tuple[str, str], actor: str, reason: str) -> bool:
        """To another state, with the ledger's row of that kind; False where it is not in the state `before`."""
        table, (state, kind) = schema.model_versions, after
        mine = (table.c.name == self.name) & (table.c.version == version) & (table.c.state == before)
        with writing(self.engine) as connection:
            if connection.execute(table.update().where(mine).values(state=state)).rowcount == 0:
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


def _is_whole(path: Path, sha256: str) -> bool:
    return path.exists() and sha256_of(path) == sha256
