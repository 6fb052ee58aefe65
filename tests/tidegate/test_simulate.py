"""The simulation: the same for the same seed, and true to what it says of fraud and labels."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tidegate import decode, simulate
from tidegate.schema import DAY, HOUR, MINUTE, Batch, Labels, to_datetime
from tidegate.simulate import START, Day, Pattern, World
from tidegate.simulation.files import FORMATS
from tidegate.simulation.payments import Payments
from tidegate.simulation.places import Kind

SEED = 11
DAYS = 40


@pytest.fixture(scope="module")
def world() -> World:
    return simulate.world(4_000, 1_300, SEED)


@pytest.fixture(scope="module")
def simulated(world: World) -> list[Day]:
    return list(simulate.days(world, START, DAYS, SEED))


@pytest.fixture(scope="module")
def paid(simulated: list[Day]) -> Payments:
    return Payments.concat([day.payments for day in simulated])


@pytest.fixture(scope="module")
def history(simulated: list[Day]) -> tuple[Batch, Labels]:
    return (
        Batch.concat([day.batch() for day in simulated]),
        Labels.concat([day.labels for day in simulated]),
    )


def episodes(paid: Payments, pattern: Pattern) -> Iterator[Payments]:
    """Each episode of a pattern that began early enough to be whole, in time order."""
    rows = paid.take(paid.pattern == pattern)
    last = paid.time[-1] - 4 * DAY
    first = paid.time[0] + 4 * DAY
    for number in np.unique(rows.episode):
        episode = rows.take(rows.episode == number)
        if first < episode.time[0] < last:
            yield episode


def checksum(batch: Batch, labels: Labels) -> str:
    digest = hashlib.sha256()
    for numbers in (batch.event_time, batch.amount_minor, labels.labelled_at, labels.fraud):
        digest.update(numbers.astype("<i8").tobytes())
    named = [batch.transaction_id, batch.card_token, batch.terminal_id, batch.currency]
    for column in [*named, labels.transaction_id, labels.source, labels.reason]:
        digest.update("\n".join(column).encode())
    return digest.hexdigest()


def same(one: Payments, other: Payments) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in one.__slots__)


# Stability


def test_a_seed_gives_the_same_payments_on_every_machine() -> None:
    batch, labels = simulate.simulate(300, 100, 20, seed=5)
    assert (
        checksum(batch, labels)
        == "3c103c1f5f6172921bff33f0c0847902919f271edef6fe26eaa3b8b586f71eff"
    )


def test_another_seed_gives_other_payments() -> None:
    one, _ = simulate.simulate(50, 20, 2, seed=1)
    other, _ = simulate.simulate(50, 20, 2, seed=2)
    assert one.amount_minor.tolist() != other.amount_minor.tolist()


def test_a_simulation_cut_into_parts_is_the_same(world: World, simulated: list[Day]) -> None:
    parts = [
        *simulate.days(world, START, 3, SEED),
        *simulate.days(world, START + timedelta(days=3), 1, SEED),
        *simulate.days(world, START + timedelta(days=4), 2, SEED),
    ]
    for part, day in zip(parts, simulated, strict=False):
        assert part.date == day.date
        assert same(part.payments, day.payments)
        assert part.transaction_id.tolist() == day.transaction_id.tolist()
        assert part.labels.labelled_at.tolist() == day.labels.labelled_at.tolist()


# Rows


def test_rows_are_ordered_by_time_and_id_and_ids_are_unique(
    history: tuple[Batch, Labels],
) -> None:
    batch, _ = history
    keys = list(zip(batch.event_time.tolist(), batch.transaction_id.tolist(), strict=True))
    assert keys == sorted(keys)
    assert len(set(batch.transaction_id)) == len(batch)


def test_every_day_holds_its_own_payments_only(simulated: list[Day]) -> None:
    for day in simulated:
        times = day.payments.time
        assert to_datetime(int(times[0])).date() == day.date
        assert to_datetime(int(times[-1])).date() == day.date


def test_the_messages_pass_the_contract_and_are_read_back_the_same(tmp_path: Path) -> None:
    batch, labels = simulate.simulate(200, 50, 8, seed=3)
    paths = simulate.write(tmp_path, 200, 50, 8, 3, format="jsonl")
    lines, label_lines = (path.read_bytes().splitlines() for path in paths)
    read = decode.transactions(lines)
    assert not read.bad
    assert read.rows.extras.keys() == batch.extras.keys()
    for name in ("transaction_id", "event_time", "amount_minor", "currency", "card_token"):
        assert getattr(read.rows, name).tolist() == getattr(batch, name).tolist()
    for name, column in batch.extras.items():
        assert read.rows.extras[name].tolist() == column.tolist()
    assert read.rows.content.tolist() == batch.content.tolist()
    read_labels = decode.labels(label_lines)
    assert not read_labels.bad
    for name in labels.__slots__:
        assert getattr(read_labels.rows, name).tolist() == getattr(labels, name).tolist()


def test_ids_of_the_largest_seed_are_short_and_never_look_like_card_numbers(
    tmp_path: Path,
) -> None:
    paths = simulate.write(tmp_path, 200, 50, 3, 2**32 - 1, format="jsonl")
    lines = paths[0].read_bytes().splitlines()
    assert not decode.transactions(lines).bad
    # Not even a part of one does: a dead letter would mask it.
    for line in lines:
        identifier = json.loads(line)["transaction_id"]
        assert len(identifier) <= 64
        assert not re.search(r"\d(?:[ -]?\d){11}", identifier)


@pytest.mark.parametrize(
    ("customers", "terminals", "days", "seed"),
    [(0, 50, 1, 0), (5, 19, 1, 0), (5, 50, 0, 0), (5, 50, 1, -1), (5, 50, 1, 2**32)],
)
def test_numbers_out_of_range_are_refused(
    customers: int, terminals: int, days: int, seed: int
) -> None:
    with pytest.raises(ValueError, match="must be"):
        simulate.simulate(customers, terminals, days, seed)


def test_one_customer_with_hardly_a_payment_is_enough() -> None:
    batch, labels = simulate.simulate(1, 20, 10, seed=9)
    assert len(batch) > 0
    assert set(labels.transaction_id) <= set(batch.transaction_id)


# Behaviour


def test_fraud_is_about_one_payment_in_a_hundred_and_every_pattern_occurs(paid: Payments) -> None:
    assert 0.005 < paid.fraud.mean() < 0.0125
    for pattern in Pattern:
        share = float((paid.pattern == pattern).mean())
        assert share > 0.0005, pattern
        assert pattern < Pattern.TESTING or share < 0.006, pattern


def test_even_a_demo_of_ten_thousand_payments_shows_every_pattern_of_fraud() -> None:
    size = simulate.sized(10_000)
    world = simulate.world(size.customers, size.terminals, 1)
    seen = {int(p) for d in simulate.days(world, START, size.days, 1) for p in d.payments.pattern}
    assert seen == {int(pattern) for pattern in Pattern}


def test_a_stolen_card_is_tested_with_small_payments_within_minutes_then_emptied(
    world: World, paid: Payments
) -> None:
    found = 0
    for episode in episodes(paid, Pattern.TESTING):
        rate = world.terminals.rate[episode.terminal]
        small = episode.take(episode.time <= episode.time[0] + 15 * MINUTE)
        later = episode.take(episode.time > episode.time[0] + 15 * MINUTE)
        cheap = small.take(small.amount <= 501 * world.terminals.rate[small.terminal])
        assert len(set(episode.card)) == 1
        assert len(cheap) >= 4
        assert len(set(cheap.terminal)) >= 4
        assert set(world.terminals.kind[episode.terminal]) == {Kind.ECOM}
        assert 1 <= len(episode) - len(cheap) <= 3
        assert episode.time[-1] <= episode.time[0] + 2 * HOUR
        assert len(later) <= 3
        assert (episode.amount / rate).max() > 501
        found += 1
    assert found > 20


def test_a_compromised_terminal_takes_ordinary_amounts_from_many_cards_for_days(
    paid: Payments,
) -> None:
    shares, lengths = [], []
    for episode in episodes(paid, Pattern.TERMINAL):
        assert len(set(episode.terminal)) == 1
        if len(episode) < 10:
            continue
        between = (paid.time >= episode.time[0]) & (paid.time <= episode.time[-1])
        here = paid.terminal == episode.terminal[0]
        shares.append(len(episode) / (between & here).sum())
        lengths.append((episode.time[-1] - episode.time[0]) / DAY)
        assert len(set(episode.card)) > 1
    assert len(shares) > 5
    assert 0.2 < np.median(shares) < 0.9
    assert 3 < np.median(lengths) < 28
    stolen = np.median(paid.amount[paid.pattern == Pattern.TERMINAL])
    ordinary = np.median(paid.amount[paid.pattern == Pattern.ORDINARY])
    assert 0.5 < stolen / ordinary < 2


def test_an_account_is_taken_over_from_a_new_device_in_another_country_mostly_at_night(
    world: World, paid: Payments
) -> None:
    home = world.customers.home
    night = found = 0
    times_usual = []
    genuine = paid.take(~paid.fraud)
    for episode in episodes(paid, Pattern.TAKEOVER):
        card = int(episode.card[0])
        countries = set(world.terminals.merchant_country[episode.terminal])
        local = world.terminals.first[Kind.SHOP, home[card]]
        assert world.terminals.merchant_country[local] not in countries
        assert 3 <= len(episode) <= 8
        assert episode.time[-1] - episode.time[0] <= 6 * HOUR
        assert len(set(episode.device)) == 1
        own = genuine.device[(genuine.card == card) & (genuine.time < episode.time[0])]
        assert (own == episode.device[0]).mean() < 0.05 if len(own) else True
        hour = int(episode.time[0]) % DAY // HOUR
        night += hour >= 20 or hour < 7
        found += 1
        cents = episode.amount / world.terminals.rate[episode.terminal]
        times_usual.append(float(np.median(cents / np.exp(world.customers.mu[card]))))
    assert found > 20
    assert night / found > 0.6
    assert np.median(times_usual) > 3


def test_a_stolen_card_spends_multiples_of_its_usual_amount_at_terminals_it_does_not_know(
    world: World, paid: Payments
) -> None:
    ratios, known, found = [], 0, 0
    for episode in episodes(paid, Pattern.SPIKE):
        card = int(episode.card[0])
        cents = episode.amount / world.terminals.rate[episode.terminal]
        ratios.extend(np.log(cents) - world.customers.mu[card])
        known += int(np.isin(episode.terminal, world.customers.favourites[card]).sum())
        assert 4 <= len(episode) <= 12
        assert episode.time[-1] - episode.time[0] <= 3 * DAY
        found += len(episode)
    assert found > 100
    assert 2 < np.exp(np.median(ratios)) < 6
    assert known / found < 0.1


def test_genuine_bursts_look_like_testing_but_stay_at_one_terminal(paid: Payments) -> None:
    for pattern in (Pattern.VENDING, Pattern.IN_APP):
        found = list(episodes(paid, pattern))
        assert len(found) > 20
        for episode in found:
            assert len(set(episode.terminal)) == 1
            assert len(episode) >= 3
            assert episode.time[-1] - episode.time[0] <= 15 * MINUTE


def test_customers_have_habits_a_rhythm_and_amounts_of_their_own(
    world: World, paid: Payments
) -> None:
    own = paid.take(paid.pattern == Pattern.ORDINARY)
    kind = world.terminals.kind[own.terminal]
    shops = own.take(kind == Kind.SHOP)
    at_favourites = (shops.terminal[:, None] == world.customers.favourites[shops.card]).any(axis=1)
    assert 0.6 < at_favourites.mean() < 0.95
    home = world.customers.home[shops.card] == world.terminals.city[shops.terminal]
    assert home.all()
    hour = shops.time % DAY // HOUR
    assert ((hour >= 1) & (hour < 5)).mean() < 0.1
    weekday = (own.time // DAY + 3) % 7  # 1970-01-01 was a Thursday
    assert (weekday == 5).mean() > 1.15 * (weekday == 6).mean()
    cents = np.log(own.amount / world.terminals.rate[own.terminal])
    count = np.bincount(own.card, minlength=len(world))
    busy = count >= 20
    spend = np.bincount(own.card, cents, len(world))[busy] / count[busy]
    assert np.corrcoef(spend, world.customers.mu[busy])[0, 1] > 0.8


def test_the_amount_alone_tells_little(paid: Payments) -> None:
    flagged = np.argsort(-paid.amount, kind="stable")[: int(paid.fraud.sum())]
    assert paid.fraud[flagged].mean() < 0.15


# Labels


def test_labels_are_of_payments_and_come_after_them(history: tuple[Batch, Labels]) -> None:
    batch, labels = history
    times = dict(zip(batch.transaction_id, batch.event_time.tolist(), strict=True))
    for identifier, at in zip(labels.transaction_id, labels.labelled_at.tolist(), strict=True):
        assert at > times[identifier]


def test_every_fraud_is_known_once_and_85_in_100_within_a_week(
    simulated: list[Day], history: tuple[Batch, Labels]
) -> None:
    batch, labels = history
    fraud = np.concatenate([day.payments.fraud for day in simulated])
    times = dict(zip(batch.transaction_id, batch.event_time.tolist(), strict=True))
    expected = set(batch.transaction_id[fraud])
    told = labels.take(labels.fraud)
    ids = [i for i in told.transaction_id if i in expected]
    assert len(ids) == len(expected)
    assert set(ids) == expected
    delay = np.array(
        [
            at - times[i]
            for i, at in zip(told.transaction_id, told.labelled_at.tolist(), strict=True)
            if i in expected
        ]
    )
    assert 0.83 < (delay <= 7 * DAY).mean() < 0.87
    assert delay.max() > 14 * DAY
    assert delay.max() <= 60 * DAY
    assert set(told.source) == {"issuer", "customer", "chargeback"}
    charged = told.take(told.source == "chargeback")
    late = [
        at - times[i]
        for i, at in zip(charged.transaction_id, charged.labelled_at.tolist(), strict=True)
    ]
    assert 6 * DAY < np.median(late) < 8 * DAY


def test_the_newest_label_is_the_truth_and_a_few_contradict_an_earlier_one(
    simulated: list[Day], history: tuple[Batch, Labels]
) -> None:
    batch, labels = history
    fraud = np.concatenate([day.payments.fraud for day in simulated])
    truth = dict(zip(batch.transaction_id, fraud.tolist(), strict=True))
    newest: dict[str, tuple[int, bool]] = {}
    changed = set()
    for identifier, at, told in zip(
        labels.transaction_id, labels.labelled_at.tolist(), labels.fraud.tolist(), strict=True
    ):
        before = newest.get(identifier)
        if before is not None and before[1] != told:
            changed.add(identifier)
        if before is None or at > before[0]:
            newest[identifier] = (at, told)
    assert all(truth[identifier] == told for identifier, (_, told) in newest.items())
    assert 0 < len(changed) < 0.03 * fraud.sum()
    genuine = [identifier for identifier, (_, told) in newest.items() if not told]
    assert 20 < len(genuine) < 0.3 * fraud.sum()
    assert set(labels.source[~labels.fraud]) == {"analyst"}


def test_labels_become_known_on_their_day_and_none_is_lost(
    simulated: list[Day], history: tuple[Batch, Labels]
) -> None:
    known = list(simulate.as_known(simulated, content=False))
    assert len(known) == DAYS + 1
    assert len(known[-1][0]) == 0
    first = simulated[0].payments.time[0] // DAY * DAY
    for number, (_, labels) in enumerate(known[:-1]):
        assert (labels.labelled_at // DAY == first // DAY + number).all()
    together = Labels.concat([labels for _, labels in known])
    assert sorted(together.transaction_id) == sorted(history[1].transaction_id)
    order = list(zip(together.labelled_at.tolist(), together.transaction_id, strict=True))
    assert order == sorted(order)


# Files


def rows_of(path: Path) -> list[dict[str, Any]]:
    """A file's rows as JSON has them, without what is absent."""
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_bytes().splitlines()]
    if path.suffix == ".parquet":
        found = pq.read_table(path).to_pylist()
        return [{k: _as_json(v) for k, v in row.items() if v is not None} for row in found]
    with path.open(newline="") as file:
        found = list(csv.DictReader(file))
    return [{k: _parsed(k, v) for k, v in row.items() if v != ""} for row in found]


