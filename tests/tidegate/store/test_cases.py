"""A card's alerts of a day are one case, however they come and whoever writes at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.rows import START, at, put_alert
from tests.dataflows.streams import query
from tests.waiting import FOR_LOCKS, wait_until
from tidegate.schema import Decision, Decisions
from tidegate.store import alerts, cases, decisions
from tidegate.store.alert_work import change
from tidegate.store.alerts import AlertFilter
from tidegate.store.cases import Case, CaseFilter
from tidegate.store.connection import Conn, connect

HOUR = 3600
MakeDecisions = Callable[..., Decisions]


@pytest.fixture
def conn(everywhere: Conn) -> Conn:
    return everywhere


@pytest.fixture
def two(database: str) -> Iterator[tuple[Conn, Conn]]:
    """Two writers' connections."""
    with ExitStack() as stack:
        first, second = (
            stack.enter_context(connect(database, application_name="tidegate-test"))
            for _ in range(2)
        )
        yield first, second
        first.rollback()
        second.rollback()


def case_of(conn: Conn, alert_id: UUID) -> Case:
    alert = alerts.get(conn, alert_id)
    assert alert is not None
    assert alert.case_id is not None
    case = cases.get(conn, alert.case_id)
    assert case is not None
    return case


def all_cases(conn: Conn) -> list[Case]:
    return cases.page(conn, CaseFilter(), limit=1000)


def test_the_first_alert_of_a_card_opens_a_case_of_an_id_that_derives_from_it(conn: Conn) -> None:
    alert_id = put_alert(conn, 5, score=0.7, amount_minor=120)
    case = case_of(conn, alert_id)
    assert case == Case(
        case_id=cases.case_id(alert_id),
        card_token="card-1",
        opened_at=at(5),
        first_event_time=at(5),
        last_event_time=at(5),
        status="open",
        outcome=None,
        assignee=None,
        alert_count=1,
        open_count=1,
        currency="EUR",
        amount_minor=120,
        highest_score=0.7,
        version=1,
        changed_at=None,
    )
    assert case.case_id.version == 8


def test_alerts_within_a_day_of_the_first_join_its_case_and_are_counted(conn: Conn) -> None:
    first = put_alert(conn, 0, amount_minor=100, score=0.5)
    put_alert(conn, 24 * HOUR, amount_minor=20, score=0.9)
    put_alert(conn, -24 * HOUR, amount_minor=3, score=0.6)
    (case,) = all_cases(conn)
    assert case.case_id == cases.case_id(first)
    assert (case.alert_count, case.open_count, case.amount_minor) == (3, 3, 123)
    assert (case.first_event_time, case.last_event_time) == (at(-24 * HOUR), at(24 * HOUR))
    assert (case.highest_score, case.version, case.changed_at is None) == (0.9, 3, False)


def test_a_later_alert_another_card_and_a_closed_case_are_a_new_case(conn: Conn) -> None:
    first = put_alert(conn, 0)
    later = put_alert(conn, 24 * HOUR + 1)
    other = put_alert(conn, 0, card_token="card-2")
    assert len({case_of(conn, one).case_id for one in (first, later, other)}) == 3
    # Of two that could be joined the newer one is.
    assert case_of(conn, put_alert(conn, 12 * HOUR)) == case_of(conn, later)
    conn.execute("UPDATE alert_case SET status = 'closed' WHERE card_token = 'card-2'")
    again = put_alert(conn, 1, card_token="card-2")
    assert case_of(conn, again).case_id == cases.case_id(again)


def test_amounts_of_several_currencies_have_no_sum(conn: Conn) -> None:
    first = put_alert(conn, 0, currency="EUR")
    put_alert(conn, 1, currency="JPY")
    put_alert(conn, 2, currency="JPY")
    case = case_of(conn, first)
    assert (case.currency, case.amount_minor, case.alert_count) == (None, None, 3)


def test_a_sum_may_be_larger_than_any_amount(conn: Conn) -> None:
    first = put_alert(conn, 0, amount_minor=2**63 - 1)
    put_alert(conn, 1, amount_minor=2**63 - 1)
    assert case_of(conn, first).amount_minor == 2**64 - 2


def test_a_change_of_an_alert_is_a_new_version_of_its_case_alone(conn: Conn) -> None:
    first, other = put_alert(conn, 0), put_alert(conn, 0, card_token="card-2")
    put_alert(conn, 1)
    change(conn, first, 1, {"assignee": "ann"}, actor="ann")
    assert (case_of(conn, first).version, case_of(conn, first).open_count) == (3, 2)
    change(conn, first, 2, {"status": "closed", "outcome": "fraud"}, actor="ann")
    case = case_of(conn, first)
    assert (case.version, case.open_count, case.alert_count) == (4, 1, 2)
    assert (case.status, case.outcome) == ("open", None)
    change(conn, first, 3, {"status": "open"}, actor="ann")
    assert case_of(conn, first).open_count == 2
    assert case_of(conn, other).version == 1


