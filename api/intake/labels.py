"""Labels of several requests, taken in together."""

from __future__ import annotations

from collections.abc import Sequence

from api.intake.asked import Refused
from api.intake.doors import Door
from tidegate import decode
from tidegate.decode import Bad
from tidegate.kafka import incoming


def take(door: Door, asked: Sequence[Sequence[bytes]]) -> list[int | Exception]:
    """Takes the labels of several requests in, JSON each: of each request all or none. Gives how
    many it were. Raises what is the matter with the door."""
    messages = [message for request in asked for message in request]
    decoded = decode.labels(messages)
    refused: dict[int, Bad] = {letter.index: letter for letter in decoded.bad}
    # Written anew, as payments are: `api.intake.payments`.
    rows = zip(decoded.rows.transaction_id.tolist(), incoming.labels(decoded.rows), strict=True)
    told = dict(zip(decoded.index.tolist(), rows, strict=True))
    results: list[int | Exception] = []
    good: list[tuple[str, bytes]] = []
    begin = 0
    for request in asked:
        places = range(begin, begin + len(request))
        begin = places.stop
        if wrong := [refused[place] for place in places if place in refused]:
            results.append(Refused([letter.moved(places.start) for letter in wrong]))
        else:
            results.append(len(request))
            good += [told[place] for place in places]
    if good:
        door.labels([id for id, _ in good], [message for _, message in good])
    return results
