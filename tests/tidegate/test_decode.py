from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate import decode
from tidegate.schema import OPTIONAL_FIELDS, Batch, Labels, Reason, to_datetime

VISA = "4111111111111111"
REQUIRED = {
    "transaction_id": "tx-1",
    "event_time": "2018-04-01T12:00:00.25+02:00",
    "amount_minor": 43000,
    "currency": "EUR",
    "card_token": "card-1",
    "terminal_id": "terminal-1",
}
OPTIONAL = {
    "merchant_id": "merchant-1",
    "customer_id": "customer-1",
    "mcc": "0742",
    "merchant_country": "DE",
    "acquirer_country": "FR",
    "pos_entry_mode": "051",
    "channel": "pos",
    "device_id": "device-1",
    "ip": "2001:db8::1",
    "latitude": 52.5,
    "longitude": -13,
    "attributes": {"basket": [1, 2.5, None, True], "note": "für Oma"},
}
LABEL = {
    "transaction_id": "tx-1",
    "fraud": True,
    "source": "chargeback",
    "labelled_at": "2018-04-08T12:00:00Z",
    "reason": "stolen card",
}


def encode(message: object) -> bytes:
    return json.dumps(message, ensure_ascii=False).encode()


def one(**changes: Any) -> bytes:
    """A transaction with all fields, changed; a field changed to `...` is left out."""
    message = {**REQUIRED, **OPTIONAL, **changes}
    return encode({name: value for name, value in message.items() if value is not ...})


def label(**changes: Any) -> bytes:
    message = {**LABEL, **changes}
    return encode({name: value for name, value in message.items() if value is not ...})


def only_bad(found: decode.Decoded[Any]) -> decode.Bad:
    assert len(found.rows) == 0
    (bad,) = found.bad
    return bad


def test_a_message_with_all_fields_becomes_a_row_with_all_of_them() -> None:
    found = decode.transactions([one()])
    rows = found.rows
    assert found.bad == []
    assert found.index.tolist() == [0]
    assert rows.transaction_id.tolist() == ["tx-1"]
    assert to_datetime(rows.event_time[0]).isoformat() == "2018-04-01T10:00:00.250000+00:00"
    assert rows.amount_minor.tolist() == [43000]
    assert rows.currency.tolist() == ["EUR"]
    assert rows.card_token.tolist() == ["card-1"]
    assert rows.terminal_id.tolist() == ["terminal-1"]
    assert tuple(rows.extras) == OPTIONAL_FIELDS
    assert {name: column.tolist() for name, column in rows.extras.items()} == {
        name: [value] for name, value in OPTIONAL.items()
    }


def test_only_the_optional_fields_that_some_row_has_become_columns() -> None:
    found = decode.transactions([encode(REQUIRED), encode({**REQUIRED, "channel": "atm"})])
    assert {name: c.tolist() for name, c in found.rows.extras.items()} == {"channel": [None, "atm"]}
    assert decode.transactions([encode(REQUIRED)]).rows.extras == {}


def test_no_messages_are_no_rows() -> None:
    assert len(decode.transactions([]).rows) == 0
    assert len(decode.labels([]).rows) == 0


def test_unknown_fields_are_left_aside_and_null_is_absent() -> None:
    nulls = dict.fromkeys(OPTIONAL)
    found = decode.transactions([encode({**REQUIRED, **nulls, "new_field": [1]}), encode(REQUIRED)])
    assert found.bad == []
    assert found.rows.extras == {}
    assert found.rows.content[0] == found.rows.content[1]


@pytest.mark.parametrize(
    ("payload", "reason", "field"),
    [
        (b"", Reason.MALFORMED, None),
        (b"{", Reason.MALFORMED, None),
        (b"[]", Reason.MALFORMED, None),
        (b"null", Reason.MALFORMED, None),
        (one() + b"x", Reason.MALFORMED, None),
        (one()[:-1], Reason.MALFORMED, None),
        (one(note="é").replace("é".encode(), b"\xff"), Reason.MALFORMED, None),
        (b'{"a":' * 100_000, Reason.MALFORMED, None),
        (one(ip="x").replace(b'"x"', b'"\\ud800"'), Reason.MALFORMED, None),
        (b"{}", Reason.MISSING_FIELD, "transaction_id"),
        (one(terminal_id=...), Reason.MISSING_FIELD, "terminal_id"),
        (one(currency=None), Reason.MISSING_FIELD, "currency"),
        (one(transaction_id=1), Reason.WRONG_TYPE, "transaction_id"),
        (one(amount_minor=12.0), Reason.WRONG_TYPE, "amount_minor"),
        (one(amount_minor=True), Reason.WRONG_TYPE, "amount_minor"),
        (one(amount_minor="12"), Reason.WRONG_TYPE, "amount_minor"),
        (one(latitude="52"), Reason.WRONG_TYPE, "latitude"),
        (one(attributes=[]), Reason.WRONG_TYPE, "attributes"),
        (one(event_time=1522576800), Reason.WRONG_TYPE, "event_time"),
        (one(amount_minor=2**63), Reason.OUT_OF_RANGE, "amount_minor"),
        (one(amount_minor=-(2**63) - 1), Reason.OUT_OF_RANGE, "amount_minor"),
        (one(latitude=1).replace(b'tude": 1,', b'tude": 1e999,'), Reason.OUT_OF_RANGE, None),
        (one(transaction_id=""), Reason.OUT_OF_RANGE, "transaction_id"),
        (one(transaction_id="x" * 65), Reason.OUT_OF_RANGE, "transaction_id"),
        (one(card_token="x" * 129), Reason.OUT_OF_RANGE, "card_token"),
        (one(terminal_id="a\0b"), Reason.OUT_OF_RANGE, "terminal_id"),
        (one(device_id="a\x85b"), Reason.OUT_OF_RANGE, "device_id"),
        (one(mcc="742"), Reason.OUT_OF_RANGE, "mcc"),
        (one(merchant_country="DEU"), Reason.OUT_OF_RANGE, "merchant_country"),
        (one(acquirer_country="de"), Reason.OUT_OF_RANGE, "acquirer_country"),
        (one(latitude=90.1), Reason.OUT_OF_RANGE, "latitude"),
        (one(longitude=-180.5), Reason.OUT_OF_RANGE, "longitude"),
        (one(attributes={"x": "y" * 4096}), Reason.OUT_OF_RANGE, "attributes"),
        (one(attributes={"x\0": 1}), Reason.OUT_OF_RANGE, "attributes"),
        (one(event_time="2018-04-31T12:00:00Z"), Reason.BAD_TIME, "event_time"),
        (one(event_time="1969-12-31T23:59:59Z"), Reason.BAD_TIME, "event_time"),
        (one(event_time="9999-12-31T23:59:59Z"), Reason.BAD_TIME, "event_time"),
        (one(event_time="2018-04-01T12:00:00"), Reason.TIME_WITHOUT_OFFSET, "event_time"),
        (one(currency="eur"), Reason.UNKNOWN_CURRENCY, "currency"),
        (one(currency="XXX"), Reason.UNKNOWN_CURRENCY, "currency"),
        (one(amount_minor=-1), Reason.NEGATIVE_AMOUNT, "amount_minor"),
        (one(channel="phone"), Reason.UNKNOWN_VALUE, "channel"),
        (one(attributes={"pan": VISA}), Reason.CARD_NUMBER, "attributes"),
        (one(attributes={"pan": int(VISA)}), Reason.CARD_NUMBER, "attributes"),
        (one(attributes={"a": [{VISA: 1}]}), Reason.CARD_NUMBER, "attributes"),
        (one(attributes={"track": f";{VISA}=2512"}), Reason.CARD_NUMBER, "attributes"),
    ],
)
def test_a_message_that_breaks_a_rule_says_which(
    payload: bytes, reason: Reason, field: str | None
) -> None:
    # Among others, as a row of a long column goes another way than a lone one.
    for around in ([], [one()] * 100):
        found = decode.transactions([*around, payload, *around])
        assert len(found.rows) == 2 * len(around)
        (bad,) = found.bad
        assert (bad.reason, bad.field, bad.index) == (reason, field, len(around))
        assert "\n" not in bad.detail
        assert VISA not in bad.detail + bad.payload
        assert len(bad.payload) <= 4096


@pytest.mark.parametrize(
    "field",
    [
        "transaction_id",
        "card_token",
        "terminal_id",
        "merchant_id",
        "customer_id",
        "device_id",
        "pos_entry_mode",
        "ip",
    ],
)
@pytest.mark.parametrize("number", [VISA, "4111-1111 1111-1111", "6759649826438453"])
def test_a_card_number_in_place_of_an_identifier_is_refused(field: str, number: str) -> None:
    bad = only_bad(decode.transactions([one(**{field: number})]))
    assert (bad.reason, bad.field) == (Reason.CARD_NUMBER, field)
    assert number not in bad.detail
    assert number not in bad.payload


@pytest.mark.parametrize("number", ["0" * 13, "100000000008", "910000000000009"])
def test_a_number_with_a_cards_check_digit_is_refused_as_a_token_but_not_as_an_own_number(
    number: str,
) -> None:
    bad = only_bad(decode.transactions([one(card_token=number)]))
    assert (bad.reason, bad.field) == (Reason.CARD_NUMBER, "card_token")
    own = {"transaction_id": number, "terminal_id": number, "merchant_id": number}
    assert len(decode.transactions([one(**own)]).rows) == 1


