from __future__ import annotations

import csv
import gzip
import json
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tidegate import decode, lines, readers
from tidegate.schema import Batch, DeadLetters, Reason, to_datetime

VISA = "4111111111111111"

Record = dict[str, Any]
Writer = Callable[[Path, Sequence[Record]], Path]


def record(number: int, **changes: Any) -> Record:
    """A transaction; a field changed to `...` is left out."""
    found = {
        "transaction_id": f"tx-{number}",
        "event_time": f"2018-04-{number % 28 + 1:02}T12:00:{number % 60:02}Z",
        "amount_minor": 100 + number,
        "currency": "EUR" if number % 2 else "JPY",
        "card_token": f"card-{number % 50}",
        "terminal_id": f"terminal-{number % 7}",
        "channel": "pos" if number % 3 else None,
        "latitude": 52.5 if number % 5 else None,
        "attributes": {"n": number, "note": 'a, "b"'} if number % 4 == 0 else None,
        **changes,
    }
    return {name: value for name, value in found.items() if value is not ...}


def write_jsonl(path: Path, records: Sequence[Record]) -> Path:
    path = path.with_suffix(".jsonl")
    path.write_text("".join(json.dumps(one) + "\n" for one in records))
    return path


def write_csv(path: Path, records: Sequence[Record]) -> Path:
    path = path.with_suffix(".csv")
    names = list(dict.fromkeys(name for one in records for name in one))
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        for one in records:
            cells = (one.get(name) for name in names)
            writer.writerow([json.dumps(c) if isinstance(c, dict) else c for c in cells])
    return path


def write_parquet(path: Path, records: Sequence[Record]) -> Path:
    path = path.with_suffix(".parquet")
    rows = [
        {n: json.dumps(v) if isinstance(v, dict) else v for n, v in one.items()} for one in records
    ]
    # Small row groups, so that chunks do not fall on their borders.
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=37)
    return path


WRITERS = [write_jsonl, write_csv, write_parquet]


def read(path: Path, **options: Any) -> readers.Chunk:
    """The whole file as one chunk."""
    (chunk,) = readers.TransactionFile(path, **options).chunks()
    return chunk


def faults(dead: DeadLetters) -> list[tuple[int, str, str | None]]:
    return list(zip(dead.offset.tolist(), dead.reason, dead.field, strict=True))


@pytest.mark.parametrize("write", WRITERS)
def test_a_file_gives_what_the_same_messages_give(write: Writer, tmp_path: Path) -> None:
    records = [record(n) for n in range(100)]
    chunk = read(write(tmp_path / "t", records))
    expected = decode.transactions([json.dumps(one).encode() for one in records]).rows
    assert len(chunk.dead) == 0
    assert chunk.fraud is None
    assert chunk.index.tolist() == list(range(100))
    assert chunk.rows.content.tolist() == expected.content.tolist()
    assert chunk.rows.event_time.tolist() == expected.event_time.tolist()
    for name in ("transaction_id", "amount_minor", "currency", "card_token", "terminal_id"):
        assert getattr(chunk.rows, name).tolist() == getattr(expected, name).tolist()
    assert {n: c.tolist() for n, c in chunk.rows.extras.items()} == {
        n: c.tolist() for n, c in expected.extras.items()
    }


