"""Logging: one line for each event on standard error, text for people, JSON for machines.

Code logs through the standard library, with the facts beside the message, not inside it:
`log.info("stored", extra={"rows": 2000})`. Log counts, times, versions and names of ours; never a
token, an id of a customer or a message's content. As a last net, what looks like a card number or
a URL's password is masked on its way out. What many lines are about is said once, with `about`.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Literal, TextIO

from tidegate.redaction import mask

Format = Literal["auto", "text", "json"]

# What every record has; anything else came by `extra`.
_STANDARD = {*logging.makeLogRecord({}).__dict__, "message", "asctime", "taskName", "color_message"}
_URL_PASSWORD = re.compile(r"(\w://[^\s:@/]*):[^\s@]*@")

_about: ContextVar[Mapping[str, object]] = ContextVar(
    "tidegate-about", default=MappingProxyType({})
)


@contextmanager
def about(**facts: object) -> Iterator[None]:
    """Puts these facts beside every message that is logged meanwhile, in this thread or task."""
    before = _about.set({**_about.get(), **facts})
    try:
        yield
    finally:
        _about.reset(before)


def configure(level: str = "info", style: Format = "auto", stream: TextIO | None = None) -> None:
    """Makes the root logger write to `stream` (standard error by default), in place of whatever it
    did before.

    style: text, json, or auto, which is text on a terminal and JSON elsewhere. Warnings of Python
    are logged too; uvicorn's access lines are not, for their paths name cards, nor are those
    of HTTP clients.
    """
    stream = sys.stderr if stream is None else stream
    as_text = style == "text" or (style == "auto" and stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TextFormatter() if as_text else JsonFormatter())
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    logging.captureWarnings(True)
    logging.getLogger("uvicorn.access").setLevel(logging.CRITICAL + 1)
    # They name URLs that webhooks are sent to, which may have secrets in them.
    for name in ("httpx", "httpcore", "urllib3"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Three lines about itself whenever it is imported.
    logging.getLogger("alembic.runtime.plugins").setLevel(logging.WARNING)


class JsonFormatter(logging.Formatter):
    """A record as one JSON object on one line: at (RFC 3339, UTC), level, logger, message, what
    came by `extra`, and exception with its traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line: dict[str, object] = {
            "at": _at(record).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        for name, value in _extra(record).items():
            # A name that is taken gets an underscore: what we say of the record stands.
            line[f"{name}_" if name in line else name] = _plain(value)
        if record.exc_info:
            line["exception"] = redact(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False, default=str)


class TextFormatter(logging.Formatter):
    """A record for people: time (UTC), level, logger, message, then `name=value` for what came by
    `extra`. A traceback follows on lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        parts = [
            _at(record).strftime("%H:%M:%S.%f")[:-3],
            f"{record.levelname.lower():<7}",
            record.name,
            _one_line(redact(record.getMessage())),
        ]
        parts += [f"{name}={_word(value)}" for name, value in _extra(record).items()]
        if record.exc_info:
            parts.append("\n" + redact(self.formatException(record.exc_info)))
        return " ".join(parts)


def redact(text: str) -> str:
    """The text with the middle of card numbers and the passwords of URLs starred out."""
    return mask(_URL_PASSWORD.sub(r"\1:***@", text))


def _at(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


def _extra(record: logging.LogRecord) -> dict[str, object]:
    own = {name: value for name, value in record.__dict__.items() if name not in _STANDARD}
    return {**_about.get(), **own}


def _plain(value: object) -> object:
    # Numbers are ours (rows, microseconds): one in ten of 16 digits passes for a card number.
    if value is None or isinstance(value, bool | int | float):
        return value
    return redact(str(value))


def _word(value: object) -> str:
    text = _one_line(str(_plain(value)))
    return json.dumps(text, ensure_ascii=False) if re.search(r'[\s"=]', text) or not text else text


def _one_line(text: str) -> str:
    # Nobody forges a second line, or moves the terminal's cursor, through a message.
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )
