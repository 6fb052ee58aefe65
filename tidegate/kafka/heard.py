"""What librdkafka says: its log lines as Python's, its reasons in few words."""

from __future__ import annotations

import logging
import re
import threading
import time

from confluent_kafka import KafkaError

_REPEAT_SECONDS = 60.0

# What waiting will not mend ends the wait after this. Not at once: a broker that starts may refuse
# a user it is about to know.
_HOPELESS_SECONDS = 3.0
_HOPELESS = (KafkaError._AUTHENTICATION, KafkaError._SSL, KafkaError.SASL_AUTHENTICATION_FAILED)

_TIMING = re.compile(r" *\(after \d+ms in state \w+(, \d+ identical error\(s\) suppressed)?\)")
_PREFIX = re.compile(r"^(\w+://)?[\w.\[\]:-]+/\w+: |^Connect to \S+ failed: ")
_CLIENT = re.compile(r"#\w+-\d+")

# All that is heard when plain text meets TLS. No reason to give up: so is a proxy whose broker has
# yet to start.
_CLOSED = re.compile(r"Disconnected.*in state APIVERSION_QUERY")
_CLOSED_TEXT = "connection closed before a word: is security.protocol right for this port?"


class _OncePerMinute(logging.Filter):
    """librdkafka says why a connection failed at every attempt, ten times a second."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[str, float] = {}  # when, by text; emptied when it has grown
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        text = _TIMING.sub("", _CLIENT.sub("", record.getMessage()))
        with self._lock:
            last, now = self._said.get(text), time.monotonic()
            if last is not None and now - last < _REPEAT_SECONDS:
                return False
            if len(self._said) >= 1000:
                self._said.clear()
            self._said[text] = now
        return True


# For every client of ours: `Producer(properties, logger=LIBRDKAFKA)`. Its lines come when the
# client is polled.
LIBRDKAFKA = logging.getLogger("librdkafka")
LIBRDKAFKA.addFilter(_OncePerMinute())


class Reason:
    """Why no broker answers: what waiting will not mend, else the newest that was heard.

    Give a client `note` as its error_cb and this object as its logger.
    """

    def __init__(self) -> None:
        self.text = "no answer"
        self._since: float | None = None  # when first heard that waiting is in vain

    @property
    def at_configuration(self) -> bool:
        """Whether TIDEGATE_KAFKA_CONFIG is to blame, and not the brokers' addresses."""
        return self._since is not None or "SSL" in self.text or self.text == _CLOSED_TEXT

    @property
    def hopeless(self) -> bool:
        """Whether to wait no longer."""
        return self._since is not None and time.monotonic() - self._since > _HOPELESS_SECONDS

    def note(self, error: KafkaError) -> None:
        """An error of a connection, or what a request came back with."""
        if error.code() in _HOPELESS:
            self._since = self._since or time.monotonic()
            self.text = plain(error.str())
        # That all brokers are down, or that there was no metadata, is no reason.
        elif error.code() != KafkaError._ALL_BROKERS_DOWN and self._since is None:
            self.text = plain(error.str())

    def log(self, level: int, text: str, *values: object) -> None:
        """A line of librdkafka's log: the one method of a logger that confluent_kafka calls."""
        LIBRDKAFKA.log(level, text, *values)
        if self._since is None and _CLOSED.search(text % values if values else text):
            self.text = _CLOSED_TEXT


def plain(text: str) -> str:
    """What librdkafka said, on one line, without which connection and when."""
    text = _TIMING.sub("", " ".join(text.split()))
    while (shorter := _PREFIX.sub("", text)) != text:
        text = shorter
    return text