@pytest.mark.parametrize("write", WRITERS)
def test_reading_resumes_at_any_chunk_and_finds_the_same_chunks(
    write: Writer, tmp_path: Path
) -> None:
    records = [record(n, currency="???" if n % 10 == 3 else "EUR") for n in range(205)]
    file = readers.TransactionFile(write(tmp_path / "t", records))
    for size in (1, 20, 37, 64, 205, 500):
        whole = list(file.chunks(size=size))
        assert [chunk.start for chunk in whole] == list(range(0, 205, size))
        assert sum(chunk.records for chunk in whole) == 205
        ids = [i for chunk in whole for i in chunk.rows.transaction_id]
        assert ids == [f"tx-{n}" for n in range(205) if n % 10 != 3]
        assert [int(i) for chunk in whole for i in chunk.dead.offset] == list(range(3, 205, 10))
        for first in {0, len(whole) // 2, len(whole) - 1, len(whole)}:
            rest = list(file.chunks(start=first * size, size=size))
            assert len(rest) == len(whole) - first
            for again, once in zip(rest, whole[first:], strict=True):
                assert (again.start, again.records) == (once.start, once.records)
                assert again.index.tolist() == once.index.tolist()
                assert again.rows.content.tolist() == once.rows.content.tolist()
                assert again.dead.offset.tolist() == once.dead.offset.tolist()


@pytest.mark.parametrize(("start", "size"), [(5, 10), (-10, 10), (0, 0)])
def test_a_start_between_chunks_is_refused(start: int, size: int, tmp_path: Path) -> None:
    file = readers.TransactionFile(write_jsonl(tmp_path / "t", [record(0)]))
    with pytest.raises(ValueError, match="multiple"):
        next(file.chunks(start, size))


# Damages a JSON line, and says what should be found.
JSON_DAMAGES: list[tuple[Callable[[bytes], bytes], Reason, str | None]] = [
    (lambda line: line[: len(line) // 2], Reason.MALFORMED, None),
    (lambda line: line.replace(b'"card-', b'"\xff\xfe'), Reason.MALFORMED, None),
    (lambda line: b"[" + line + b"]", Reason.MALFORMED, None),
    (lambda line: line.replace(b"terminal_id", b"terminalid"), Reason.MISSING_FIELD, "terminal_id"),
    (lambda line: line.replace(b'minor": ', b'minor": 0.'), Reason.WRONG_TYPE, "amount_minor"),
    (lambda line: line.replace(b'"tx-', b'"tx' + b"-" * 64), Reason.OUT_OF_RANGE, "transaction_id"),
    (lambda line: line.replace(b"-04-", b"-14-"), Reason.BAD_TIME, "event_time"),
    (lambda line: line.replace(b'Z", "am', b'", "am'), Reason.TIME_WITHOUT_OFFSET, "event_time"),
    (lambda line: line.replace(b'cy": "', b'cy": "Z'), Reason.UNKNOWN_CURRENCY, "currency"),
    (lambda line: line.replace(b'minor": ', b'minor": -'), Reason.NEGATIVE_AMOUNT, "amount_minor"),
    (lambda line: line.replace(b"terminal-", VISA[:-1].encode()), Reason.CARD_NUMBER, None),
    (
        lambda line: line.replace(b'"channel": ', b'"channel": "fax", "x": '),
        Reason.UNKNOWN_VALUE,
        "channel",
    ),
]
CSV_DAMAGES: list[tuple[Callable[[bytes], bytes], Reason, str | None]] = [
    (lambda line: line.rsplit(b",", 6)[0], Reason.MALFORMED, None),
    (lambda line: line + b",more", Reason.MALFORMED, None),
    (lambda line: line.replace(b"card-", b"\xff\xfe"), Reason.MALFORMED, None),
    (lambda line: b'"' + line, Reason.MALFORMED, None),
    (lambda line: line.replace(b",card-", b',"card-'), Reason.MALFORMED, None),
    (lambda line: b"," + line.split(b",", 1)[1], Reason.MISSING_FIELD, "transaction_id"),
    (lambda line: line.replace(b"00:00Z,", b"00:00Z,abc"), Reason.WRONG_TYPE, "amount_minor"),
    (lambda line: line.replace(b"00:00Z,", b"00:00Z,1."), Reason.WRONG_TYPE, "amount_minor"),
    (lambda line: line.replace(b"tx-", b"tx" + b"-" * 64), Reason.OUT_OF_RANGE, "transaction_id"),
    (lambda line: line.replace(b"-04-", b"-14-"), Reason.BAD_TIME, "event_time"),
    (lambda line: line.replace(b"Z,", b","), Reason.TIME_WITHOUT_OFFSET, "event_time"),
    (lambda line: line.replace(b",EUR", b",ZZZ"), Reason.UNKNOWN_CURRENCY, "currency"),
    (lambda line: line.replace(b"00:00Z,", b"00:00Z,-"), Reason.NEGATIVE_AMOUNT, "amount_minor"),
    (
        lambda line: line.replace(b"00:00Z,", b"00:00Z,9" + b"0" * 18),
        Reason.OUT_OF_RANGE,
        "amount_minor",
    ),
    (
        lambda line: line.replace(b"terminal-", VISA[:-1].encode()),
        Reason.CARD_NUMBER,
        "terminal_id",
    ),
    (lambda line: line.replace(b",pos,", b",fax,"), Reason.UNKNOWN_VALUE, "channel"),
]


@pytest.mark.parametrize(
    ("write", "damages", "header"), [(write_jsonl, JSON_DAMAGES, 0), (write_csv, CSV_DAMAGES, 1)]
)
def test_a_file_with_one_line_in_a_hundred_damaged_gives_every_other_row(
    write: Writer,
    damages: list[tuple[Callable[[bytes], bytes], Reason, str | None]],
    header: int,
    tmp_path: Path,
) -> None:
    rows = 100 * len(damages)
    records = [
        record(
            n,
            event_time="2018-04-01T12:00:00Z",
            currency="EUR",
            terminal_id="terminal-1",
            channel="pos",
            attributes=None,
        )
        for n in range(rows)
    ]
    path = write(tmp_path / "t", records)
    written = path.read_bytes().splitlines()
    places = [100 * n + n for n in range(len(damages))]
    for place, (damage, _, _) in zip(places, damages, strict=True):
        line = written[header + place]
        written[header + place] = damage(line)
        assert written[header + place] != line
    path.write_bytes(b"\n".join(written) + b"\n")

    chunks = list(readers.TransactionFile(path).chunks(size=256))

    ids = [i for chunk in chunks for i in chunk.rows.transaction_id]
    assert ids == [f"tx-{n}" for n in range(rows) if n not in places]
    assert [int(i) for chunk in chunks for i in chunk.index] == [
        n for n in range(rows) if n not in places
    ]
    found = [fault for chunk in chunks for fault in faults(chunk.dead)]
    assert [(offset, reason) for offset, reason, _ in found] == [
        (place, reason) for place, (_, reason, _) in zip(places, damages, strict=True)
    ]
    for (_, _, field), (_, _, expected) in zip(found, damages, strict=True):
        assert expected in (field, None)
    assert VISA not in "".join(text for chunk in chunks for text in chunk.dead.payload)


def test_a_dead_letter_of_a_file_says_where_it_came_from(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "t", [record(0), record(1, card_token=VISA)])
    os.utime(path, ns=(0, 1_522_584_000_123_456_789))
    dead = read(path).dead
    assert dead.topic.tolist() == ["t.jsonl"]
    assert dead.partition.tolist() == [0]
    assert dead.offset.tolist() == [1]
    assert to_datetime(dead.at[0]) == datetime(2018, 4, 1, 12, 0, 0, 123456, tzinfo=UTC)
    assert (dead.reason[0], dead.field[0]) == (Reason.CARD_NUMBER, "card_token")
    assert '"card_token": "411111******1111"' in dead.payload[0]


def test_a_broken_quote_costs_its_own_line_only(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "t", [record(n) for n in range(5)])
    text = path.read_bytes().split(b"\r\n")
    text[2] = text[2].replace(b"tx-1", b'"tx-1')
    path.write_bytes(b"\r\n".join(text))
    chunk = read(path)
    assert chunk.index.tolist() == [0, 2, 3, 4]
    assert faults(chunk.dead) == [(1, Reason.MALFORMED, None)]


@pytest.mark.parametrize("write", [write_jsonl, write_csv])
def test_blank_lines_are_numbered_but_are_neither_rows_nor_dead_letters(
    write: Writer, tmp_path: Path
) -> None:
    path = write(tmp_path / "t", [record(n) for n in range(3)])
    first, *rest = path.read_bytes().splitlines()
    path.write_bytes(b"\r\n".join([first, b"", *rest, b" ", b""]))
    chunk = read(path)
    assert len(chunk.dead) == 0
    assert chunk.rows.transaction_id.tolist() == ["tx-0", "tx-1", "tx-2"]
    assert chunk.index.tolist() == ([0, 2, 3] if write is write_jsonl else [1, 2, 3])
    assert chunk.records == 5


@pytest.mark.parametrize("write", [write_jsonl, write_csv])
def test_a_byte_order_mark_and_a_missing_last_line_end_are_taken(
    write: Writer, tmp_path: Path
) -> None:
    path = write(tmp_path / "t", [record(n) for n in range(3)])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().rstrip())
    assert read(path).rows.transaction_id.tolist() == ["tx-0", "tx-1", "tx-2"]


@pytest.mark.parametrize("write", [write_jsonl, write_csv])
def test_an_endless_line_is_one_dead_letter_and_is_not_kept(write: Writer, tmp_path: Path) -> None:
    path = write(tmp_path / "t", [record(n, transaction_id=f"tx-{n}") for n in range(3)])
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"tx-1", b"x" * (3 * lines.LINE_BYTES)))
    chunk = read(path)
    assert chunk.rows.transaction_id.tolist() == ["tx-0", "tx-2"]
    assert faults(chunk.dead) == [(1, Reason.MALFORMED, None)]
    assert len(chunk.dead.payload[0]) == 4096


