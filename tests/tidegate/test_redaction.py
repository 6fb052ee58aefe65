from __future__ import annotations

import random

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate import redaction

VISA = "4111111111111111"


def with_check_digit(digits: str) -> str:
    return next(digits + d for d in "0123456789" if redaction.passes_luhn(digits + d))


card_numbers = st.text("0123456789", min_size=11, max_size=18).map(with_check_digit)


@pytest.mark.parametrize(
    "number", [VISA, "378282246310005", "5555555555554444", "6304000000000000", "30569309025904"]
)
def test_known_test_card_numbers_pass_the_luhn_check(number: str) -> None:
    assert redaction.is_card_number(number)
    assert not redaction.is_card_number(number[:-1] + str((int(number[-1]) + 1) % 10))


@pytest.mark.parametrize(
    "text",
    [
        VISA,
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        f'{{"card_token": "{VISA}"}}',
        f"paid on 2018-04-01 {VISA} 12 25",
        "4111 1111 1111 1111 1225",
        "20180401 4111 1111 1111 1111",
        "４１１１１１１１１１１１１１１１",  # noqa: RUF001
    ],
)
def test_a_card_number_is_masked_wherever_it_stands(text: str) -> None:
    shown = redaction.redact(text.encode())
    bare = "".join(c for c in shown if c.isdigit() or c == "*")
    assert "1" * 8 not in bare
    assert "*" in shown
    assert VISA not in shown


def test_the_first_six_and_last_four_digits_stay() -> None:
    assert redaction.redact(b"x 4111-1111-1111-1234 y") == "x 4111-1111-1111-1234 y"  # no Luhn
    assert redaction.redact(b"x 4012-8888-8888-1881 y") == "x 4012-88**-****-1881 y"


@settings(deadline=None)  # a busy machine is no failure
@given(card_numbers, st.text('abc "{}:,.\n', max_size=20), st.text("abc ;\x00", max_size=20))
def test_no_card_number_leaves_redaction_whole(number: str, before: str, after: str) -> None:
    shown = redaction.redact(f"{before}{number}{after}".encode())
    assert number not in shown
    assert number[6:-4] == "" or number[:6] + "*" * (len(number) - 10) + number[-4:] in shown


def test_a_card_number_across_the_cut_does_not_stay_readable() -> None:
    for lead in range(redaction.PAYLOAD_CHARACTERS - 20, redaction.PAYLOAD_CHARACTERS + 1):
        shown = redaction.redact(b"x" * lead + VISA.encode())
        assert len(shown) <= redaction.PAYLOAD_CHARACTERS
        assert "41111111" not in shown


@settings(deadline=None)  # a busy machine is no failure
@given(st.binary(max_size=300))
def test_any_bytes_become_text_that_postgresql_takes(payload: bytes) -> None:
    shown = redaction.redact(payload)
    assert len(shown) <= redaction.PAYLOAD_CHARACTERS
    assert all(c.isprintable() or ord(c) >= 0xA0 for c in shown)
    shown.encode()


def test_a_long_payload_is_cut_after_4096_characters() -> None:
    assert redaction.redact(b"x" * 10_000_000) == "x" * 4096
    assert redaction.redact("€".encode() * 5000) == "€" * 4096


def test_control_characters_are_written_out_and_bad_utf8_is_replaced() -> None:
    assert redaction.redact(b"a\x00b\nc\xff") == "a\\u0000b\\u000ac\ufffd"


def test_an_excerpt_is_short_and_without_card_numbers() -> None:
    assert redaction.excerpt("a\0b") == "'a\\u0000b'"
    assert VISA not in redaction.excerpt("x" * 50 + VISA)
    assert "41111111" not in redaction.excerpt("x" * 50 + VISA)
    assert len(redaction.excerpt("x" * 1000)) < 70


@pytest.mark.parametrize("rows", [10, 300])
def test_a_column_is_judged_as_its_texts_are_one_by_one(rows: int) -> None:
    pick = random.Random(7)
    texts: list[str | None] = [None, "", "0" * 12, VISA, "4111 1111 1111 1111", "1" * 30]
    while len(texts) < rows:
        digits = "".join(pick.choices("0123456789", k=pick.randrange(8, 23)))
        texts.append(pick.choice([digits, with_check_digit(digits), f"t{digits}", digits + " "]))
    expected = [text is not None and redaction.is_card_number(text) for text in texts]
    assert redaction.card_numbers(pa.array(texts)).tolist() == expected
    sliced = pa.array(["x", *texts]).slice(1)
    assert redaction.card_numbers(sliced).tolist() == expected


@pytest.mark.parametrize(
    "text",
    [
        "550e8400-e29b-41d4-a716-446655440000",
        "1522584000008",  # a clock in milliseconds that passes
        "52.4111111111111111",
        "a4111111111111111",
    ],
)
def test_identifiers_clocks_and_decimals_are_not_taken_for_cards_in_free_text(text: str) -> None:
    assert not redaction.holds_card_number(text)


@pytest.mark.parametrize("text", [VISA, "4111 1111 1111 1111", f"track {VISA}=2512101"])
def test_free_text_that_holds_a_card_number_is_recognised(text: str) -> None:
    assert redaction.holds_card_number(text)
