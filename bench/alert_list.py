"""The list of alerts by HTTP while there are a million of them.

Why: the list is what analysts have open all day, and it must stay quick as alerts pile up. The API
is the real command in a process of its own; it is asked one request after the other.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from statistics import median, quantiles
from time import perf_counter

from bench import database
from bench.given import Given
from bench.http_client import Connections
from bench.report import Figure, Report, figure, say
from bench.streams import api
from tidegate.store import connection

CARDS, TERMINALS = 200_000, 10_000
ASKED = 1_000  # requests of each kind
WARM_UP = 20
_AT_ONCE = 100_000

# A minute lies between two alerts; one in ten is open. Without the triggers, which are what raising
# an alert costs, not reading it: cases and words stay empty.
WITHOUT_TRIGGERS = "SET LOCAL session_replication_role = replica"
FILL = """
INSERT INTO alert (alert_id, transaction_id, event_time, card_token, terminal_id, amount_minor,
    currency, score, decision, reasons, model_version, status, outcome, created_at)
SELECT gen_random_uuid(), 'payment-' || n, at, 'card-' || mod(hashint8(n)::bigint + 2147483648,
        %(cards)s), 'terminal-' || mod(hashint8(n + 1)::bigint + 2147483648, %(terminals)s),
    mod(n * 7919, 100000), CASE mod(n, 4) WHEN 0 THEN 'USD' ELSE 'EUR' END, .3 + .7 * random(),
    CASE mod(n, 3) WHEN 0 THEN 'decline' ELSE 'review' END,
    '[{"code": "terminal_fraud_7d", "weight": 1.25, "text": "3 frauds here in 7 days"},
      {"code": "amount_to_card", "weight": 0.75, "text": "43.00 EUR, usually 11.20 EUR"},
      {"code": "card_count_10m", "weight": 0.5, "text": "5 payments in 10 minutes"}]',
    'v1', CASE mod(n, 10) WHEN 0 THEN 'open' ELSE 'closed' END,
    CASE mod(n, 10) WHEN 0 THEN NULL ELSE 'genuine' END, at
FROM generate_series(%(from)s::bigint, %(to)s::bigint - 1) AS n,
    LATERAL (SELECT now() - n * interval '1 minute') AS moment (at)
"""


def bench(given: Given) -> Report:
    """Milliseconds of each kind of list, as who asks sees them."""
    rows = given.size(1_000_000, 5_000)
    asked = given.part(ASKED, 100)
    with database.server() as server, database.fresh(server) as url:
        _fill(url, rows)
        with api(url, given.directory) as (_, port):
            figures = asyncio.run(_measured(port, asked, random.Random(7)))
    notes = [
        f"{rows:,} alerts, a tenth of them open; {asked:,} requests of each kind, 50 alerts each"
    ]
    return Report("alert_list", rows, 1, figures, notes)


def _fill(url: str, rows: int) -> None:
    with connection.connect(url, application_name="tidegate-bench") as conn:
        for start in range(0, rows, _AT_ONCE):
            end = min(rows, start + _AT_ONCE)
            conn.execute(WITHOUT_TRIGGERS)
            values = {"cards": CARDS, "terminals": TERMINALS, "from": start, "to": end}
            conn.execute(FILL, values)
            conn.commit()
            say(f"  {end:,} alerts are there")
        conn.autocommit = True
        conn.execute("VACUUM (ANALYZE) alert")


async def _measured(port: int, asked: int, rng: random.Random) -> list[Figure]:
    def card() -> str:
        return f"card_token=card-{rng.randrange(CARDS)}"

    def terminal() -> str:
        return f"terminal_id=terminal-{rng.randrange(TERMINALS)}"

    kinds: dict[str, Callable[[], str]] = {
        "newest": lambda: "",
        "open, by score": lambda: "status=open&sort=score",
        "open, declined, newest": lambda: "status=open&decision=decline",
        "above a score, by amount": lambda: "min_score=0.6&sort=amount&currency=EUR",
        "of a card": card,
        "of a terminal": terminal,
    }
    client = Connections("127.0.0.1", port, {})
    figures: list[Figure] = []
    try:
        for name, query in kinds.items():
            took: list[float] = []
            after = ""
            for number in range(WARM_UP + asked):
                path = f"/v1/alerts?{query()}{after}"
                begin = perf_counter()
                answer = await client.send("GET", path)
                if number >= WARM_UP:
                    took.append(1000 * (perf_counter() - begin))
                assert answer.status == 200, answer.body
                # On to the next page, of those that go on for long; a card's begin anew.
                next_page = json.loads(answer.body)["next"]
                one_query = name not in ("of a card", "of a terminal")
                after = f"&after={next_page}" if one_query and next_page else ""
            figures += [
                figure(f"{name}: median", [median(took)], "ms"),
                figure(f"{name}: 99 of 100", [quantiles(took, n=100)[98]], "ms"),
            ]
    finally:
        client.close()
    return figures
