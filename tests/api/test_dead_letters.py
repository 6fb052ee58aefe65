from __future__ import annotations

from tests.api.rows import at, put_dead_letter


def test_dead_letters_come_last_stored_first_in_pages(client, conn):
    for offset in range(5):
        put_dead_letter(conn, offset)
    conn.commit()
    first = client.get("/v1/dead-letters", params={"limit": 3}).json()
    rest = client.get("/v1/dead-letters", params={"limit": 3, "after": first["next"]}).json()
    assert [letter["offset"] for letter in first["data"] + rest["data"]] == [4, 3, 2, 1, 0]
    assert rest["next"] is None


def test_dead_letters_are_filtered_by_reason(client, conn):
    put_dead_letter(conn, 1)
    put_dead_letter(conn, 2, reason="card_number", field="card_token")
    conn.commit()
    (letter,) = client.get("/v1/dead-letters", params={"reason": "card_number"}).json()["data"]
    assert letter["field"] == "card_token"


def test_dead_letters_are_filtered_by_topic_and_by_whether_they_wait(client, conn):
    put_dead_letter(conn, 1)
    put_dead_letter(conn, 2, topic="labels")
    put_dead_letter(conn, 3, topic="labels", replayed_at=at(9))
    conn.commit()

    def offsets(**asked):
        found = client.get("/v1/dead-letters", params=asked).json()["data"]
        return [letter["offset"] for letter in found]

    assert offsets(topic="labels") == [3, 2]
    assert offsets(replayed=False) == [2, 1]
    assert offsets(replayed=True, topic="labels") == [3]
