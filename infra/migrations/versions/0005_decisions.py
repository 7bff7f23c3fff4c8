"""Jobs that are claimed, beat and can be cancelled; requests from outside; rollouts step by step"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("claim", sa.String(36), nullable=True))
        batch_op.add_column(sa.Column("beat_at", _MOMENT, nullable=True))
        batch_op.add_column(sa.Column("attempts", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("cancel_asked_at", _MOMENT, nullable=True))
    op.create_table(
        "retrain_requests",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("name", sa.String(120), nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("asked_by", sa.String(120), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("state", sa.String(20), nullable=False, index=True),
        sa.Column("words", sa.Text),
        sa.Column("decided_at", _MOMENT),
        sa.Column("job_id", sa.String(36)),
    )
    op.create_table(
        "rollout_runs",
        sa.Column("name", sa.String(120), primary_key=True),
        sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("champion_version", sa.Integer),
        sa.Column("stage", sa.String(20), nullable=False, index=True),
        sa.Column("started_at", _MOMENT, nullable=False),
        sa.Column("stage_since", _MOMENT, nullable=False),
        sa.Column("ended_at", _MOMENT),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("job_id", sa.String(36)),
        sa.Column("state", sa.JSON, nullable=False),
        sa.Column("words", sa.Text, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("rollout_runs")
    op.drop_table("retrain_requests")
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        for name in ("cancel_asked_at", "attempts", "beat_at", "claim"):
            batch_op.drop_column(name)
