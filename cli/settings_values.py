"""How the value of a setting is written and shown: durations, sizes, counts, addresses, secrets.

Each kind of value is one `Kind`: `parse` reads text, `show` writes it back, and `parse(show(value)) == value`
for every kind that hides nothing. Pure: no file, no environment, no clock.
"""

import re
from collections.abc import Callable, Collection, Mapping
from decimal import Decimal
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Generic, Literal, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec

from api.batches.windows import is_offer
from events.limits import Limits

T = TypeVar("T")

MASK = "***"

_SECONDS = {
    "ms": Decimal("0.001"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
    "d": Decimal(86400),
}
_BYTES = {
    "B": 1,
    "kB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "TB": 1000**4,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
    "TiB": 1024**4,
}
_NUMBER_AND_UNIT = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")
ROLES = ("lead", "plan", "run")
_HAVE_A_HOST = ("http", "https", "s3", "gs", "az", "amqp", "amqps")
_WITNESSES = ("http", "https", "file", "s3", "gs", "az")
_SECRET_PARAMETERS = re.compile(r"pass|key|secret|token|signature|credential", re.IGNORECASE)


class Kind(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """One way to write a value: what text is expected, how it is read and how it is shown.

    `parse` raises ValueError on text it does not accept; the user is told `expects` instead of that error.
    `show` never reveals a secret.
    """

    name: str
    expects: str
    parse: Callable[[str], T]
    show: Callable[[T], str] = str
    secret: bool = False


def parse_duration(text: str) -> float:
    """Seconds of `250ms`, `30s`, `5m`, `24h`, `2d`, or of a plain number (seconds)."""
    number, unit = _number_and_unit(text, _SECONDS)
    return float(number * _SECONDS[unit or "s"])


def show_duration(seconds: float) -> str:
    """The shortest exact writing of a duration, such as `10m` for 600 seconds."""
    exact = Decimal(repr(seconds))
    for unit in ("d", "h", "m", "s", "ms"):
        if exact and exact % _SECONDS[unit] == 0:
            return f"{int(exact / _SECONDS[unit])}{unit}"
    return f"{exact:f}s"


def parse_size(text: str) -> int:
    """Bytes of `16MiB`, `1GiB` (powers of 1,024), `16MB` (powers of 1,000), or of a plain number."""
    number, unit = _number_and_unit(text, _BYTES)
    size = number * _BYTES[unit or "B"]
    if size != size.to_integral_value():
        raise ValueError("not a whole number of bytes")
    return int(size)


def show_size(size: int) -> str:
    """The shortest exact writing of a size, such as `16MiB`."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size >= _BYTES[unit] and size % _BYTES[unit] == 0:
            return f"{size // _BYTES[unit]}{unit}"
    return str(size)


def parse_switch(text: str) -> bool:
    """`true` or `false`."""
    if text not in ("true", "false"):
        raise ValueError("neither")
    return text == "true"


def parse_windows(text: str) -> tuple[str, ...]:
    """Completion windows in the order given: `24h` or `24h,1h-7d`; see `api/batches/windows.py`."""
    windows = tuple(part.strip() for part in text.split(","))
    if not all(is_offer(window) for window in windows) or len(set(windows)) < len(windows):
        raise ValueError("not completion windows")
    return windows


def parse_roles(text: str) -> tuple[str, ...]:
    """Roles in the order given: `run` or `lead,plan`."""
    roles = tuple(part.strip() for part in text.split(","))
    if not set(roles) <= set(ROLES) or len(set(roles)) < len(roles):
        raise ValueError("not roles")
    return roles


def parse_networks(text: str) -> tuple[str, ...]:
    """Networks in the order given: `10.0.0.0/8` or `10.1.0.0/16,fd00::/8`; `none` are none."""
    return () if text == "none" else tuple(str(ip_network(part.strip())) for part in text.split(","))


def parse_witnesses(text: str) -> tuple[str, ...]:
    """Places in the order given: `/var/audit/mill,s3://bucket,https://host/path`; `none` are none."""
    places = () if text == "none" else tuple(part.strip() for part in text.split(","))
    for place in places:
        parts = urlsplit(place)
        if not (place.startswith("/") or (parts.scheme in _WITNESSES and (parts.hostname or parts.path))):
            raise ValueError("not a place")
    return places


def show_witnesses(places: tuple[str, ...]) -> str:
    """Places as they are written, without what is secret in them."""
    return ",".join(place if place.startswith("/") else mask_url(place) for place in places) or "none"


def show_networks(networks: tuple[str, ...]) -> str:
    """Networks as they are written."""
    return ",".join(networks) or "none"


def parse_projects(text: str) -> dict[str, dict[str, int]]:
    """Limits by project, as settings are written: `{"search":{"queued_lines":5000}}`; `none` are none."""
    tables = {} if text == "none" else msgspec.json.decode(text, type=dict[str, dict[str, int | str]])
    return {
        project: {name: _limit(name, str(value)) for name, value in own.items()}
        for project, own in tables.items()
    }


def show_projects(projects: Mapping[str, Mapping[str, int]]) -> str:
    """Limits of projects as they are written."""
    return msgspec.json.encode(projects).decode() if projects else "none"


def mask_url(url: str) -> str:
    """The URL without its password and without query values whose name sounds like a secret."""
    parts = urlsplit(url)
    host = parts.netloc
    user_info, at, address = host.rpartition("@")
    if at and ":" in user_info:
        host = f"{user_info.partition(':')[0]}:{MASK}@{address}"
    query = [
        (name, MASK if _SECRET_PARAMETERS.search(name) else value)
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
    ]
    return urlunsplit(parts._replace(netloc=host, query=urlencode(query, safe="/:*")))


def whole_number(name: str, low: int, high: int | None = None) -> Kind[int]:
    """A whole number within bounds, both included."""
    expects = f"a whole number from {low}" + (f" to {high}" if high is not None else "")

    def parse(text: str) -> int:
        if not re.fullmatch(r"[+-]?\d[\d_]*", text):
            raise ValueError("not a whole number")
        return _within(int(text), low, high)

    return Kind(name=name, expects=expects, parse=parse)


def choice(*values: str) -> Kind[str]:
    """One of a few words."""

    def parse(text: str) -> str:
        if text not in values:
            raise ValueError("not one of the choices")
        return text

    return Kind(name="choice", expects=f"one of {', '.join(values)}", parse=parse)


def url(*schemes: str, example: str, secret: bool = False) -> Kind[str]:
    """A URL of one of the schemes, kept as written, but for slashes at the end of an address of HTTP."""

    def parse(text: str) -> str:
        parts = urlsplit(text)
        # A port that is no number raises, too: mostly it is half of a password with a bare / in it, and the
        # other half would be shown as the path.
        unaddressed = parts.scheme in _HAVE_A_HOST and (not parts.hostname or parts.port == 0)
        if parts.scheme not in schemes or unaddressed:
            raise ValueError("not such a URL")
        return text.rstrip("/") if parts.scheme in ("http", "https") else text

    return Kind(name="URL", expects=f"a URL such as {example}", parse=parse, show=mask_url, secret=secret)


def _number_and_unit(text: str, units: Collection[str]) -> tuple[Decimal, str]:
    found = _NUMBER_AND_UNIT.fullmatch(text.strip())
    if found is None or (found[2] and found[2] not in units):
        raise ValueError("not a number with a unit")
    return Decimal(found[1]), found[2]


def _within(number: int, low: int, high: int | None) -> int:
    if number < low or (high is not None and number > high):
        raise ValueError("out of bounds")
    return number


def _limit(name: str, text: str) -> int:
    if name not in Limits.__struct_fields__:
        raise ValueError("no such limit")
    return parse_size(text) if name == "stored_bytes" else _within(int(text), 0, None)


def _positive_duration(text: str) -> float:
    seconds = parse_duration(text)
    if seconds <= 0:
        raise ValueError("not positive")
    return seconds


def _positive_size(text: str) -> int:
    return _within(parse_size(text), 1, None)


def _non_empty(text: str) -> str:
    if not text.strip():
        raise ValueError("empty")
    return text


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share <= 1:
        raise ValueError("out of bounds")
    return share


_DURATION = Kind(
    name="duration",
    expects="a duration such as 250ms, 30s, 5m or 24h",
    parse=_positive_duration,
    show=show_duration,
)
_SIZE = Kind(
    name="size",
    expects="a size such as 16MiB, 1GiB or a number of bytes",
    parse=_positive_size,
    show=show_size,
)
_WINDOWS = Kind(
    name="windows",
    expects="completion windows of at most 30d, such as 24h or 24h,1h-7d",
    parse=parse_windows,
    show=",".join,
)
_ROLES = Kind(
    name="roles", expects="some of lead, plan, run, with commas between", parse=parse_roles, show=",".join
)
_NETWORKS = Kind(
    name="networks",
    expects="networks such as 10.0.0.0/8 or 10.1.0.0/16,fd00::/8, or none",
    parse=parse_networks,
    show=show_networks,
)
_PROJECTS = Kind(
    name="limits by project",
    expects='limits by project, such as {"search":{"queued_lines":5000}}, of '
    + ", ".join(Limits.__struct_fields__),
    parse=parse_projects,
    show=show_projects,
)
_PLACES = Kind(
    name="places",
    expects="paths of files and URLs, such as /var/audit/mill or s3://bucket,https://host/path, or none",
    parse=parse_witnesses,
    show=show_witnesses,
)
_FOLDER = Kind(
    name="folder", expects="the path of a folder", parse=lambda text: Path(_non_empty(text)).expanduser()
)
_SECRET = Kind(
    name="secret", expects="a text that is not empty", parse=_non_empty, show=lambda _: MASK, secret=True
)

_TEXT = Kind(name="text", expects="a text that is not empty", parse=_non_empty)
Text = Annotated[str, _TEXT]
MaybeText = Annotated[str | None, _TEXT]
Duration = Annotated[float, _DURATION]
Size = Annotated[int, _SIZE]
Space = Annotated[int, msgspec.structs.replace(_SIZE, parse=parse_size)]
Count = Annotated[int, whole_number("count", 1)]
Number = Annotated[int, whole_number("count", 0)]
MaybeNumber = Annotated[int | None, whole_number("count", 0)]
Port = Annotated[int, whole_number("port", 0, 65535)]
MaybePort = Annotated[int | None, whole_number("port", 0, 65535)]
Share = Annotated[float, Kind(name="share", expects="a number from 0 to 1", parse=_share)]
Windows = Annotated[tuple[str, ...], _WINDOWS]
Folder = Annotated[Path, _FOLDER]
Secret = Annotated[str | None, _SECRET]
HttpUrl = Annotated[str | None, url("http", "https", example="http://127.0.0.1:8000/v1")]
DatabaseUrl = Annotated[
    str | None, url("postgresql", "postgres", example="postgresql://user:password@host/name", secret=True)
]
StorageUrl = Annotated[
    str | None, url("file", "s3", "gs", "az", example="s3://bucket/prefix or file:///folder", secret=True)
]
BrokerUrl = Annotated[
    str | None, url("amqp", "amqps", example="amqps://user:password@host/vhost", secret=True)
]
Roles = Annotated[tuple[str, ...], _ROLES]
Places = Annotated[tuple[str, ...], _PLACES]
Networks = Annotated[tuple[str, ...], _NETWORKS]
Projects = Annotated[Mapping[str, Mapping[str, int]], _PROJECTS]
Addresses = Annotated[Literal["off", "network", "full"], choice("off", "network", "full")]
Switch = Annotated[
    bool,
    Kind(
        name="switch",
        expects="true or false",
        parse=parse_switch,
        show=lambda on: str(on).lower(),
    ),
]
LogLevel = Annotated[str, choice("debug", "info", "warning", "error")]
LogFormat = Annotated[str, choice("auto", "console", "json")]
