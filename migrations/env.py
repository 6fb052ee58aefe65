"""Alembic's entry: runs the versions on the connection that `migrations` opened and locked."""

from __future__ import annotations

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    # A version commits on its own: what a later one needs committed (TimescaleDB's continuous
    # aggregates) is then there, and a failure keeps the versions before it.
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
