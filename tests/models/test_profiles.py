"""Profiles against a plain reference: every feature, however the stream is cut into batches."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.cards import CardProfiles
from models.entities import SMALLEST
from models.features import CARD, CARD_LATER, PAYMENT, TERMINAL, hundredths
from models.portable import BadState, pack, unpack
from models.profiles import Profiles
from models.terminals import TerminalProfiles
from tests.models.reference import expected
from tests.models.rows import (
    START,
    Cut,
    Event,
    Known,
    Payment,
    batch,
    examples,
    long_stream,
    paid,
    streams,
)
from tidegate.schema import DAY, HOUR, MINUTE, Features, View

KINDS: dict[str, type[Profiles]] = {"card": CardProfiles, "terminal": TerminalProfiles}
NAMES = {"card": PAYMENT + CARD + CARD_LATER, "terminal": TERMINAL}
both = pytest.mark.parametrize("kind", KINDS)


def never(event: Event) -> bool:
    return False


def always(event: Event) -> bool:
    return True


def drawn(event: Event) -> bool:
    return isinstance(event, Cut)


def play(
    profiles: Profiles,
    events: Sequence[Event],
    cut: Callable[[Event], bool] = drawn,
    pause: Callable[[Profiles], Profiles] = lambda profiles: profiles,
) -> Features:
    """Features of every payment; `pause` may put other profiles in the place of these between two
    batches. Batches end where `cut` says so and before labels."""
    parts: list[Features] = []
    waiting: list[Payment] = []

    def flush() -> None:
        if waiting:
            those = batch(waiting)
            parts.append(profiles.observe(those, hundredths(those)))
            waiting.clear()

    for event in events:
        if isinstance(event, Payment):
            waiting.append(event)
        if isinstance(event, Known):
            flush()
            profiles.learn(examples(event.outcomes))
        if cut(event):
            flush()
            profiles = pause(profiles)
    flush()
    width = profiles.width()
    return np.concatenate([np.empty((0, width), np.float32), *parts])


def assert_same(kind: str, found: Features, wanted: Features) -> None:
    assert found.shape == wanted.shape
    for row, column in np.argwhere(found != wanted).tolist():
        pytest.fail(
            f"row {row}, {NAMES[kind][column]}: {found[row, column]!r} "
            f"instead of {wanted[row, column]!r}"
        )


def saved_and_loaded(profiles: Profiles) -> Profiles:
    return type(profiles).load(profiles.dump())


@both
@settings(max_examples=30, deadline=None)
@given(events=streams())
def test_features_are_those_of_the_plain_reference_for_every_batching(
    kind: str, events: list[Event]
) -> None:
    wanted = expected(kind, events)
    for cut in (never, always, drawn):
        assert_same(kind, play(KINDS[kind](), events, cut), wanted)


@both
@pytest.mark.parametrize("seed", [1, 2])
def test_features_are_those_of_the_plain_reference_over_a_long_stream(kind: str, seed: int) -> None:
    events = long_stream(seed, 1200)
    assert_same(kind, play(KINDS[kind](), events), expected(kind, events))


@both
@settings(max_examples=15, deadline=None)
@given(events=streams(), maturity=st.floats(0.5, 20))
def test_windows_of_labels_reach_back_by_the_maturity_rounded_up_to_days(
    kind: str, events: list[Event], maturity: float
) -> None:
    wanted = expected(kind, events, int(np.ceil(maturity)))
    assert_same(kind, play(KINDS[kind](maturity), events), wanted)


@both
@settings(max_examples=20, deadline=None)
@given(events=streams())
def test_saving_and_loading_in_the_middle_changes_nothing(kind: str, events: list[Event]) -> None:
    found = play(KINDS[kind](), events, always, saved_and_loaded)
    assert_same(kind, found, expected(kind, events))


@both
def test_a_profile_loaded_and_dumped_again_has_equal_bytes(kind: str) -> None:
    profiles = KINDS[kind]()
    play(profiles, long_stream(3, 200))
    data = profiles.dump()
    assert KINDS[kind].load(data).dump() == data


@both
@pytest.mark.parametrize("shards", [1, 2, 4])
def test_splitting_entities_over_shards_changes_nothing(kind: str, shards: int) -> None:
    events = long_stream(4, 500)
    wanted = expected(kind, events)
    shard_of = [shard(getattr(payment, kind), shards) for payment in paid(events)]
    for number in range(shards):
        mine: list[Event] = []
        for event in events:
            if isinstance(event, Payment):
                if shard(getattr(event, kind), shards) == number:
                    mine.append(event)
            elif isinstance(event, Known):
                mine.append(
                    Known(
                        tuple(
                            outcome
                            for outcome in event.outcomes
                            if shard(getattr(outcome[0], kind), shards) == number
                        )
                    )
                )
            else:
                mine.append(event)
        assert_same(kind, play(KINDS[kind](), mine), wanted[np.array(shard_of) == number])


def shard(name: str, shards: int) -> int:
    return zlib.crc32(name.encode()) % shards


@both
@pytest.mark.parametrize("seed", [5, 6])
def test_forgetting_idle_entities_changes_nothing(kind: str, seed: int) -> None:
    """Hundreds of entities that come once make room be sought again and again."""
    rng = np.random.default_rng(seed)
    events: list[Event] = []
    strangers = 0
    for event in long_stream(seed, 500):
        events.append(event)
        if isinstance(event, Payment) and rng.random() < 0.1:
            for _ in range(rng.integers(1, 120)):
                strangers += 1
                name = f"stranger-{strangers}"
                events.append(Payment(name, event.at, card=name, terminal=name))
    profiles = KINDS[kind]()
    found = play(profiles, events)
    assert strangers > 2000
    assert len(profiles) < strangers
    assert_same(kind, found, expected(kind, events))


@both
def test_a_late_first_payment_in_new_room_is_taken_at_its_own_time(kind: str) -> None:
    """Room is made for the 257th entity; that must not pass for an earlier payment of it."""
    events: list[Event] = [
        Payment(f"t{n}", START, card=f"c{n}", terminal=f"t{n}") for n in range(SMALLEST)
    ]
    events[1:1] = [Cut()]
    events += [
        Cut(),
        Payment("late", START - 20 * HOUR, card="late", terminal="late"),
        Cut(),
        Payment("next", START + HOUR, card="late", terminal="late"),
    ]
    assert_same(kind, play(KINDS[kind](), events), expected(kind, events))


@both
def test_memory_is_bounded_over_a_stream_of_ever_new_entities(kind: str) -> None:
    profiles = KINDS[kind]()
    sizes, a_day = [], 20
    for day in range(400):
        names = [f"{day}-{number}" for number in range(a_day)]
        those = batch(
            [Payment(n, START + day * DAY + i, card=n, terminal=n) for i, n in enumerate(names)]
        )
        profiles.observe(those, hundredths(those))
        if day % 50 == 49:
            sizes.append((len(profiles), len(profiles.dump())))
    alive = a_day * (7 + 32 + 2 + 1)
    assert max(count for count, _ in sizes) <= 3 * alive
    assert sizes[-1][1] < 2 * sizes[1][1]


@both
def test_an_idle_entity_begins_anew(kind: str) -> None:
    first = Payment("first", START)
    for idle, known in ((39 * DAY, True), (39 * DAY + 1, False)):
        profiles = KINDS[kind]()
        found = play(profiles, [first, Payment("next", START + idle)])[1]
        if kind == "card":
            assert (found[NAMES[kind].index("card_age_days")] >= 0) == known
        else:
            assert found[NAMES[kind].index("terminal_count_30d")] == 0


@both
def test_a_label_is_not_seen_before_it_is_learned(kind: str) -> None:
    profiles = KINDS[kind]()
    labelled = NAMES[kind].index("card_frauds_30d" if kind == "card" else "terminal_frauds_30d")
    payments = [Payment(f"t{n}", START + n * DAY) for n in range(4)]
    assert play(profiles, payments)[:, labelled].tolist() == [0] * 4
    profiles.learn(examples([(payments[0], View.UNKNOWN, True)]))
    after = [Payment("u", START + 4 * DAY), Payment("v", START + 4 * DAY)]
    assert play(profiles, after)[:, labelled].tolist() == [1, 1]


@both
def test_a_correction_takes_back_what_was_learned_and_a_repeat_adds_nothing(kind: str) -> None:
    payment = Payment("t", START)
    first, then = View.UNKNOWN, [(View.FRAUD, True), (View.FRAUD, False), (View.GENUINE, False)]
    corrected, told_once = KINDS[kind](), KINDS[kind]()
    for profiles in (corrected, told_once):
        play(profiles, [payment])
    corrected.learn(examples([(payment, first, True)]))
    for before, fraud in then:
        corrected.learn(examples([(payment, before, fraud)]))
    told_once.learn(examples([(payment, first, False)]))
    assert corrected.dump() == told_once.dump()


@both
def test_an_example_the_learners_leave_out_still_counts(kind: str) -> None:
    payment = Payment("t", START)
    weighed, left_out = KINDS[kind](), KINDS[kind]()
    for profiles, weight in ((weighed, 1.0), (left_out, 0.0)):
        play(profiles, [payment])
        profiles.learn(examples([(payment, View.UNKNOWN, True)], weight=[weight]))
    assert weighed.dump() == left_out.dump()


@both
def test_an_empty_batch_has_no_features_and_changes_nothing(kind: str) -> None:
    profiles = KINDS[kind]()
    before = profiles.dump()
    nobody = batch([])
    assert profiles.observe(nobody, hundredths(nobody)).shape == (0, len(NAMES[kind]))
    profiles.learn(examples([]))
    assert profiles.dump() == before


def test_a_burst_of_one_card_in_one_batch_sees_itself_grow() -> None:
    burst = [Payment(f"t{n}", START + n * 10 * MINUTE // 60) for n in range(40)]
    found = play(CardProfiles(), burst, never)
    assert found[:, NAMES["card"].index("card_count_10m")].tolist() == list(range(40))


def test_cards_saved_before_unusual_payments_were_counted_go_on_without_them() -> None:
    events = [event for event in long_stream(3, 400) if isinstance(event, Payment)]
    cards = CardProfiles()
    play(cards, events[:200])
    arrays = unpack("card-profiles", 2, cards.dump())
    older = {name: array for name, array in arrays.items() if "unusual" not in name}
    loaded = CardProfiles.load(pack("card-profiles", 1, older))
    found, wanted = play(loaded, events[200:]), play(cards, events[200:])
    counted = [name.startswith("card_unusual") for name in NAMES["card"]]
    assert (found[:, ~np.array(counted)] == wanted[:, ~np.array(counted)]).all()
    assert CardProfiles.load(loaded.dump()).dump() == loaded.dump()


def test_a_payment_of_more_than_three_times_the_cards_mean_is_told_of_later_ones() -> None:
    usual = [Payment(f"t{n}", START + n * DAY, minor=1_000) for n in range(5)]
    large = Payment("large", START + 5 * DAY, minor=3_001)
    later = [Payment(f"u{n}", START + 5 * DAY + n * DAY // 2, minor=1_000) for n in (1, 3, 20, 29)]
    found = play(CardProfiles(), [*usual, large, *later])[len(usual) :]
    columns = [NAMES["card"].index(f"card_unusual_{which}") for which in ("1d", "7d", "14d")]
    age = NAMES["card"].index("card_unusual_age_days")
    assert found[:, columns].tolist() == [
        [0, 0, 0], [1, 1, 1], [0, 1, 1], [0, 0, 1], [0, 0, 0]
    ]  # fmt: skip
    assert found[:, age].tolist() == [-1, 0.5, 1.5, 10, 14.5]


def saved(kind: str) -> bytes:
    profiles = KINDS[kind]()
    play(profiles, long_stream(7, 60))
    return profiles.dump()


@both
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_flipped_bit_is_refused(kind: str, data: st.DataObject) -> None:
    damaged = bytearray(SAVED[kind])
    place = data.draw(st.one_of(st.integers(0, 80), st.integers(0, len(damaged) - 1)))
    damaged[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(BadState):
        KINDS[kind].load(bytes(damaged))


@both
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_torn_bytes_are_refused(kind: str, data: st.DataObject) -> None:
    whole = SAVED[kind]
    length = data.draw(st.one_of(st.integers(0, 80), st.integers(0, len(whole) - 1)))
    with pytest.raises(BadState):
        KINDS[kind].load(whole[:length])


SAVED = {kind: saved(kind) for kind in KINDS}


def test_cards_are_not_loaded_as_terminals() -> None:
    with pytest.raises(BadState, match="not a saved terminal-profiles but a card-profiles"):
        TerminalProfiles.load(SAVED["card"])


@both
def test_profiles_of_another_maturity_are_refused(kind: str) -> None:
    with pytest.raises(ValueError, match="maturity of 7 days, not 9"):
        KINDS[kind].load(SAVED[kind], maturity_days=8.5)
