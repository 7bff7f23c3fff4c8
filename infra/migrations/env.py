"""Alembic's entry: runs inside the connection that `infra.database.migrate` hands over."""

from alembic import context

from infra.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
context.run_migrations()
