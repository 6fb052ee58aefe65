"""Which releases work with which schema."""

from __future__ import annotations

import pytest

import migrations
from tidegate.store import release
from tidegate.store.connection import Conn
from tidegate.store.release import Release, Schema

OWN = Release("0016", {"0014", "0015", "0016"})
OLD = "this version works with 0016: run tidegate migrate"
TOO_OLD = "this version works with 0016 and is too old for it: install the newer version"


@pytest.fixture
def conn(everywhere: Conn) -> Conn:
    return everywhere


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (Schema("0016", "0014"), None),
        (Schema("0017", "0016"), None),  # newer, and it only added
        (Schema("0019", "0014"), None),
        (Schema(None, None), f"is at no revision, {OLD}"),
        (Schema("0014", None), f"is at 0014, {OLD}"),
        (Schema("0015", "0014"), f"is at 0015, {OLD}"),
        (Schema("0018", "0017"), f"is at 0018, {TOO_OLD}"),
    ],
)
def test_a_release_says_what_to_do_about_a_schema(found: Schema, said: str | None) -> None:
    assert release.refusal(OWN, found) == said


def test_the_database_says_where_it_is(conn: Conn) -> None:
    assert release.schema(conn) == Schema(migrations.head(), "0014")
    conn.execute("DROP TABLE schema_support")
    assert release.schema(conn) == Schema(migrations.head(), None)
    conn.execute("DROP TABLE alembic_version")
    assert release.schema(conn) == Schema(None, None)