def test_tokens_that_look_like_card_numbers_but_fail_the_luhn_check_pass() -> None:
    found = decode.transactions([one(card_token="4111111111111112")] * 100)
    assert len(found.rows) == 100


@pytest.mark.parametrize(
    "changes",
    [
        {"amount_minor": 0},
        {"amount_minor": 2**63 - 1},
        {"transaction_id": "é" * 64},
        {"card_token": "𝄞" * 128},
        {"latitude": -90, "longitude": 180},
        {"event_time": "1970-01-01T00:00:00Z"},
        {"event_time": "2200-12-31T23:59:59.999999Z"},
        {"attributes": {}},
        {"attributes": {"a": "x" * 4088}},
        {"attributes": {"literally": "\\u0000"}},
        {"attributes": {"big": 10**400, "clock": 1522584000008}},
    ],
)
def test_the_limits_themselves_are_allowed(changes: dict[str, Any]) -> None:
    assert decode.transactions([one(**changes)]).bad == []


def test_attributes_may_nest_sixteen_deep_and_no_deeper() -> None:
    def nested(depth: int) -> Any:
        return {"a": nested(depth - 1)} if depth > 1 else {}

    found = decode.transactions([one(attributes=nested(16)), one(attributes=nested(17))])
    assert found.index.tolist() == [0]
    assert found.bad[0].reason is Reason.OUT_OF_RANGE
    deep = b'{"a":' * 700 + b"1" + b"}" * 700
    found = decode.transactions([one(attributes=1).replace(b'tes": 1', b'tes": ' + deep)])
    assert only_bad(found).reason in (Reason.OUT_OF_RANGE, Reason.MALFORMED)


def test_the_first_fault_in_the_order_of_the_contract_is_reported() -> None:
    bad = only_bad(decode.transactions([one(event_time="x", amount_minor=-1, channel="x")]))
    assert bad.field == "event_time"
    bad = only_bad(decode.transactions([one(transaction_id=VISA, amount_minor="x")]))
    assert bad.field == "amount_minor"  # what has not even the right type comes first


def test_good_rows_keep_their_order_and_know_their_place() -> None:
    payloads = [one(transaction_id=f"tx-{i}") if i % 3 else b"{" for i in range(300)]
    found = decode.transactions(payloads)
    assert found.index.tolist() == [i for i in range(300) if i % 3]
    assert found.rows.transaction_id.tolist() == [f"tx-{i}" for i in range(300) if i % 3]
    assert [bad.index for bad in found.bad] == list(range(0, 300, 3))


def content(payload: bytes) -> int:
    found = decode.transactions([payload])
    assert found.bad == []
    return int(found.rows.content[0])


def test_every_field_counts_in_the_content() -> None:
    changed = {
        "transaction_id": "tx-2",
        "event_time": "2018-04-01T12:00:00.250001+02:00",
        "amount_minor": 43001,
        "currency": "USD",
        "channel": "atm",
        "mcc": "0743",
        "merchant_country": "FR",
        "acquirer_country": "DE",
        "latitude": 52.4,
        "longitude": 13.1,
        "attributes": {"basket": []},
    }
    contents = {content(one())}
    for name in [*REQUIRED, *OPTIONAL]:
        contents.add(content(one(**{name: changed.get(name, "other")})))
    for name in OPTIONAL:
        contents.add(content(one(**{name: None})))
    assert len(contents) == 1 + len(REQUIRED) + 2 * len(OPTIONAL)


def test_the_same_content_written_in_another_way_is_the_same_content() -> None:
    shuffled = dict(reversed(json.loads(one()).items()))
    shuffled["attributes"] = dict(reversed(shuffled["attributes"].items()))
    shuffled["event_time"] = "2018-04-01T10:00:00.250Z"
    shuffled["longitude"] = -13.0
    assert content(json.dumps(shuffled, indent=3).encode()) == content(one())


def test_the_content_does_not_depend_on_the_process() -> None:
    code = (
        "import sys; from tidegate import decode;"
        "print(decode.transactions([sys.stdin.buffer.read()]).rows.content[0])"
    )
    other = subprocess.run(
        [sys.executable, "-c", code], input=one(), capture_output=True, check=True
    )
    assert int(other.stdout) == content(one())


def test_labels_are_decoded() -> None:
    found = decode.labels([label(), label(fraud=False, reason=..., source="analyst")])
    assert found.bad == []
    assert found.rows.transaction_id.tolist() == ["tx-1", "tx-1"]
    assert found.rows.fraud.tolist() == [True, False]
    assert found.rows.source.tolist() == ["chargeback", "analyst"]
    assert found.rows.reason.tolist() == ["stolen card", None]
    assert to_datetime(found.rows.labelled_at[0]).isoformat() == "2018-04-08T12:00:00+00:00"