def test_an_alert_that_is_there_counts_nothing_and_opens_nothing(conn: Conn) -> None:
    alert_id = put_alert(conn, 0)
    before = all_cases(conn)
    for days in (0, 9):
        conn.execute(
            """
            INSERT INTO alert (alert_id, transaction_id, event_time, card_token, terminal_id,
                amount_minor, currency, score, decision, reasons, model_version)
            SELECT alert_id, transaction_id, event_time + %s, card_token, terminal_id, 999, 'JPY',
                1, decision, reasons, model_version FROM alert WHERE alert_id = %s
            ON CONFLICT DO NOTHING
            """,
            (timedelta(days=days), alert_id),
        )
    assert all_cases(conn) == before


def a_stream(decided: MakeDecisions, ids: list[str]) -> Decisions:
    """Alerts of three cards, six hours apart."""
    part = decided(ids, decisions=[Decision.REVIEW] * len(ids))
    part.batch.event_time[:] = part.batch.event_time[0] + [
        n * 6 * HOUR * 10**6 for n in range(len(ids))
    ]
    return part


@pytest.mark.parametrize("cut", [1, 4, 7, 40])
def test_cases_do_not_depend_on_how_a_stream_is_cut_and_a_replay_changes_nothing(
    database: str, decided: MakeDecisions, cut: int
) -> None:
    whole = a_stream(decided, [f"t{n}" for n in range(40)])
    wanted: dict[str, tuple[int, UUID]] = {}
    for n, (card, moment) in enumerate(
        zip(whole.batch.card_token, whole.batch.event_time.tolist(), strict=True)
    ):
        opened = wanted.get(f"{card}")
        if opened is None or moment - opened[0] > 24 * HOUR * 10**6:
            opened = moment, cases.case_id(decisions.alert_id(f"t{n}"))
            wanted[f"{card}"] = opened
        wanted[f"t{n}"] = opened
    with connect(database, application_name="tidegate-test") as conn:
        for begin in range(0, 40, cut):
            rows = whole.batch.content[begin : begin + cut]
            part = whole.take(rows.astype("int64"))
            decisions.write(conn, [part])
            conn.commit()
        found = conn.execute("SELECT transaction_id, case_id FROM alert").fetchall()
        assert dict(found) == {f"t{n}": wanted[f"t{n}"][1] for n in range(40)}
        before = all_cases(conn)
        assert Counter(id for _, id in found) == {c.case_id: c.alert_count for c in before}
        decisions.write(conn, [whole])
        # As after its retention: the decisions are gone, their alerts are not.
        conn.execute("DELETE FROM score")
        decisions.write(conn, [whole, whole])
        conn.commit()
        assert all_cases(conn) == before


def test_who_joins_a_case_that_is_being_closed_waits_and_opens_another(
    two: tuple[Conn, Conn],
) -> None:
    ann, writer = two
    first = put_alert(ann, 0)
    ann.commit()
    ann.execute("UPDATE alert_case SET status = 'closed'")
    with ThreadPoolExecutor(1) as other:
        late = other.submit(put_alert, writer, 1)
        with pytest.raises(TimeoutError):
            late.result(0.5)
        ann.commit()
        second = late.result(20)
    writer.commit()
    assert case_of(ann, first).alert_count == 1
    assert case_of(ann, second).case_id == cases.case_id(second)


def test_two_writers_of_one_card_lose_no_alert_and_count_none_twice(
    two: tuple[Conn, Conn],
) -> None:
    one, other = two
    first = put_alert(one, 0)
    second = put_alert(other, 1)  # neither sees the other
    one.commit()
    other.commit()
    third = put_alert(one, 2)
    one.commit()
    found = {case.case_id: case.alert_count for case in all_cases(one)}
    assert found == {cases.case_id(first): 1, cases.case_id(second): 2}
    assert case_of(one, third).case_id == cases.case_id(second)