@pytest.mark.parametrize("write", [write_jsonl, write_csv])
def test_gzipped_text_is_read_as_it_is(write: Writer, tmp_path: Path) -> None:
    path = write(tmp_path / "t", [record(n) for n in range(100)])
    packed = path.with_name(path.name + ".gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert read(packed).rows.content.tolist() == read(path).rows.content.tolist()
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(readers.UnreadableFile):
        read(packed)


# The layout of the published data of the fraud detection handbook.


def handbook(rows: int = 10, **changes: Any) -> pa.Table:
    columns = {
        "transaction_id": pa.array(range(rows), pa.int32()),
        "time": pa.array([1_522_540_831_000 + n for n in range(rows)], pa.timestamp("ms")),
        "customer_id": pa.array([n % 3 for n in range(rows)], pa.int16()),
        "terminal_id": pa.array([3156] * rows, pa.int16()),
        "amount": pa.array([5716 + n for n in range(rows)], pa.int32()),
        "fraud": pa.array([int(n == 4) for n in range(rows)], pa.int8()),
        "scenario": pa.array([0] * rows, pa.int8()),
        **changes,
    }
    return pa.table({name: column for name, column in columns.items() if column is not None})


def read_table(table: pa.Table, tmp_path: Path, **options: Any) -> readers.Chunk:
    pq.write_table(table, tmp_path / "t.parquet")
    return read(tmp_path / "t.parquet", **options)


def test_the_handbook_data_is_read_as_it_is(tmp_path: Path) -> None:
    chunk = read_table(handbook(), tmp_path)
    rows = chunk.rows
    assert len(chunk.dead) == 0
    assert rows.transaction_id.tolist() == [str(n) for n in range(10)]
    assert to_datetime(rows.event_time[0]) == datetime(2018, 4, 1, 0, 0, 31, tzinfo=UTC)
    assert rows.card_token.tolist() == [str(n % 3) for n in range(10)]
    assert rows.terminal_id.tolist() == ["3156"] * 10
    assert rows.amount_minor.tolist() == list(range(5716, 5726))
    assert rows.currency.tolist() == ["EUR"] * 10
    assert rows.extras == {}
    assert chunk.fraud is not None
    assert chunk.fraud.tolist() == [n == 4 for n in range(10)]
    message = {
        "transaction_id": "0",
        "event_time": "2018-04-01T00:00:31Z",
        "amount_minor": 5716,
        "currency": "EUR",
        "card_token": "0",
        "terminal_id": "3156",
    }
    assert rows.content[0] == decode.transactions([json.dumps(message).encode()]).rows.content[0]


def test_the_handbook_data_is_read_from_csv_too(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        "transaction_id,time,customer_id,terminal_id,amount,fraud,scenario\n"
        "0,2018-04-01 00:00:31,596,3156,5716,0,0\n"
        "1,2018-04-01 00:02:10,4961,3412,8151,1,2\n"
    )
    chunk = read(path)
    assert len(chunk.dead) == 0
    assert to_datetime(chunk.rows.event_time[0]) == datetime(2018, 4, 1, 0, 0, 31, tzinfo=UTC)
    assert chunk.rows.card_token.tolist() == ["596", "4961"]
    assert chunk.rows.currency.tolist() == ["EUR", "EUR"]
    assert chunk.fraud is not None
    assert chunk.fraud.tolist() == [False, True]


def test_the_currency_given_serves_files_that_have_none(tmp_path: Path) -> None:
    assert read_table(handbook(), tmp_path, currency="USD").rows.currency[0] == "USD"
    with_currency = handbook(currency=pa.array(["JPY"] * 10))
    assert read_table(with_currency, tmp_path, currency="USD").rows.currency[0] == "JPY"
    with pytest.raises(ValueError, match="ISO 4217"):
        readers.TransactionFile(tmp_path / "t.parquet", currency="Euro")


def test_without_any_currency_every_row_misses_one(tmp_path: Path) -> None:
    chunk = read(write_csv(tmp_path / "t", [record(n, currency=...) for n in range(3)]))
    assert len(chunk.rows) == 0
    assert faults(chunk.dead) == [(n, Reason.MISSING_FIELD, "currency") for n in range(3)]


def test_a_card_token_beside_a_customer_is_the_card(tmp_path: Path) -> None:
    chunk = read_table(handbook(card_token=pa.array(["c"] * 10)), tmp_path, currency="EUR")
    assert chunk.rows.card_token.tolist() == ["c"] * 10
    assert chunk.rows.extras["customer_id"].tolist() == [str(n % 3) for n in range(10)]


@pytest.mark.parametrize(
    ("name", "column", "reason"),
    [
        ("amount", pa.array([1.0] * 10), Reason.WRONG_TYPE),
        ("amount", pa.array(["1"] * 10), Reason.WRONG_TYPE),
        ("amount", pa.array([2**63] * 10, pa.uint64()), Reason.OUT_OF_RANGE),
        ("amount", pa.nulls(10, pa.int32()), Reason.MISSING_FIELD),
        ("terminal_id", pa.array([1.5] * 10), Reason.WRONG_TYPE),
        ("terminal_id", pa.array([True] * 10), Reason.WRONG_TYPE),
        ("terminal_id", pa.nulls(10), Reason.MISSING_FIELD),
        ("terminal_id", pa.array([int(VISA)] * 10), Reason.CARD_NUMBER),
        ("transaction_id", pa.array([int(VISA)] * 10), Reason.CARD_NUMBER),
        ("time", pa.array([0] * 10, pa.date32()), Reason.WRONG_TYPE),
        ("time", pa.array([2**62] * 10, pa.timestamp("ms")), Reason.BAD_TIME),
        ("time", pa.array([-(2**63)] * 10, pa.timestamp("ms")), Reason.BAD_TIME),
        ("time", pa.array([-1] * 10, pa.timestamp("ns")), Reason.BAD_TIME),
        ("fraud", pa.array([2] * 10), Reason.WRONG_TYPE),
        ("fraud", pa.array([0.0] * 10), Reason.WRONG_TYPE),
        ("fraud", pa.nulls(10, pa.int8()), Reason.MISSING_FIELD),
        ("channel", pa.array(["fax"] * 10), Reason.UNKNOWN_VALUE),
        ("latitude", pa.array([float("nan")] * 10), Reason.OUT_OF_RANGE),
        ("attributes", pa.array(["[]"] * 10), Reason.WRONG_TYPE),
        ("attributes", pa.array([{"a": 1}] * 10), Reason.WRONG_TYPE),
    ],
)
def test_a_column_of_the_wrong_kind_makes_its_rows_dead_letters(
    name: str, column: pa.Array, reason: Reason, tmp_path: Path
) -> None:
    chunk = read_table(handbook(**{name: column}), tmp_path)
    assert len(chunk.rows) == 0
    assert set(chunk.dead.reason) == {reason}
    assert VISA not in chunk.dead.payload[0]
    assert len(chunk.dead) == 10


@pytest.mark.parametrize(
    "at",
    [
        pa.array([1_522_540_831] * 10, pa.timestamp("s", "UTC")),
        pa.array([1_522_540_831_000] * 10, pa.timestamp("ms", "Europe/Berlin")),
        pa.array([1_522_540_831_000_000] * 10, pa.timestamp("us", "UTC")),
        pa.array([1_522_540_831_000_000_999] * 10, pa.timestamp("ns", "+02:00")),
        pa.array(["2018-04-01T02:00:31+02:00"] * 10),
        pa.array(["2018-04-01T02:00:31+02:00"] * 10).dictionary_encode(),
        pa.array(["2018-04-01T00:00:31Z"] * 10, pa.large_string()),
    ],
)
def test_times_with_a_zone_are_read_whatever_their_unit(at: pa.Array, tmp_path: Path) -> None:
    chunk = read_table(handbook(time=None, event_time=at), tmp_path, currency="EUR")
    assert set(chunk.rows.event_time.tolist()) == {1_522_540_831_000_000}


def test_timestamps_without_a_zone_are_refused_where_none_is_documented(tmp_path: Path) -> None:
    naive = handbook(event_time=handbook()["time"])
    chunk = read_table(naive, tmp_path, currency="EUR")
    assert len(chunk.rows) == 0
    assert set(chunk.dead.reason) == {Reason.TIME_WITHOUT_OFFSET}


def test_numbers_as_merchant_codes_get_their_leading_zeros_back(tmp_path: Path) -> None:
    chunk = read_table(handbook(mcc=pa.array([742] * 10)), tmp_path)
    assert chunk.rows.extras["mcc"].tolist() == ["0742"] * 10


def test_text_that_is_not_utf8_in_a_parquet_file_costs_its_own_row(tmp_path: Path) -> None:
    raw = pa.array([b"a", b"\xff", b"c", None] + [b"d"] * 6, pa.binary())
    text = pa.StringArray.from_buffers(10, raw.buffers()[1], raw.buffers()[2], raw.buffers()[0])
    chunk = read_table(handbook(device_id=text, transaction_id=text), tmp_path)
    assert chunk.rows.transaction_id.tolist() == ["a", "c"] + ["d"] * 6
    assert faults(chunk.dead) == [
        (1, Reason.MALFORMED, "transaction_id"),
        (3, Reason.MISSING_FIELD, "transaction_id"),
    ]
    shown = json.loads(chunk.dead.payload[0])
    assert shown["device_id"] == "\ufffd"
    assert shown["time"].startswith("2018-04-01 00:00:31")


def test_a_json_line_may_say_whether_it_is_fraud(tmp_path: Path) -> None:
    said = [True, 0, 1, None, "yes", False, 7]
    path = write_jsonl(tmp_path / "t", [record(n, fraud=one) for n, one in enumerate(said)])
    chunk = read(path)
    assert chunk.index.tolist() == [0, 1, 2, 5]
    assert chunk.fraud is not None
    assert chunk.fraud.tolist() == [True, False, True, False]
    assert faults(chunk.dead) == [
        (3, Reason.MISSING_FIELD, "fraud"),
        (4, Reason.WRONG_TYPE, "fraud"),
        (6, Reason.WRONG_TYPE, "fraud"),
    ]


def test_only_a_parquet_file_knows_its_length_beforehand(tmp_path: Path) -> None:
    records = [record(n) for n in range(7)]
    assert readers.TransactionFile(write_parquet(tmp_path / "t", records)).rows == 7
    assert readers.TransactionFile(write_csv(tmp_path / "t", records)).rows is None


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("t.xlsx", b"", "the name ends with none of"),
        ("t.gz", b"", "the name ends with none of"),
        ("t.parquet", b"no parquet", "arquet"),
        ("t.parquet", b"", "arquet"),
        ("t.csv", b"", "no column transaction_id, event_time"),
        ("t.csv", b"transaction_id,time,amount,customer_id\n", "no column terminal_id"),
        ("t.csv", b"a,\xff\n", "header"),
        (
            "t.csv",
            b"transaction_id,transaction_id,time,amount,customer_id,terminal_id\n",
            "than one",
        ),
        ("t.jsonl.gz", b"not gzipped", "gzip"),
    ],
)
def test_a_file_that_cannot_be_read_at_all_says_why_in_one_line(
    name: str, content: bytes, says: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(readers.UnreadableFile, match=says) as caught:
        readers.TransactionFile(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


@pytest.mark.parametrize("name", ["missing.csv", "missing.jsonl", "missing.parquet"])
def test_a_missing_file_is_unreadable(name: str, tmp_path: Path) -> None:
    with pytest.raises(readers.UnreadableFile, match="No such file"):
        readers.TransactionFile(tmp_path / name)
    (tmp_path / name).mkdir()
    with pytest.raises(readers.UnreadableFile):
        list(readers.TransactionFile(tmp_path / name).chunks())


def test_a_parquet_file_damaged_in_the_middle_is_unreadable_from_there(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "t", [record(n) for n in range(500)])
    raw = bytearray(path.read_bytes())
    with pq.ParquetFile(path) as file:
        at = file.metadata.row_group(6).column(0).data_page_offset
    raw[at : at + 40] = b"\xff" * 40
    path.write_bytes(raw)
    with pytest.raises(readers.UnreadableFile):
        list(readers.TransactionFile(path).chunks(size=37))


def test_empty_files_have_no_chunks(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_bytes(b"")
    pq.write_table(handbook(0), tmp_path / "t.parquet")
    (tmp_path / "t.csv").write_text("transaction_id,time,amount,customer_id,terminal_id\n")
    for name in ("t.jsonl", "t.parquet", "t.csv"):
        assert list(readers.TransactionFile(tmp_path / name).chunks()) == []


def label(number: int, **changes: Any) -> Record:
    return {
        "transaction_id": f"tx-{number}",
        "fraud": number % 2 == 0,
        "source": "issuer",
        "labelled_at": "2018-04-08T12:00:00Z",
        "reason": "stolen" if number % 3 else None,
        **changes,
    }


@pytest.mark.parametrize("write", WRITERS)
def test_labels_are_read_from_every_kind_of_file(write: Writer, tmp_path: Path) -> None:
    records = [label(n) for n in range(20)]
    records[7]["source"] = "rumour"
    records[9]["labelled_at"] = "soon"
    labels, dead = readers.LabelFile(write(tmp_path / "l", records)).read()
    good = [n for n in range(20) if n not in (7, 9)]
    assert labels.transaction_id.tolist() == [f"tx-{n}" for n in good]
    assert labels.fraud.tolist() == [n % 2 == 0 for n in good]
    assert labels.reason.tolist() == ["stolen" if n % 3 else None for n in good]
    assert {to_datetime(at).isoformat() for at in labels.labelled_at} == {
        "2018-04-08T12:00:00+00:00"
    }
    assert faults(dead) == [
        (7, Reason.UNKNOWN_VALUE, "source"),
        (9, Reason.BAD_TIME, "labelled_at"),
    ]


def test_a_table_of_labels_may_write_fraud_as_a_number_and_leave_the_reason_out(
    tmp_path: Path,
) -> None:
    at = pa.array([1_523_188_800_000_000] * 2, pa.timestamp("us", "UTC"))
    table = pa.table(
        {
            "transaction_id": [1, 2],
            "fraud": [0, 1],
            "source": ["customer", "analyst"],
            "labelled_at": at,
        }
    )
    pq.write_table(table, tmp_path / "l.parquet")
    labels, dead = readers.LabelFile(tmp_path / "l.parquet").read()
    assert len(dead) == 0
    assert labels.transaction_id.tolist() == ["1", "2"]
    assert labels.fraud.tolist() == [False, True]
    assert labels.reason.tolist() == [None, None]


def test_an_empty_file_of_labels_has_none(tmp_path: Path) -> None:
    (tmp_path / "l.jsonl").write_bytes(b"\n")
    labels, dead = readers.LabelFile(tmp_path / "l.jsonl").read()
    assert len(labels) == len(dead) == 0
    with pytest.raises(readers.UnreadableFile, match="no column fraud, source, labelled_at"):
        readers.LabelFile(write_csv(tmp_path / "l", [{"transaction_id": 1, "reason": 2}]))


def test_reading_holds_a_few_chunks_and_not_the_file(tmp_path: Path) -> None:
    rows = 300_000
    pq.write_table(handbook(rows), tmp_path / "t.parquet", row_group_size=20_000)
    before = pa.total_allocated_bytes()
    held = [
        pa.total_allocated_bytes() - before
        for _ in readers.TransactionFile(tmp_path / "t.parquet").chunks(size=4096)
    ]
    assert len(held) == 74
    assert max(held) < 4_000_000


def test_rows_of_files_are_batches_that_can_be_joined(tmp_path: Path) -> None:
    file = readers.TransactionFile(write_csv(tmp_path / "t", [record(n) for n in range(100)]))
    joined = Batch.concat([chunk.rows for chunk in file.chunks(size=7)])
    assert len(joined) == 100
    assert np.array_equal(joined.content, read(file.path).rows.content)