def _as_json(value: object) -> object:
    if isinstance(value, datetime):
        assert value.utcoffset() == timedelta(0)
        return f"{value.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"
    return value


def _parsed(name: str, text: str) -> object:
    if name == "fraud":
        return {"true": True, "false": False}[text]
    numbers = {"amount_minor": int, "latitude": float, "longitude": float}
    return numbers[name](text) if name in numbers else text


def test_the_three_formats_hold_the_same_rows(tmp_path: Path) -> None:
    assert set(FORMATS) == {"parquet", "csv", "jsonl"}
    paths = {f: simulate.write(tmp_path, 150, 40, 6, 4, format=f) for f in FORMATS}
    batch, labels = simulate.simulate(150, 40, 6, 4)
    for part, count in ((0, len(batch)), (1, len(labels))):
        expected = rows_of(paths["jsonl"][part])
        assert len(expected) == count
        assert rows_of(paths["csv"][part]) == expected
        assert rows_of(paths["parquet"][part]) == expected
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        f"{name}.{f}" for name in ("labels", "transactions") for f in ("csv", "jsonl", "parquet")
    ]


def test_parquet_columns_have_the_types_of_the_contract(tmp_path: Path) -> None:
    transactions, labels = simulate.write(tmp_path, 50, 20, 2, 4)
    types = {field.name: str(field.type) for field in pq.read_schema(transactions)}
    assert types["event_time"] == "timestamp[us, tz=UTC]"
    assert types["amount_minor"] == "int64"
    assert types["latitude"] == "double"
    types = {field.name: str(field.type) for field in pq.read_schema(labels)}
    assert types["labelled_at"] == "timestamp[us, tz=UTC]"
    assert types["fraud"] == "bool"


