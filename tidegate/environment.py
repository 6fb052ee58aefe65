"""Reading environment variables of ours: parsed, or refused with one line that shows no secret.

`tidegate.settings` says which variables there are and what they mean.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Mapping
from difflib import SequenceMatcher
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from urllib.parse import urlsplit

PREFIX = "TIDEGATE_"

# Variables of ours that are no settings: the tests read them.
_NOT_SETTINGS = re.compile(r"TIDEGATE_(REQUIRE|TEST_\w+)")

# Kubernetes puts the addresses of a namespace's services into every container, and a service named
# `tidegate` or `tidegate-api` makes names that look like ours.
_SERVICE_LINK = re.compile(
    r"TIDEGATE_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)"
)
_SERVICE_URL = re.compile(r"(tcp|udp|sctp)://")

_SWITCH = {"true": True, "1": True, "on": True, "false": False, "0": False, "off": False}
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_BROKER = re.compile(r"(\w+://)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:(?P<port>[0-9]{1,5}))?")
_DATABASE_URL = re.compile(r"postgres(ql)?://\S+")

Network = IPv4Network | IPv6Network


class SettingError(ValueError):
    """A setting that cannot be used; its text is one line, fit to be shown, without secrets.

    variable: the environment variable at fault.
    """

    def __init__(self, variable: str, problem: str) -> None:
        super().__init__(f"{variable} {problem}")
        self.variable = variable


class Given:
    """The variables of an environment that begin with TIDEGATE_, each asked for by what follows.

    An empty value counts as not set. What was never asked for is none of our variables.
    """

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = {name: value for name, value in env.items() if name.startswith(PREFIX)}
        self._asked: set[str] = set()

    def text(self, name: str, default: str) -> str:
        """The value without space around it."""
        return self._value(name) or default

    def names(self, name: str) -> tuple[str, ...]:
        """Names between commas, each once; none where the variable is not set."""
        given = [part.strip() for part in self._value(name).split(",")]
        return tuple(dict.fromkeys(part for part in given if part))

    def networks(self, name: str) -> tuple[Network, ...]:
        """IP networks between commas; an address is one of its own."""
        found = []
        for part in self.names(name):
            try:
                found.append(ip_network(part))
            except ValueError:
                raise SettingError(
                    PREFIX + name,
                    f"has {shown(part)}: networks such as 10.0.0.0/8, separated by commas, "
                    "are needed",
                ) from None
        return tuple(found)

    def switch(self, name: str, default: bool) -> bool:
        """On or off."""
        value = self._value(name)
        if not value:
            return default
        if value.lower() not in _SWITCH:
            raise SettingError(PREFIX + name, f"is {shown(value)}: true or false is allowed")
        return _SWITCH[value.lower()]

    def path(self, name: str, default: Path) -> Path:
        """An absolute path; `~` is the user's home."""
        value = self._value(name)
        return Path(value).expanduser().absolute() if value else default

    def whole(self, name: str, default: int) -> int:
        """A whole number in decimal digits."""
        value = self._value(name)
        if not value:
            return default
        if not _WHOLE.fullmatch(value):
            raise SettingError(PREFIX + name, f"is {shown(value)}: a whole number is needed")
        return int(value)

    def number(self, name: str, default: float) -> float:
        """A finite number."""
        value = self._value(name)
        if not value:
            return default
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise SettingError(PREFIX + name, f"is {shown(value)}: a number is needed")
        return number

    def database_url(self, name: str) -> str | None:
        """A PostgreSQL URL, or None. It may hold a password."""
        value = self._value(name)
        if not value:
            return None
        if not _DATABASE_URL.fullmatch(value):
            raise SettingError(
                PREFIX + name,
                f"is {masked_url(value)}: a URL that begins with postgresql:// is needed",
            )
        return value

    def http_url(self, name: str) -> str | None:
        """An http or https URL without a user or password, or None."""
        value = self._value(name)
        if not value:
            return None
        if not is_http_url(value):
            raise SettingError(
                PREFIX + name,
                f"is {masked_url(value)}: http:// or https://, a host and no user are needed",
            )
        return value

    def brokers(self, name: str) -> tuple[str, ...]:
        """Addresses of Kafka brokers, host:port each, separated by commas."""
        value = self._value(name)
        brokers = tuple(part.strip() for part in value.split(",")) if value else ()
        for broker in brokers:
            match = _BROKER.fullmatch(broker)
            if not match or not 1 <= int(match["port"] or 9092) <= 65535:
                # Only the one at fault, and not if somebody put a password before an @.
                known = "an address with a user" if "@" in broker else shown(broker)
                raise SettingError(
                    PREFIX + name, f"has {known}: host:port, separated by commas, is needed"
                )
        return brokers

    def kafka_config(self, name: str) -> dict[str, str]:
        """A JSON object of librdkafka's properties, every value as text. It may hold passwords, so
        no error repeats any of it but the names of properties."""
        value = self._value(name)
        if not value:
            return {}
        try:
            config = json.loads(value)
        except json.JSONDecodeError as ex:
            # Without the chain: the exception holds the document.
            where = f"line {ex.lineno} column {ex.colno}"
            raise SettingError(PREFIX + name, f"is not JSON ({ex.msg} at {where})") from None
        if not isinstance(config, dict):
            raise SettingError(PREFIX + name, "is not a JSON object of librdkafka's properties")
        for key, item in config.items():
            if key in ("bootstrap.servers", "metadata.broker.list"):
                raise SettingError(PREFIX + name, f"has {key}: use {PREFIX}KAFKA_BROKERS for that")
            if not isinstance(item, str | int | float):
                raise SettingError(
                    PREFIX + name,
                    f"has a {shown(key)} that is neither text, a number, true nor false",
                )
        return {
            key: str(item).lower() if isinstance(item, bool) else str(item)
            for key, item in config.items()
        }

    def secret_keys(self, name: str) -> tuple[str, ...]:
        """Keys of 32 bytes in URL-safe Base64, separated by commas. No error repeats any of it."""
        keys = self.names(name)
        for number, key in enumerate(keys, 1):
            try:
                size = len(base64.b64decode(key, altchars=b"-_", validate=True))
            except ValueError:
                size = 0
            if size != 32:
                raise SettingError(
                    PREFIX + name,
                    f"has a key, number {number}, that is not 32 bytes in URL-safe Base64",
                )
        return keys

    def refuse_unknown(self) -> None:
        """Raises `SettingError` for a variable that was never asked for, with the nearest name."""
        for name in sorted(self._env.keys() - self._asked):
            if _NOT_SETTINGS.fullmatch(name) or _SERVICE_LINK.fullmatch(name):
                continue
            if name.endswith("_PORT") and _SERVICE_URL.match(self._env[name]):
                continue
            nearest = max(
                sorted(self._asked), key=lambda known: SequenceMatcher(None, name, known).ratio()
            )
            raise SettingError(shown(name)[1:-1], f"is no setting; the nearest one is {nearest}")

    def _value(self, name: str) -> str:
        self._asked.add(PREFIX + name)
        return self._env.get(PREFIX + name, "").strip()


def shown(value: str) -> str:
    """A value as it may stand in a message: quoted, on one line, at most 60 characters of it."""
    return repr(value if len(value) <= 60 else value[:57] + "...")


def is_loopback(host: str) -> bool:
    """Whether a host's name or address, without a port, is this machine itself."""
    host = host.strip("[]").lower()
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def is_http_url(url: str) -> bool:
    """Whether it is an http or https URL, without a user."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where it is none
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc


def is_safe_url(url: str) -> bool:
    """Whether what comes from a URL may be trusted: https, or http on this machine."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    host = parts.hostname or ""
    return bool(host) and (
        parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))
    )


def masked_url(url: str) -> str:
    """The URL without its password, for messages and logs. What is no URL is not shown at all."""
    if not re.match(r"\w[\w+.-]*://", url):
        return f"not shown ({len(url)} characters)"
    # Up to the last @, for a password may hold one, or a slash, where somebody forgot to quote it.
    url = re.sub(r"://([^:@/?]*):.*@", r"://\1:***@", url, flags=re.DOTALL)
    url = re.sub(r"([?&](?:ssl)?password=)[^&]*", r"\1***", url, flags=re.IGNORECASE)
    return "".join(char if char.isprintable() else "?" for char in url)
