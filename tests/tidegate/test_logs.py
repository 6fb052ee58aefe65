import io
import json
import logging
import sys
import warnings
from collections.abc import Iterator

import pytest

from tidegate import logs

CARD = "4111111111111111"  # the well-known test number: passes the Luhn check


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Puts the root logger back: `configure` changes it for the whole process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    access = logging.getLogger("uvicorn.access").level
    yield
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("uvicorn.access").setLevel(access)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def written(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_away_from_a_terminal_every_event_is_one_json_object_on_one_line() -> None:
    stream = io.StringIO()
    logs.configure(stream=stream)
    logging.getLogger("tidegate.flow").info("stored %d\nrows", 5, extra={"rows": 5, "topic": "t"})
    [line] = written(stream)
    assert line.pop("at")
    assert line == {
        "level": "info",
        "logger": "tidegate.flow",
        "message": "stored 5\nrows",
        "rows": 5,
        "topic": "t",
    }


def test_on_a_terminal_an_event_is_a_line_for_people() -> None:
    stream = Terminal()
    logs.configure(stream=stream)
    logging.getLogger("tidegate.flow").warning("slow", extra={"seconds": 1.5, "what": "a sink"})
    assert stream.getvalue()[13:] == 'warning tidegate.flow slow seconds=1.5 what="a sink"\n'


def test_nobody_forges_a_line_or_moves_the_cursor_through_a_message() -> None:
    stream = io.StringIO()
    logs.configure(style="text", stream=stream)
    logging.getLogger("x").info("one\n12:00:00 two \x1b[2J", extra={"name_": "a\nb"})
    assert len(stream.getvalue().splitlines()) == 1
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize("style", ["text", "json"])
def test_a_card_number_never_reaches_the_log(style: logs.Format) -> None:
    stream = io.StringIO()
    logs.configure(style=style, stream=stream)
    log = logging.getLogger("x")
    log.info("took %s", CARD)
    log.info("took", extra={"token": CARD, "spaced": "4111 1111 1111 1111"})
    try:
        raise ValueError(f"bad token '{CARD}'")
    except ValueError:
        log.exception("failed")
    assert CARD not in stream.getvalue()
    assert CARD not in stream.getvalue().replace(" ", "")
    assert stream.getvalue().count("411111******1111") >= 3


def test_numbers_that_are_no_card_stay_readable() -> None:
    kept = "4111111111111112 rows, 1700000000.123456 s, offset 12345"
    assert logs.redact(kept) == kept


def test_a_password_in_a_url_is_masked() -> None:
    stream = io.StringIO()
    logs.configure(stream=stream)
    logging.getLogger("x").error("no way to postgresql://someone:hunter2@db:5432/tidegate")
    assert "hunter2" not in stream.getvalue()
    assert "postgresql://someone:***@db:5432/tidegate" in stream.getvalue()


def test_an_exception_is_logged_with_its_traceback_on_the_same_line() -> None:
    stream = io.StringIO()
    logs.configure(stream=stream)
    try:
        raise RuntimeError("the sink is full")
    except RuntimeError:
        logging.getLogger("x").exception("failed")
    [line] = written(stream)
    assert "RuntimeError: the sink is full" in str(line["exception"])


def test_what_is_said_beside_a_message_cannot_pose_as_the_record() -> None:
    stream = io.StringIO()
    logs.configure(stream=stream)
    logging.getLogger("x").info("m", extra={"level": "critical", "at": "never"})
    [line] = written(stream)
    assert line["level"] == "info"
    assert line["level_"] == "critical"
    assert line["at"] != "never"


def test_the_level_is_kept_and_configuring_again_does_not_double_lines() -> None:
    stream = io.StringIO()
    logs.configure("warning", "json", stream)
    logs.configure("warning", "json", stream)
    logging.getLogger("x").info("quiet")
    logging.getLogger("x").warning("loud")
    assert [line["message"] for line in written(stream)] == ["loud"]


def test_access_lines_that_name_cards_are_left_out() -> None:
    stream = io.StringIO()
    logs.configure(stream=stream)
    logging.getLogger("uvicorn.access").info("GET /v1/cards/some-token")
    assert stream.getvalue() == ""


def test_urls_that_webhooks_are_sent_to_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("httpx", "httpcore"):
        monkeypatch.setattr(logging.getLogger(name), "level", logging.NOTSET)
    stream = io.StringIO()
    logs.configure("debug", stream=stream)
    logging.getLogger("httpx").info("HTTP Request: POST https://hooks.example.com/secret")
    logging.getLogger("httpcore.connection").debug("connect_tcp.started")
    assert stream.getvalue() == ""


def test_pythons_warnings_are_logged() -> None:
    stream = io.StringIO()
    logs.configure(stream=stream)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)  # pytest took them over since
        warnings.warn("old way", DeprecationWarning, stacklevel=1)
        logging.captureWarnings(False)
    assert [line["logger"] for line in written(stream)] == ["py.warnings"]


def test_logs_go_to_standard_error_and_not_into_output(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure(style="json")
    logging.getLogger("x").info("hello")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert json.loads(captured.err)["message"] == "hello"
    assert sys.stderr is not sys.stdout
