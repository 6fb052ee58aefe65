"""Payments of several requests, taken in together."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from api.intake.asked import IdReused, Key, KeyReused, Refused, Taken
from api.intake.doors import Door, Known, New
from tidegate import decode
from tidegate.decode import Bad
from tidegate.kafka import incoming
from tidegate.redaction import redact
from tidegate.schema import DAY, SECOND, Batch, Reason

# How far a payment's time may be ahead of ours; beyond, the flow would refuse it.
MOST_AHEAD = DAY


@dataclass(frozen=True, slots=True)
class Payments:
    """What one request brings: messages, JSON each, and its idempotency key if it has one. trace:
    the header of the context that they go on with."""

    messages: Sequence[bytes]
    key: Key | None = None
    trace: str | None = None


@dataclass(frozen=True, slots=True)
class _Checked:
    """A request's payments, all of them good."""

    asked: Payments
    new: Sequence[New]


def take(door: Door, asked: Sequence[Payments]) -> list[Sequence[Taken] | Exception]:
    """Takes the payments of several requests in: of each all or none. Raises what is the matter
    with the door."""
    results: list[Sequence[Taken] | Exception] = []
    good: list[tuple[int, _Checked]] = []
    for place, checked in enumerate(_check(asked)):
        results.append(checked if isinstance(checked, Exception) else ())
        if isinstance(checked, _Checked):
            good.append((place, checked))
    if not good:
        return results

    def decide(known: Known) -> None:
        for place, request in good:
            results[place] = _take(known, request)

    door.take([new.place for _, request in good for new in request.new], decide)
    return results


def _take(known: Known, request: _Checked) -> Sequence[Taken] | Exception:
    key = request.asked.key
    if key is not None and not known.claim(key):
        return KeyReused()
    reused: list[int] = []
    own: dict[str, int] = {}  # contents of this request's own payments by id
    for number, new in enumerate(request.new):
        id, _ = new.place
        before = own.get(id, known.contents.get(id))
        if before is not None and before != new.content:
            reused.append(number)
        own[id] = new.content
    if reused:
        return IdReused(reused)
    taken: list[Taken] = []
    for new in request.new:
        id, _ = new.place
        decision = known.decided.get(new.place)
        repeat = decision is not None or id in known.contents
        if not repeat:
            known.put(new, request.asked.trace)
        taken.append(Taken(new.place, repeat, decision))
    return taken


def _check(asked: Sequence[Payments]) -> Iterator[_Checked | Exception]:
    """Decodes the messages of all requests at once: a call costs as much as hundreds of them."""
    messages = [message for request in asked for message in request.messages]
    decoded = decode.transactions(messages)
    bad = [*decoded.bad, *_ahead(decoded.rows, decoded.index.tolist(), messages)]
    refused: dict[int, Bad] = {letter.index: letter for letter in bad}
    news = dict(zip(decoded.index.tolist(), _news(decoded.rows), strict=True))
    begin = 0
    for request in asked:
        places = range(begin, begin + len(request.messages))
        begin = places.stop
        wrong = [refused[place] for place in places if place in refused]
        if wrong:
            yield Refused([letter.moved(places.start) for letter in wrong])
        else:
            yield _Checked(request, [news[place] for place in places])


def _news(batch: Batch) -> Iterator[New]:
    # Written anew from what was read: fields that the contract does not know may hold anything, and
    # nothing looked for card numbers in them.
    rows = zip(
        batch.transaction_id.tolist(),
        batch.event_time.tolist(),
        batch.content.view(np.int64).tolist(),
        batch.card_token.tolist(),
        incoming.transactions(batch),
        strict=True,
    )
    for id, at, content, card, message in rows:
        yield New((id, at), content, card, message)


def _ahead(batch: Batch, index: Sequence[int], messages: Sequence[bytes]) -> Iterator[Bad]:
    latest = int(time.time() * SECOND) + MOST_AHEAD
    detail = f"more than {MOST_AHEAD // (3600 * SECOND)} h from now"
    for row in np.flatnonzero(batch.event_time > latest).tolist():
        place = index[row]
        yield Bad(place, Reason.BAD_TIME, "event_time", detail, redact(messages[place]))
