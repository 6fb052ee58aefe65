"""The intake as routes use it: what it has open, and its threads."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial

from api.intake import labels, payments
from api.intake.asked import Taken
from api.intake.doors import Door, InboxDoor, KafkaDoor
from api.intake.grouping import Groups
from api.intake.payments import Payments
from api.intake.waiting import Waiting
from tidegate.kafka.sending import Sender
from tidegate.settings import Kafka
from tidegate.store import connection

# A connection of its own for each thread, so that no analyst's query is in a payment's way.
_CONNECTIONS = 2


class Intake:
    """Takes payments and labels in. database_url: of sessions that may write if they say so."""

    def __init__(self, database_url: str, kafka: Kafka | None, pool_timeout: float) -> None:
        self._pool = connection.pool(
            database_url,
            application_name="tidegate-intake",
            max_size=_CONNECTIONS,
            timeout=pool_timeout,
        )
        self.waiting = Waiting(database_url)
        self._payments: Groups[Payments, Sequence[Taken]] = Groups(
            "tidegate-payments", partial(payments.take, self._door(kafka))
        )
        self._labels: Groups[Sequence[bytes], int] = Groups(
            "tidegate-labels", partial(labels.take, self._door(kafka))
        )

    def open(self) -> None:
        """Begins; the database and Kafka may be away."""
        self._pool.open(wait=False)
        for part in (self._payments, self._labels, self.waiting):
            part.start()

    def close(self) -> None:
        """Ends once everything that was asked is done."""
        for part in (self._payments, self._labels, self.waiting):
            part.close()
        self._pool.close()

    def payments(self, asked: Payments) -> Future[Sequence[Taken]]:
        """What becomes of a request's payments. Raises Busy; the result may be Refused, IdReused,
        KeyReused, Busy, psycopg.OperationalError or KafkaFailed."""
        return self._payments.ask(asked, len(asked.messages))

    def labels(self, messages: Sequence[bytes]) -> Future[int]:
        """How many labels were taken; errors as of `payments`."""
        return self._labels.ask(messages, len(messages))

    def _door(self, kafka: Kafka | None) -> Door:
        # One for each thread.
        return InboxDoor(self._pool) if kafka is None else KafkaDoor(self._pool, Sender(kafka))
