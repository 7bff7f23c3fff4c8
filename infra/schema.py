"""The tables, as SQLAlchemy Core sees them; `migrations/` makes them."""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

# The newest of `migrations/versions/`: a database that says it is there need not ask Alembic.
REVISION = "0005"

metadata = sa.MetaData()


class Moment(sa.types.TypeDecorator[datetime]):
    """An aware UTC time; SQLite would otherwise hand back a naive one."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Any) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError(f"{value} has no time zone; every time in the database is UTC")
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, _dialect: Any) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


ledger = sa.Table(
    "ledger",
    metadata,
    sa.Column("stream", sa.String(80), primary_key=True),
    sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", Moment, nullable=False),
    sa.Column("kind", sa.String(80), nullable=False),
    sa.Column("actor", sa.String(120), nullable=False),
    sa.Column("facts", sa.JSON, nullable=False),
    sa.Column("previous_hash", sa.String(64), nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
)

model_versions = sa.Table(
    "model_versions",
    metadata,
    sa.Column("name", sa.String(120), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("parent_version", sa.Integer),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("artifact_prefix", sa.Text, nullable=False),
    sa.Column("onnx_sha256", sa.String(64), nullable=False),
    sa.Column("scorecard", sa.JSON),
    sa.Column("gate", sa.JSON),
    sa.Column("card_key", sa.Text),
    sa.Column("labels_until", Moment),
)

pointers = sa.Table(
    "pointers",
    metadata,
    sa.Column("name", sa.String(120), primary_key=True),
    sa.Column("alias", sa.String(40), primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("previous_version", sa.Integer),
    sa.Column("changed_at", Moment, nullable=False),
    sa.Column("sequence", sa.Integer, nullable=False),
    sa.Column("share", sa.Float),
)

pointer_history = sa.Table(
    "pointer_history",
    metadata,
    sa.Column("name", sa.String(120), primary_key=True),
    sa.Column("alias", sa.String(40), primary_key=True),
    sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("previous_version", sa.Integer),
    sa.Column("changed_at", Moment, nullable=False),
    sa.Column("actor", sa.String(120), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("share", sa.Float),
)

serving_workers = sa.Table(
    "serving_workers",
    metadata,
    sa.Column("id", sa.String(80), primary_key=True),
    sa.Column("host", sa.String(255), nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("slot", sa.String(80), nullable=False),
    sa.Column("model_name", sa.String(120), nullable=False),
    sa.Column("version", sa.Integer),
    sa.Column("error", sa.Text),
    sa.Column("canary_version", sa.Integer),
    sa.Column("shadow_version", sa.Integer),
    sa.Column("rollout_error", sa.Text),
    sa.Column("started_at", Moment, nullable=False),
    sa.Column("seen_at", Moment, nullable=False),
)

tokens = sa.Table(
    "tokens",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("name", sa.String(80), nullable=False),
    sa.Column("role", sa.String(20), nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False, unique=True),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("created_by", sa.String(120), nullable=False),
    sa.Column("revoked_at", Moment),
)

forgettings = sa.Table(
    "forgettings",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("prediction_id", sa.String(128)),
    sa.Column("pseudonym_key", sa.String(64)),
    sa.Column("pseudonym", sa.String(64), nullable=False),
    sa.Column("state", sa.String(20), nullable=False, index=True),
    sa.Column("steps", sa.JSON, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("finished_at", Moment),
)

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("state", sa.String(20), nullable=False, index=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("evidence", sa.JSON),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("started_at", Moment),
    sa.Column("finished_at", Moment),
    sa.Column("run_dir", sa.Text),
    sa.Column("outcome", sa.JSON),
    sa.Column("error", sa.Text),
    sa.Column("claim", sa.String(36)),
    sa.Column("beat_at", Moment),
    sa.Column("attempts", sa.Integer),
    sa.Column("cancel_asked_at", Moment),
)

retrain_requests = sa.Table(
    "retrain_requests",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("name", sa.String(120), nullable=False),
    sa.Column("at", Moment, nullable=False),
    sa.Column("asked_by", sa.String(120), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("state", sa.String(20), nullable=False, index=True),
    sa.Column("words", sa.Text),
    sa.Column("decided_at", Moment),
    sa.Column("job_id", sa.String(36)),
)

rollout_runs = sa.Table(
    "rollout_runs",
    metadata,
    sa.Column("name", sa.String(120), primary_key=True),
    sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("champion_version", sa.Integer),
    sa.Column("stage", sa.String(20), nullable=False, index=True),
    sa.Column("started_at", Moment, nullable=False),
    sa.Column("stage_since", Moment, nullable=False),
    sa.Column("ended_at", Moment),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("job_id", sa.String(36)),
    sa.Column("state", sa.JSON, nullable=False),
    sa.Column("words", sa.Text, nullable=False),
)

profiles = sa.Table(
    "profiles",
    metadata,
    sa.Column("name", sa.String(120), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("object_key", sa.Text, nullable=False),
    sa.Column("images", sa.Integer, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("origin_key", sa.Text),
    sa.Column("accepted_at", Moment),
)

blocks = sa.Table(
    "blocks",
    metadata,
    sa.Column("name", sa.String(120), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("started_at", Moment, nullable=False),
    sa.Column("ended_at", Moment, nullable=False),
    sa.Column("predictions", sa.Integer, nullable=False),
    sa.Column("model_version", sa.Integer, nullable=False),
    sa.Column("distances", sa.JSON, nullable=False),
    sa.Column("sample_key", sa.Text, nullable=False),
)

label_requests = sa.Table(
    "label_requests",
    metadata,
    sa.Column("name", sa.String(120), primary_key=True),
    sa.Column("prediction_id", sa.String(128), primary_key=True),
    sa.Column("predicted_at", Moment, nullable=False),
    sa.Column("asked_at", Moment, nullable=False),
    sa.Column("model_version", sa.Integer, nullable=False),
    sa.Column("stratum", sa.String(40), nullable=False),
    sa.Column("probability", sa.Float, nullable=False),
    sa.Column("uniform_probability", sa.Float, nullable=False),
    sa.Column("in_audit", sa.Boolean, nullable=False),
    sa.Column("policy", sa.String(80), nullable=False),
    sa.Column("state", sa.String(20), nullable=False, index=True),
    sa.Column("label", sa.String(255)),
    sa.Column("answered_at", Moment),
    sa.Column("exported_at", Moment),
    sa.Column("image_sha256", sa.String(64), nullable=False, index=True),
    sa.Column("same_as", sa.String(128)),
    sa.Column("facts", sa.JSON, nullable=False),
)

label_plans = sa.Table(
    "label_plans",
    metadata,
    sa.Column("name", sa.String(120), primary_key=True),
    sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", Moment, nullable=False),
    sa.Column("model_version", sa.Integer, nullable=False),
    sa.Column("predictions", sa.Integer, nullable=False),
    sa.Column("not_kept", sa.Integer, nullable=False),
    sa.Column("asked", sa.Integer, nullable=False),
    sa.Column("uniform_probability", sa.Float, nullable=False),
    sa.Column("period_s", sa.Float, nullable=False),
    sa.Column("pace_per_day", sa.Float, nullable=False),
    sa.Column("read_until", sa.JSON, nullable=False),
)

watch_states = sa.Table(
    "watch_states",
    metadata,
    sa.Column("name", sa.String(120), primary_key=True),
    sa.Column("version", sa.Integer),
    sa.Column("state", sa.JSON, nullable=False),
    sa.Column("sequence", sa.Integer, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
)

windows = sa.Table(
    "windows",
    metadata,
    sa.Column("name", sa.String(120), primary_key=True),
    sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("model_version", sa.Integer, nullable=False),
    sa.Column("started_at", Moment, nullable=False),
    sa.Column("ended_at", Moment, nullable=False),
    sa.Column("predictions", sa.Integer, nullable=False),
    sa.Column("summary", sa.JSON, nullable=False),
    sa.Column("report_key", sa.Text),
)

verdicts = sa.Table(
    "verdicts",
    metadata,
    sa.Column("name", sa.String(120), primary_key=True),
    sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", Moment, nullable=False),
    sa.Column("model_version", sa.Integer, nullable=False),
    sa.Column("action", sa.String(20), nullable=False),
    sa.Column("reasons", sa.JSON, nullable=False),
    sa.Column("window_sequence", sa.Integer),
    sa.Column("evidence", sa.JSON, nullable=False),
)

alarms = sa.Table(
    "alarms",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("name", sa.String(120), nullable=False, index=True),
    sa.Column("at", Moment, nullable=False),
    sa.Column("lane", sa.String(40), nullable=False),
    sa.Column("detector", sa.String(80), nullable=False),
    sa.Column("model_version", sa.Integer),
    sa.Column("window_sequence", sa.Integer),
    sa.Column("facts", sa.JSON, nullable=False),
    sa.Column("acted_on_at", Moment),
)

heartbeats = sa.Table(
    "heartbeats",
    metadata,
    sa.Column("process", sa.String(80), primary_key=True),
    sa.Column("at", Moment, nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
)

reports = sa.Table(
    "reports",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("kind", sa.String(20), nullable=False, index=True),
    sa.Column("at", Moment, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("object_key", sa.Text, nullable=False),
    sa.Column("facts", sa.JSON, nullable=False),
)

keys = sa.Table(
    "keys",
    metadata,
    sa.Column("name", sa.String(80), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
