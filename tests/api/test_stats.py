from __future__ import annotations

from tests.api.rows import put_alert, put_dead_letter, put_label, put_metric, put_score, put_version
from tidegate.store.totals import recount


def test_the_stats_of_nothing_are_zero(client):
    stats = client.get("/v1/stats").json()
    assert stats["stream_time"] is None
    assert stats["decisions"]["total"] == 0
    assert stats["labels"] == {"total": 0, "frauds": 0, "by_source": {}}
    assert stats["average_precision"] is None


def test_the_stats_add_up(client, conn):
    put_version(conn, "v1", 0)
    put_score(conn, "t-1", 0)
    put_score(conn, "t-2", 1, decision="decline")
    put_alert(conn, 1, transaction_id="t-2", decision="decline")
    put_label(conn, "t-2", 1)
    put_dead_letter(conn, 1)
    recount(conn)  # dead letters are counted by who writes them
    put_metric(conn, "average_precision", 1, 0.7)
    put_metric(conn, "average_precision_7d", 1, 0.8)
    conn.commit()
    stats = client.get("/v1/stats").json()
    assert stats["decisions"] == {
        "total": 2,
        "approve": 1,
        "review": 0,
        "decline": 1,
        "approximate": False,
    }
    assert stats["alerts"] == {"open": 1, "investigating": 0, "closed": 0}
    assert stats["labels"] == {"total": 1, "frauds": 1, "by_source": {"chargeback": 1}}
    assert stats["dead_letters"] == {"total": 1, "by_reason": {"malformed": 1}}
    assert stats["transactions"] == {"last_hour": 2, "last_day": 2}
    assert stats["stream_time"] == "2026-03-01T12:00:01Z"
    assert stats["model"] == "champion"
    assert stats["average_precision"]["value"] == 0.7
    assert stats["average_precision_7d"]["value"] == 0.8
