"""A run that is a release in a cluster, and what the cluster does to its pods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from tests.cluster.outside import Outside
from tests.cluster.release import Release
from tests.faults.kafka_place import Watched
from tests.faults.messages import Traffic
from tests.waiting import wait_until
from tidegate.settings import Topics


@dataclass(kw_only=True)
class Released(Watched):
    """A run that is a release in a cluster."""

    release: Release

    @classmethod
    def of(cls, release: Release, given: Outside, traffic: Traffic) -> Self:
        """With the defaults' topics, which the flow made when it started."""
        return cls(
            database=given.database,
            broker=given.broker,
            topics=Topics(),
            traffic=traffic,
            release=release,
        )

    def said(self) -> str:
        return self.release.said()[-20000:]

    def stop(self) -> None:
        self.release.kubectl("delete", "deployment", "tidegate-member", "--ignore-not-found")
        self.release.kubectl("scale", "statefulset", "tidegate-flow", "--replicas=0")
        self.release.kubectl(
            "wait", "--for=delete", "pod/tidegate-flow-0", "--timeout=90s", seconds=120
        )

    def kill_flow(self) -> None:
        """The first process of its container is killed; the kubelet starts another."""
        generation = self.generation()
        self.release.node.kill(container(self.release.pods("flow")[0]))
        self.recovered(after=generation)

    def replace_flow(self) -> None:
        """Its pod is deleted in order, as when a node is emptied."""
        generation = self.generation()
        self.release.kubectl("delete", "pod", "tidegate-flow-0", seconds=120)
        self.recovered(after=generation)

    def install(self, values: str, *settings: str) -> None:
        """An upgrade that changes who works."""
        generation = self.generation()
        self.release.install(values, *settings)
        self.recovered(after=generation)

    def become(self, workers: int) -> None:
        """So many pods with a worker each; returns when they decide."""
        generation = self.generation()
        self.release.kubectl("scale", "deployment", "tidegate-member", f"--replicas={workers - 1}")
        self._working(workers, generation)

    def kill_member(self) -> None:
        """One is gone without a word, and the cluster makes another."""
        generation, workers = self.generation(), self.workers()
        self._delete(self.release.pods("member")[0])
        self._working(workers, generation)

    def cut_off_member(self) -> None:
        """One loses its network and says nothing more, not even to the database, whose locks it
        may hold. The others go on without it."""
        generation, workers = self.generation(), self.workers()
        pod = self.release.pods("member")[0]
        self.release.node.cut_off(container(pod))
        self._working(workers - 1, generation)
        generation = self.generation()
        self._delete(pod)
        self._working(workers, generation)

    def workers(self) -> int:
        """How many there are to be."""
        return len(self.release.pods("member")) + 1

    def _delete(self, pod: Any) -> None:
        name = pod["metadata"]["name"]
        self.release.kubectl("delete", "pod", name, "--grace-period=0", "--force")

    def _working(self, workers: int, after: int) -> None:
        """Waits until so many work, in a later generation, and decide."""
        wait_until(lambda: self.working(after) == workers, 120, self.said)
        self.recovered(after=self.generation() - 1)


def container(pod: Any) -> str:
    (status,) = pod["status"]["containerStatuses"]
    return str(status["containerID"])