@pytest.mark.parametrize(
    ("payload", "reason", "field"),
    [
        (b"{", Reason.MALFORMED, None),
        (label(fraud=...), Reason.MISSING_FIELD, "fraud"),
        (label(labelled_at=None), Reason.MISSING_FIELD, "labelled_at"),
        (label(fraud=1), Reason.WRONG_TYPE, "fraud"),
        (label(fraud="yes"), Reason.WRONG_TYPE, "fraud"),
        (label(source="rumour"), Reason.UNKNOWN_VALUE, "source"),
        (label(labelled_at="2018-04-08"), Reason.BAD_TIME, "labelled_at"),
        (label(labelled_at="2018-04-08T12:00:00"), Reason.TIME_WITHOUT_OFFSET, "labelled_at"),
        (label(transaction_id=VISA), Reason.CARD_NUMBER, "transaction_id"),
        (label(transaction_id="x" * 65), Reason.OUT_OF_RANGE, "transaction_id"),
        (label(reason="x" * 129), Reason.OUT_OF_RANGE, "reason"),
        (label(reason="\0"), Reason.OUT_OF_RANGE, "reason"),
    ],
)
def test_a_label_that_breaks_a_rule_says_which(
    payload: bytes, reason: Reason, field: str | None
) -> None:
    bad = only_bad(decode.labels([payload]))
    assert (bad.reason, bad.field) == (reason, field)
    assert VISA not in bad.detail + bad.payload


def test_a_card_number_in_the_reason_of_a_label_is_masked_and_the_label_kept() -> None:
    found = decode.labels([label(reason=f"card {VISA} was stolen")])
    assert found.rows.reason.tolist() == ["card 411111******1111 was stolen"]


def check(payloads: list[bytes], decoder: Callable[[list[bytes]], decode.Decoded[Any]]) -> None:
    """Every payload is a row or a dead letter, and the rows are what the store can take."""
    found = decoder(payloads)
    assert len(found.rows) == len(found.index)
    assert sorted([*found.index.tolist(), *(bad.index for bad in found.bad)]) == list(
        range(len(payloads))
    )
    for bad in found.bad:
        assert len(bad.payload) <= 4096
        assert "\0" not in bad.payload + bad.detail
        (bad.payload + bad.detail).encode()
    rows: Batch | Labels = found.rows
    assert all(1 <= len(text) <= 64 for text in rows.transaction_id)
    if isinstance(rows, Batch):
        assert (rows.amount_minor >= 0).all()
        for column in (rows.card_token, rows.terminal_id):
            assert all(1 <= len(text) <= 128 and "\0" not in text for text in column)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=80),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


def mutations(message: dict[str, Any]) -> st.SearchStrategy[bytes]:
    """Valid messages with some fields changed to anything, and with some bytes changed."""
    fields = st.dictionaries(st.sampled_from(sorted(message)), values, max_size=3)
    changed = fields.map(lambda changes: json.dumps({**message, **changes}).encode())

    def spoil(payload: bytes, at: int, cut: int, instead: bytes) -> bytes:
        at %= len(payload)
        return payload[:at] + instead + payload[at + cut :]

    spoilt = st.builds(
        spoil, changed, st.integers(0, 10_000), st.integers(0, 5), st.binary(max_size=5)
    )
    return changed | spoilt


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.binary(max_size=200), max_size=5))
def test_no_bytes_whatever_raise(payloads: list[bytes]) -> None:
    check(payloads, decode.transactions)
    check(payloads, decode.labels)


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(mutations({**REQUIRED, **OPTIONAL}), max_size=5), st.sampled_from([0, 100]))
def test_no_damaged_transaction_raises(payloads: list[bytes], good: int) -> None:
    check([one()] * good + payloads, decode.transactions)


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(mutations(LABEL), max_size=5))
def test_no_damaged_label_raises(payloads: list[bytes]) -> None:
    check(payloads, decode.labels)


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(mutations({**REQUIRED, **OPTIONAL}), min_size=1, max_size=5))
def test_a_payload_fares_the_same_alone_as_among_others(payloads: list[bytes]) -> None:
    together = decode.transactions(payloads + [one()] * 100)
    for place, payload in enumerate(payloads):
        alone = decode.transactions([payload])
        if alone.bad:
            (bad,) = (bad for bad in together.bad if bad.index == place)
            assert (bad.reason, bad.field, bad.detail, bad.payload) == (
                alone.bad[0].reason,
                alone.bad[0].field,
                alone.bad[0].detail,
                alone.bad[0].payload,
            )
        else:
            (row,) = (together.index == place).nonzero()[0].tolist()
            assert together.rows.content[row] == alone.rows.content[0]
