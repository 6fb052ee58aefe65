"""Runbooks whose commands are run: `python -m tests.faults.runbooks FILE ...` writes what they say
into the files, `test_runbooks` holds the files to it.

A block of the kind `console` has commands after `$ ` (and `> ` where one goes on), and what they
print. All of a file run in one shell. Between blocks, `<!-- until: COMMAND -->` waits until that
command succeeds.
"""

from __future__ import annotations

import os
import pwd
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from bench.database import server
from tests import databases
from tests.faults.releasing import RELEASES
from tests.kafka.broker import HERE as KAFKA
from tests.kafka.broker import JARS, TOOL_HEAP, TOOLS, Broker, free_ports
from tidegate import embedded

FOLDER = Path(__file__).parents[2] / "docs" / "operations" / "runbooks"
BIN = Path(sys.executable).parent
PATIENCE = 120.0  # seconds that a command, or what is waited for, may take

_BEGIN, _END = "```console", "```"
_UNTIL = re.compile(r"<!-- until: (.+) -->")
_MARK = "=== runbook ==="

# What differs from run to run: ids and hashes, numbers, and where a line was cut.
_HASH = re.compile(r"\b(?=[0-9a-f-]*\d)[0-9a-f]{6,}(?:-[0-9a-f]{4,}){0,4}\b")
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
_KEY = re.compile(r"\b[a-z0-9]{12}\b")  # the prefix of an API key, and words as long


@dataclass
class Command:
    """What was typed at a prompt, and what it printed."""

    text: str
    printed: list[str] = field(default_factory=list)


def parsed(text: str) -> list[str | Command]:
    """A runbook as its lines and, in place of those of a block, its commands."""
    found: list[str | Command] = []
    inside = False
    for line in text.splitlines():
        last = found[-1] if found else ""
        if line == _BEGIN or (inside and line == _END):
            inside = line == _BEGIN
            found.append(line)
        elif inside and line.startswith("$ "):
            found.append(Command(line[2:]))
        elif inside and isinstance(last, Command):
            if line.startswith("> ") and not last.printed:
                last.text += f"\n{line[2:]}"
            else:
                last.printed.append(line)
        else:
            found.append(line)
    return found


def rendered(parts: Sequence[str | Command]) -> str:
    """The text of a runbook."""
    lines: list[str] = []
    for part in parts:
        if isinstance(part, Command):
            lines.append("$ " + part.text.replace("\n", "\n> "))
            lines += part.printed
        else:
            lines.append(part)
    return "\n".join(lines) + "\n"


