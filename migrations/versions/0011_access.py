"""Who may do what: keys with a role, sessions of the pages, an audit that can be read and aged.

Keys of before had no role and nothing that read them; any that somebody wrote by hand are revoked.
"""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

KEYS = (
    "ALTER TABLE api_key ADD COLUMN role text, ADD COLUMN created_by text,"
    " ADD COLUMN revoked_by text",
    "UPDATE api_key SET role = 'viewer', created_by = 'before roles',"
    " revoked_at = coalesce(revoked_at, now())",
    "ALTER TABLE api_key ALTER COLUMN role SET NOT NULL, ALTER COLUMN created_by SET NOT NULL,"
    " ALTER COLUMN scopes DROP NOT NULL",  # none given: all that the role may
    "DROP INDEX api_key_prefix",
    "ALTER TABLE api_key ADD CONSTRAINT api_key_prefix UNIQUE (prefix)",
)

# Of the cookie, only the SHA-256. A session ends with its key.
SESSIONS = (
    """
    CREATE TABLE page_session (
        session_hash bytea PRIMARY KEY CHECK (octet_length(session_hash) = 32),
        key_id uuid NOT NULL REFERENCES api_key ON DELETE CASCADE,
        created_at timestamptz NOT NULL DEFAULT now(),
        expires_at timestamptz NOT NULL,
        used_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    "CREATE INDEX page_session_of_key ON page_session (key_id)",
    "CREATE INDEX page_session_ends ON page_session (expires_at)",
)

AUDIT_INDEXES = (
    "CREATE INDEX audit_newest ON audit (at DESC, audit_id DESC)",
    "CREATE INDEX audit_of_actor ON audit (actor, at DESC, audit_id DESC)",
    "CREATE INDEX audit_of_action ON audit (action, at DESC, audit_id DESC)",
    "CREATE INDEX audit_of_subject ON audit (subject, at DESC, audit_id DESC)",
)

# A row may go that is older than 30 days, where its transaction says so; what is newer never. The
# setting is a transaction's own word and no permission: it stops mistakes, and what was written in
# the last days stays whoever says it.
AGES = """
CREATE OR REPLACE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND TG_LEVEL = 'ROW' THEN
        IF current_setting('tidegate.audit_retention', true) = 'on'
            AND OLD.at < now() - interval '30 days'
        THEN
            RETURN OLD;
        END IF;
    END IF;
    RAISE EXCEPTION 'audit is append-only: % is refused', TG_OP
        USING ERRCODE = 'insufficient_privilege';
END
$$
"""

REFUSES_ALL = """
CREATE OR REPLACE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit is append-only: % is refused', TG_OP
        USING ERRCODE = 'insufficient_privilege';
END
$$
"""


def upgrade() -> None:
    """Adds what keys need, the sessions, and what the audit is read by."""
    for statement in (*KEYS, *SESSIONS, *AUDIT_INDEXES, AGES):
        op.execute(statement)


def downgrade() -> None:
    """Takes it back. Code of before knows no keys, so none is lost to it."""
    op.execute(REFUSES_ALL)
    for name in ("audit_of_subject", "audit_of_action", "audit_of_actor", "audit_newest"):
        op.execute(f"DROP INDEX {name}")
    op.execute("DROP TABLE page_session")
    op.execute("ALTER TABLE api_key DROP CONSTRAINT api_key_prefix")
    op.execute("CREATE INDEX api_key_prefix ON api_key (prefix)")
    op.execute("UPDATE api_key SET scopes = '{}' WHERE scopes IS NULL")
    op.execute("ALTER TABLE api_key ALTER COLUMN scopes SET NOT NULL")
    op.execute(
        "ALTER TABLE api_key DROP COLUMN role, DROP COLUMN created_by, DROP COLUMN revoked_by"
    )
