"""Alembic's entry point: migrates on the connection that `store/upgrade.py` hands over."""

from typing import Any, Literal

from alembic import context

from simyard.store.schema import Instant, metadata


def _render(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    """Migrations name plain types: what a column is now must not change an old migration."""
    return "sa.BigInteger()" if kind == "type" and isinstance(item, Instant) else False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    render_item=_render,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