def test_writers_whose_cards_come_in_another_order_do_not_wait_for_each_other(
    two: tuple[Conn, Conn], decided: MakeDecisions, database: str
) -> None:
    """A payment is decided by its terminal's shard, so two workers may write alerts of one card."""
    one, other = two
    decisions.write(one, [alerted(decided, "open", ["card-a", "card-b"])])
    one.commit()
    with (
        ThreadPoolExecutor(2) as both,  # first, so that whatever fails lets go before it waits
        connect(database, application_name="tidegate-test") as first,
        connect(database, application_name="tidegate-test") as second,
    ):
        for holder, card in ((first, "card-a"), (second, "card-b")):
            holder.execute("SELECT FROM alert_case WHERE card_token = %s FOR UPDATE", (card,))
        written = [
            both.submit(write, conn, alerted(decided, name, cards))
            for conn, name, cards in (
                (one, "one", ["card-a", "card-b"]),
                (other, "other", ["card-b", "card-a"]),
            )
        ]
        for holder in (first, second):
            # Asked in a transaction of its own: one sees of other sessions what it first saw.
            wait_until(lambda: query(database, FOR_LOCKS) == [(2,)])
            holder.rollback()
        for each in written:
            each.result(20)
    assert {case.alert_count for case in all_cases(one)} == {3}


def write(conn: Conn, part: Decisions) -> None:
    """Commits at once: whoever comes second waits for it."""
    decisions.write(conn, [part])
    conn.commit()


def alerted(decided: MakeDecisions, name: str, cards: list[str]) -> Decisions:
    part = decided([f"{name}-{card}" for card in cards], decisions=[Decision.REVIEW] * len(cards))
    part.batch.card_token[:] = cards
    return part


def walk(conn: Conn, which: CaseFilter, order: cases.Order, limit: int) -> list[Case]:
    seen: list[Case] = []
    after: cases.Position | None = None
    while page := cases.page(conn, which, limit=limit, order=order, after=after):
        seen += page
        last = page[-1]
        after = (
            (last.opened_at, last.case_id)
            if order == "newest"
            else (last.highest_score, last.case_id)
        )
    return seen


@pytest.fixture(scope="module")
def many(postgres: str, _template: str) -> Iterator[Conn]:
    """Cases of every kind, with equal times and scores among them."""
    from tests import databases

    with (
        databases.fresh(postgres, _template) as url,
        connect(url, application_name="tidegate-test") as conn,
    ):
        for n in range(60):
            put_alert(conn, n % 7 * 100_000, card_token=f"card-{n % 23}", score=(n * 7 % 10) / 10)
        conn.execute(
            """
            UPDATE alert_case AS c SET
                status = (ARRAY['open', 'investigating', 'closed'])[1 + mod(n, 3)],
                outcome = CASE mod(n, 3) WHEN 2 THEN
                    (ARRAY['fraud', 'genuine', 'unclear'])[1 + mod(n, 2)] END,
                assignee = CASE mod(n, 4) WHEN 1 THEN 'ann' WHEN 2 THEN 'bob' END
            FROM (SELECT case_id, row_number() OVER (ORDER BY case_id) AS n FROM alert_case) AS o
            WHERE o.case_id = c.case_id
            """
        )
        conn.commit()
        yield conn


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    which=st.builds(
        CaseFilter,
        status=st.none() | st.sampled_from(["open", "investigating", "closed"]),
        outcome=st.none() | st.sampled_from(["fraud", "genuine", "unclear"]),
        assignee=st.none() | st.sampled_from(["ann", "bob", "eve"]),
        card_token=st.none() | st.sampled_from(["card-1", "card-2"]),
        min_score=st.none() | st.sampled_from([0.0, 0.3, 0.9]),
        since=st.none() | st.integers(0, 7).map(lambda n: START + timedelta(seconds=n * 100_000)),
        until=st.none() | st.integers(0, 7).map(lambda n: START + timedelta(seconds=n * 100_000)),
    ),
    order=st.sampled_from(["newest", "score"]),
    limit=st.integers(1, 9),
)
def test_pages_of_any_filter_are_what_a_model_of_it_gives(
    many: Conn, which: CaseFilter, order: cases.Order, limit: int
) -> None:
    def asked(case: Case) -> bool:
        plain = ("status", "outcome", "assignee", "card_token")
        return (
            all(getattr(which, n) in (None, getattr(case, n)) for n in plain)
            and (which.min_score is None or case.highest_score >= which.min_score)
            and (which.since is None or case.opened_at >= which.since)
            and (which.until is None or case.opened_at < which.until)
        )

    def place(case: Case) -> tuple[float, UUID]:
        by = case.opened_at.timestamp() if order == "newest" else case.highest_score
        return -by, case.case_id

    wanted = sorted(filter(asked, all_cases(many)), key=place)
    assert walk(many, which, order, limit) == wanted


def test_an_alert_is_found_by_its_case(conn: Conn) -> None:
    first = put_alert(conn, 0)
    second = put_alert(conn, 1)
    put_alert(conn, 2, card_token="card-2")
    which = AlertFilter(case_id=cases.case_id(first))
    found = [alert.alert_id for alert in alerts.page(conn, which, limit=9)]
    assert found == [second, first]
