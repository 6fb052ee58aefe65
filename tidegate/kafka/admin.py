"""Is there a broker, are there the topics, can the configuration be used: asked before a start.

Every refusal is one line that says what to do, and shows no secret: not a broker's or librdkafka's
words where they repeat a value.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tidegate.kafka import config
from tidegate.kafka.heard import LIBRDKAFKA, Reason, plain
from tidegate.settings import Kafka, SettingError

log = logging.getLogger(__name__)

BROKERS, CONFIG = "TIDEGATE_KAFKA_BROKERS", "TIDEGATE_KAFKA_CONFIG"

_ATTEMPT_SECONDS = 1.0  # that one question may take; then librdkafka is asked why
_DENIED = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED)
_AGAIN = (
    KafkaError._TRANSPORT,
    KafkaError._TIMED_OUT,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_CONTROLLER,
    KafkaError.REQUEST_TIMED_OUT,
)

_SECRET = re.compile(r"password|secret|token|credential|jaas|\.pem$|\.key$|oauthbearer\.config")
_MASK = "***"

Answer = TypeVar("Answer")


class NoBroker(RuntimeError):
    """No broker could be spoken to; the message is one line with the reason."""


class TopicError(RuntimeError):
    """A topic is missing and cannot be made, or cannot be seen; the message says what to do."""


def check_config(kafka: Kafka) -> None:
    """Raises `SettingError` for a property that librdkafka does not know or a value it refuses.
    Reads the files that properties name; speaks to nobody."""
    nobody = {"bootstrap.servers": "", "log_level": "0"}
    _construct(lambda: AdminClient(config.producer(kafka) | nobody, logger=LIBRDKAFKA), kafka)
    _construct(lambda: Consumer(config.consumer(kafka) | nobody, logger=LIBRDKAFKA), kafka).close()


def wait_for_broker(kafka: Kafka, seconds: float = 30.0) -> None:
    """Returns as soon as a broker answers. Raises `NoBroker` after so many seconds, or a few when
    waiting is in vain (a user or a certificate was refused); `SettingError` as
    `check_config` does."""
    _Client(kafka, seconds).wait()


def ensure_topics(kafka: Kafka, seconds: float = 30.0) -> dict[str, int]:
    """Partitions by topic, of our five. One that is missing is made, with as many partitions and
    copies as the broker makes by default, and a warning is logged.

    Any number of processes may do this at once. Raises `TopicError`, and as `wait_for_broker`.
    """
    client = _Client(kafka, seconds)
    client.wait()
    variables = variables_of(kafka)
    found: dict[str, int] = {}
    made: set[str] = set()
    while wanted := [name for name in variables if name not in found]:
        found |= client.partitions(wanted, variables)
        if missing := [name for name in wanted if name not in found and name not in made]:
            made |= client.make(missing, variables)
        if len(found) < len(variables):
            client.pause(f"the Kafka topics {', '.join(wanted)} are not ready")
    for name in sorted(made):
        log.warning(
            "made a Kafka topic that was missing, as the broker makes them by default",
            extra={"topic": name, "partitions": found[name]},
        )
    return {name: found[name] for name in variables}


def look(kafka: Kafka, seconds: float = 30.0) -> dict[str, int | str]:
    """Partitions by topic, of our five, or why they cannot be seen, in few words. Makes no topic.

    Raises as `wait_for_broker`.
    """
    client = _Client(kafka, seconds)
    client.wait()
    return {
        name: there if isinstance(there, int) else str(there.name()).lower().replace("_", " ")
        for name, there in client.look(list(variables_of(kafka))).items()
    }


def variables_of(kafka: Kafka) -> dict[str, str]:
    """The setting that names each of our topics."""
    return {
        getattr(kafka.topics, field.name): f"TIDEGATE_TOPIC_{field.name.upper()}"
        for field in fields(kafka.topics)
    }


class _Client:
    """An admin client with a deadline, which remembers what librdkafka said of connections."""

    def __init__(self, kafka: Kafka, seconds: float) -> None:
        if not kafka.brokers:
            raise SettingError(BROKERS, "is not set: host:port, separated by commas, is needed")
        check_config(kafka)
        self._kafka, self._seconds = kafka, seconds
        self._start = time.monotonic()
        self._why = Reason()
        # A connection that was closed on us may be the only hint that the other end wants TLS.
        heard = {"error_cb": self._why.note, "log.connection.close": True}
        properties = config.producer(kafka) | heard
        self._admin = _construct(lambda: AdminClient(properties, logger=self._why), kafka)

    def wait(self) -> None:
        while True:
            self._admin.poll(0)  # callbacks, those that fetch OAuth tokens among them
            try:
                self._admin.list_topics(timeout=min(_ATTEMPT_SECONDS, max(self._left(), 0.1)))
            except KafkaException as ex:
                if not _passing(ex.args[0]):
                    self._why.note(ex.args[0])
                self.pause()
            else:
                return

    def look(self, names: list[str]) -> dict[str, int | KafkaError]:
        """Partitions of each topic, or what the broker says instead."""
        # Not list_topics(name): that lets a broker make the topic, where it is set to.
        asked = self._admin.describe_topics(TopicCollection(names), request_timeout=self._request())
        found: dict[str, int | KafkaError] = {}
        for name, future in asked.items():
            try:
                found[name] = len(self._answer(future).partitions)
            except KafkaException as ex:
                found[name] = ex.args[0]
        return found

    def partitions(self, names: list[str], variables: Mapping[str, str]) -> dict[str, int]:
        """Of those topics that are there."""
        found: dict[str, int] = {}
        for name, there in self.look(names).items():
            if isinstance(there, int):
                found[name] = there
            elif there.code() in _DENIED:
                raise TopicError(
                    f"the Kafka topic {name!r} ({variables[name]}) may not be looked at: allow "
                    f"the user of {CONFIG} to describe it, and to create it if it is missing"
                )
            elif there.code() != KafkaError.UNKNOWN_TOPIC_OR_PART and not _passing(there):
                raise self._refused(name, variables, "cannot be looked at", there)
        return found

    def make(self, names: list[str], variables: Mapping[str, str]) -> set[str]:
        """Those that were made by this very call."""
        asked = self._admin.create_topics(
            [NewTopic(name, num_partitions=-1, replication_factor=-1) for name in names],
            request_timeout=self._request(),
        )
        made: set[str] = set()
        for name, future in asked.items():
            try:
                self._answer(future)
                made.add(name)
            except KafkaException as ex:
                error = ex.args[0]
                if error.code() in _DENIED:
                    raise TopicError(
                        f"the Kafka topic {name!r} ({variables[name]}) does not exist, and the "
                        f"user of {CONFIG} may not create it: create it or allow that"
                    ) from ex
                if error.code() != KafkaError.TOPIC_ALREADY_EXISTS and not _passing(error):
                    raise self._refused(name, variables, "cannot be made", error) from ex
        return made

    def pause(self, otherwise: str | None = None) -> None:
        """A moment before the next attempt. Raises `NoBroker`, or `TopicError` with that text, when
        there is to be none."""
        self._admin.poll(0)
        waited = time.monotonic() - self._start
        if self._left() > 0 and not self._why.hopeless:
            time.sleep(min(0.1, self._left()))
            return
        if otherwise is not None:
            raise TopicError(f"{otherwise} after {self._seconds:g} s")
        where = CONFIG if self._why.at_configuration else BROKERS
        raise NoBroker(
            f"no Kafka broker of {','.join(self._kafka.brokers)} answered in "
            f"{round(waited, 1):g} s: {_masked(self._why.text, self._kafka)} (set by {where})"
        )

    def _answer(self, future: Any) -> Any:
        # librdkafka ends every request by itself, the bound here is for a broken promise.
        return future.result(timeout=self._request() + 10)

    def _request(self) -> float:
        return max(self._left(), 1.0)

    def _left(self) -> float:
        return self._start + self._seconds - time.monotonic()

    def _refused(
        self, name: str, variables: Mapping[str, str], what: str, error: KafkaError
    ) -> TopicError:
        reason = _masked(plain(error.str()), self._kafka)
        return TopicError(f"the Kafka topic {name!r} ({variables[name]}) {what}: {reason}")


def _construct(client: Callable[[], Answer], kafka: Kafka) -> Answer:
    try:
        return client()
    except KafkaException as ex:
        text = ex.args[0].str()
    except (AttributeError, TypeError, ValueError) as ex:  # of properties that are Python's
        text = str(ex)
    # Without the chain: the exception may hold a value.
    raise SettingError(CONFIG, _problem(text, kafka))


def _problem(text: str, kafka: Kafka) -> str:
    text = re.sub(r"^Failed to create [\w ]+: ", "", " ".join(text.split()))
    text = re.sub(r'Invalid value ".*" for', "Invalid value for", text)
    if "'str' object" in text:  # the only one of Python's that has a structure
        text = 'Invalid value for configuration property "default.topic.config"'
    return f"cannot be used: {_masked(text, kafka)}"


def _passing(error: KafkaError) -> bool:
    return error.code() in _AGAIN or bool(error.retriable())


def _masked(text: str, kafka: Kafka) -> str:
    for name, value in kafka.config.items():
        if value and _SECRET.search(name):
            text = text.replace(value, _MASK)
    return text