class Shell:
    """bash, which is told one command after the other. names: what stands in a runbook for what is
    another in each run, such as a temporary directory."""

    def __init__(self, env: dict[str, str], directory: Path, names: Mapping[str, str]) -> None:
        self._names = names
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            env=env,
            cwd=directory,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, command: str) -> tuple[list[str], int]:
        """What it printed, and its exit code. Fails when it takes too long."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{command}\nprintf '\\n%s %s\\n' '{_MARK}' $?\n")
        self._process.stdin.flush()
        late = threading.Timer(PATIENCE, self.end)
        late.start()
        printed: list[str] = []
        for line in self._process.stdout:
            if line.startswith(_MARK):
                late.cancel()
                while printed and printed[-1] == "":
                    printed.pop()
                return printed, int(line.removeprefix(_MARK))
            for found, name in self._names.items():
                line = line.replace(found, name)
            printed.append(line.rstrip())
        raise AssertionError(f"{command} did not end, and said {printed}")

    def until(self, command: str) -> None:
        """Runs it until it succeeds."""
        deadline = time.monotonic() + PATIENCE
        while (told := self.run(command))[1] != 0:
            assert time.monotonic() < deadline, f"{command}: {told[0]}"
            time.sleep(0.2)

    def end(self) -> None:
        """Ends it and all that it started."""
        with suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(self._process.pid, signal.SIGTERM)
            self._process.wait(30)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()


@contextmanager
def place(server: str, broker: Broker) -> Iterator[Shell]:
    """Where a runbook runs: an empty directory, an empty database and a Kafka."""
    with ExitStack() as opened:
        directory = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="runbook-")))
        tools = directory / "bin"
        tools.mkdir()
        for name, main in TOOLS.items():
            tool = tools / f"{name}.sh"
            logging = f"-Dlog4j2.configurationFile={KAFKA / 'log4j2.properties'}"
            java = f"java {' '.join(TOOL_HEAP)} {logging} -cp '{JARS}/*' {main}"
            tool.write_text(f'#!/bin/sh\nexec {java} "$@"\n')
            tool.chmod(0o755)
        directory.chmod(0o755)
        home = directory / "tidegate"
        home.mkdir()
        _postgres_programs(tools, home)
        url, other = (opened.enter_context(databases.fresh(server, None)) for _ in range(2))
        metrics, port, primary, standby = free_ports(4)
        env = {
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "PATH": f"{BIN}:{tools}:{embedded.programs()}:{os.environ['PATH']}",
            "TIDEGATE_DATABASE_URL": url,
            "NEW_DATABASE_URL": other,
            "TIDEGATE_KAFKA_BROKERS": broker.address,
            "TIDEGATE_METRICS_PORT": str(metrics),
            "TIDEGATE_LOG_FORMAT": "text",
            "TIDEGATE_SNAPSHOT_SECONDS": "2",
            "PORT": str(port),
            "RELEASE": str(RELEASES / "0015"),
            "PRIMARY_PORT": str(primary),
            "STANDBY_PORT": str(standby),
        }
        names = {
            str(home): "/srv/tidegate",
            url: "postgresql://tidegate@database/tidegate",
            other: "postgresql://tidegate@database/restored",
            broker.address: "kafka:9092",
        }
        shell = Shell(env, home, names)
        opened.callback(shell.end)
        yield shell


def _postgres_programs(tools: Path, home: Path) -> None:
    """PostgreSQL does not run as root: what starts or makes a server runs as somebody else."""
    if os.geteuid() != 0:
        return
    user = pwd.getpwnam(embedded.OS_USER)
    home.chmod(0o777)
    for name in ("initdb", "pg_ctl", "pg_basebackup"):
        tool = tools / name
        program = embedded.programs() / name
        tool.write_text(f'#!/bin/sh\nexec runuser -u {user.pw_name} -- {program} "$@"\n')
        tool.chmod(0o755)


def play(parts: Sequence[str | Command], shell: Shell) -> Iterator[tuple[Command, list[str]]]:
    """Runs a runbook; gives each command and what it printed now."""
    for part in parts:
        if isinstance(part, Command):
            yield part, shell.run(part.text)[0]
        elif found := _UNTIL.fullmatch(part.strip()):
            shell.until(found[1])


def alike(written: Sequence[str], printed: Sequence[str]) -> bool:
    """Whether a runbook tells the truth: all but numbers, ids and widths of columns; a line `...`
    stands for any lines."""
    parts: list[str] = [re.escape(_plain(line)) for line in written]
    shape = "\n".join(".*" if part == re.escape("...") else part for part in parts)
    said = "\n".join(map(_plain, printed))
    return re.fullmatch(shape, said, re.DOTALL) is not None


def _plain(line: str) -> str:
    line = _KEY.sub("KEY", line)
    line = _HASH.sub("ID", line)
    return " ".join(_NUMBER.sub(_number, line).split())


def _number(found: re.Match[str]) -> str:
    # Nothing is not any number: `0 differ`.
    return "N" if found[0].strip("0.,:") else "0"


def main(paths: Sequence[Path]) -> None:
    """Runs runbooks and writes what has changed of what their commands print."""
    with server() as url:
        for path in paths:
            parts = parsed(path.read_text())
            with Broker() as broker, place(url, broker) as shell:
                try:
                    for command, printed in play(parts, shell):
                        if not alike(command.printed, printed):
                            command.printed = printed
                finally:
                    path.write_text(rendered(parts))


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]] or sorted(FOLDER.glob("[!R]*.md")))
