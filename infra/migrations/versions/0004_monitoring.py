"""Blocks of traffic, labels that were asked for, and the distance from the origin"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    with op.batch_alter_table("profiles", schema=None) as batch_op:
        batch_op.add_column(sa.Column("origin_key", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("accepted_at", _MOMENT, nullable=True))
    op.create_table(
        "blocks",
        sa.Column("name", sa.String(120), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("started_at", _MOMENT, nullable=False),
        sa.Column("ended_at", _MOMENT, nullable=False),
        sa.Column("predictions", sa.Integer, nullable=False),
        sa.Column("model_version", sa.Integer, nullable=False),
        sa.Column("distances", sa.JSON, nullable=False),
        sa.Column("sample_key", sa.Text, nullable=False),
    )
    op.create_table(
        "label_requests",
        sa.Column("name", sa.String(120), primary_key=True),
        sa.Column("prediction_id", sa.String(128), primary_key=True),
        sa.Column("predicted_at", _MOMENT, nullable=False),
        sa.Column("asked_at", _MOMENT, nullable=False),
        sa.Column("model_version", sa.Integer, nullable=False),
        sa.Column("stratum", sa.String(40), nullable=False),
        sa.Column("probability", sa.Float, nullable=False),
        sa.Column("uniform_probability", sa.Float, nullable=False),
        sa.Column("in_audit", sa.Boolean, nullable=False),
        sa.Column("policy", sa.String(80), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("label", sa.String(255)),
        sa.Column("answered_at", _MOMENT),
        sa.Column("exported_at", _MOMENT),
        sa.Column("image_sha256", sa.String(64), nullable=False),
        sa.Column("same_as", sa.String(128)),
        sa.Column("facts", sa.JSON, nullable=False),
    )
    op.create_index("ix_label_requests_state", "label_requests", ["state"])
    op.create_index("ix_label_requests_image_sha256", "label_requests", ["image_sha256"])
    op.create_table(
        "label_plans",
        sa.Column("name", sa.String(120), primary_key=True),
        sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("model_version", sa.Integer, nullable=False),
        sa.Column("predictions", sa.Integer, nullable=False),
        sa.Column("not_kept", sa.Integer, nullable=False),
        sa.Column("asked", sa.Integer, nullable=False),
        sa.Column("uniform_probability", sa.Float, nullable=False),
        sa.Column("period_s", sa.Float, nullable=False),
        sa.Column("pace_per_day", sa.Float, nullable=False),
        sa.Column("read_until", sa.JSON, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("label_plans")
    op.drop_table("label_requests")
    op.drop_table("blocks")
    with op.batch_alter_table("profiles", schema=None) as batch_op:
        batch_op.drop_column("accepted_at")
        batch_op.drop_column("origin_key")
