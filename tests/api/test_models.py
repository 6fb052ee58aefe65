from __future__ import annotations

from tests.api.rows import put_metric, put_model, put_promotion, put_version


def test_models_are_listed_with_their_newest_version_and_metrics(client, conn):
    put_version(conn, "v1", 1)
    put_version(conn, "v2", 2)
    put_metric(conn, "average_precision", 2, 0.5)
    put_version(conn, "w1", 3, name="other")
    conn.commit()
    page = client.get("/v1/models", params={"limit": 1}).json()
    (champion,) = page["data"]
    assert champion["latest"]["version"] == "v2"
    assert champion["metrics"]["average_precision"]["value"] == 0.5
    rest = client.get("/v1/models", params={"after": page["next"]}).json()
    assert [model["name"] for model in rest["data"]] == ["other"]
    assert rest["next"] is None


def test_a_model_tells_its_versions_and_its_metrics_over_time(client, conn):
    for n in range(5):
        put_version(conn, f"v{n}", n)
        put_metric(conn, "average_precision", n, n / 10)
    conn.commit()
    first = client.get("/v1/models/champion", params={"limit": 3, "points": 2}).json()
    assert [info["version"] for info in first["versions"]["data"]] == ["v4", "v3", "v2"]
    assert first["metrics"]["average_precision"][-1]["value"] == 0.4
    assert len(first["metrics"]["average_precision"]) == 2
    given = {"limit": 3, "after": first["versions"]["next"]}
    rest = client.get("/v1/models/champion", params=given).json()
    assert [info["version"] for info in rest["versions"]["data"]] == ["v1", "v0"]


def test_an_unknown_model_is_404(client):
    assert client.get("/v1/models/champion").status_code == 404


def roles(*models):
    return [
        (model["name"], model["serving"], model["servable"], model["running"]) for model in models
    ]


def test_models_tell_which_one_serves_and_which_could(client, conn):
    put_version(conn, "v1", 1)
    put_version(conn, "w1", 1, name="old")
    put_model(conn, "champion")
    put_model(conn, "forest", servable=False)
    put_model(conn, "quick", running=False)
    conn.commit()
    listed = client.get("/v1/models").json()["data"]
    assert roles(*listed) == [
        ("champion", True, True, True),
        ("forest", False, False, True),
        ("old", False, None, None),
        ("quick", False, True, False),
    ]
    assert (listed[1]["latest"], listed[1]["metrics"]) == (None, {})
    put_promotion(conn, "quick", "champion")
    conn.commit()
    assert [model["serving"] for model in client.get("/v1/models").json()["data"]] == [
        *(False, False, False, True)
    ]
    one_by_one = [client.get(f"/v1/models/{model['name']}").json() for model in listed]
    assert roles(*one_by_one) == [
        ("champion", False, True, True),
        ("forest", False, False, True),
        ("old", False, None, None),
        ("quick", True, True, False),
    ]
