"""Tokens, canary and shadow, and what is to be forgotten"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)
_NEW_COLUMNS = {
    "pointers": (("share", sa.Float()),),
    "pointer_history": (("share", sa.Float()),),
    "serving_workers": (
        ("canary_version", sa.Integer()),
        ("shadow_version", sa.Integer()),
        ("rollout_error", sa.Text()),
    ),
}


def upgrade() -> None:
    for table, columns in _NEW_COLUMNS.items():
        with op.batch_alter_table(table, schema=None) as batch_op:
            for name, kind in columns:
                batch_op.add_column(sa.Column(name, kind, nullable=True))
    op.create_table(
        "tokens",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("name", sa.String(80), nullable=False),
        sa.Column("role", sa.String(20), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False, unique=True),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("created_by", sa.String(120), nullable=False),
        sa.Column("revoked_at", _MOMENT),
    )
    op.create_table(
        "forgettings",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("prediction_id", sa.String(128)),
        sa.Column("pseudonym_key", sa.String(64)),
        sa.Column("pseudonym", sa.String(64), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("steps", sa.JSON, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("finished_at", _MOMENT),
    )
    op.create_index("ix_forgettings_state", "forgettings", ["state"])


def downgrade() -> None:
    op.drop_table("forgettings")
    op.drop_table("tokens")
    for table, columns in _NEW_COLUMNS.items():
        with op.batch_alter_table(table, schema=None) as batch_op:
            for name, _ in columns:
                batch_op.drop_column(name)