def test_progress_is_told_after_every_day(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    simulate.write(tmp_path, 20, 20, 3, 4, progress=lambda done, days: told.append((done, days)))
    assert told == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("format", FORMATS)
def test_an_interrupted_run_leaves_the_older_files_and_nothing_else(
    tmp_path: Path, format: str
) -> None:
    older = [path.read_bytes() for path in simulate.write(tmp_path, 20, 20, 2, 4, format=format)]

    def stop(done: int, days: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate.write(tmp_path, 20, 20, 2, 5, format=format, progress=stop)
    left = sorted(tmp_path.iterdir(), key=lambda path: path.name, reverse=True)
    assert [path.read_bytes() for path in left] == older


def test_an_unknown_format_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="parquet, csv, jsonl"):
        simulate.write(tmp_path / "new", 20, 20, 1, 0, format="xml")
    assert not (tmp_path / "new").exists()


# Sizes


@pytest.mark.parametrize("transactions", [1, 300, 5_000, 40_000])
@pytest.mark.parametrize("start", [START, date(2026, 6, 18)])
def test_a_sized_simulation_has_enough_payments_and_few_more(
    transactions: int, start: date
) -> None:
    size = simulate.sized(transactions)
    for seed in range(3):
        world = simulate.world(size.customers, size.terminals, seed)
        made = sum(map(len, simulate.days(world, start, size.days, seed)))
        assert transactions <= made <= 1.15 * transactions + 20 * transactions**0.5 + 200
