"""Requests that wait for decisions: one thread asks the database for all of them together."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection

from api.intake.asked import Busy
from tidegate.link import Link
from tidegate.store import decided
from tidegate.store.connection import Conn
from tidegate.store.decided import Place
from tidegate.store.queries import StoredDecision

log = logging.getLogger(__name__)

MOST = 20_000  # payments that may be waited for at a time
_PATIENCE = 0.05  # seconds to the next look where the database tells of nothing

OnDecided = Callable[[Place, StoredDecision], None]


class Waiting:
    """Tells of decisions as soon as they are stored."""

    def __init__(self, url: str) -> None:
        self._closed = threading.Event()
        self._link = Link(url, "tidegate-waiting", self._closed, listen=decided.LISTEN)
        self._changed = threading.Condition()
        self._waiting: dict[Place, list[OnDecided]] = {}
        self._thread = threading.Thread(target=self._run, name="tidegate-waiting", daemon=True)

    def start(self) -> None:
        """Begins to look."""
        self._thread.start()

    def tell(self, places: Collection[Place], on_decided: OnDecided) -> None:
        """Has somebody told, from another thread, of each of these once it is decided. Raises
        Busy."""
        with self._changed:
            if len(self._waiting) + len(places) > MOST:
                raise Busy("too many decisions are waited for")
            for place in places:
                self._waiting.setdefault(place, []).append(on_decided)
            self._changed.notify()

    def forget(self, places: Collection[Place], on_decided: OnDecided) -> None:
        """Whoever it was no longer waits for these; may be told all the same, once."""
        with self._changed:
            for place in places:
                told = self._waiting.get(place, [])
                if on_decided in told:
                    told.remove(on_decided)
                if not told:
                    self._waiting.pop(place, None)

    def close(self) -> None:
        """Ends; nobody is told any more."""
        self._closed.set()
        with self._changed:
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join()
        self._link.close()

    def _run(self) -> None:
        while not self._closed.is_set():
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed.is_set())
                places = list(self._waiting)
            if not places:
                continue
            try:
                self._link.work(lambda conn, places=places: self._look(conn, places))  # type: ignore[misc]
            except Exception as error:
                if not self._closed.is_set():  # such as a table that is not there yet
                    log.warning("decisions cannot be waited for now: %s", type(error).__name__)
            self._link.wait(_PATIENCE)

    def _look(self, conn: Conn, places: list[Place]) -> None:
        for place, decision in decided.get(conn, places).items():
            with self._changed:
                told = self._waiting.pop(place, [])
            for on_decided in told:
                on_decided(place, decision)
