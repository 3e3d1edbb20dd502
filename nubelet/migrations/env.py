"""How Alembic reaches the database: by the connection it was given, in its transaction."""

from alembic import context

from nubelet.kernel.database import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=False,
    transactional_ddl=True,
    render_item=context.config.attributes.get("render_item"),
)
context.run_migrations()
