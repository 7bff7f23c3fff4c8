"""Alembic's revisions of `infra.schema`, in order."""
