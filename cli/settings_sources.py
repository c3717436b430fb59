"""Reads the settings: TOML file, then `BATCHMILL_*`, then flags; the later source wins.

Every name and value is checked before anything starts: whatever is unknown, malformed or contradictory is
collected and told at once, each with its name, its value (never a secret), what is expected, and its source.
"""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from cli.settings import PREFIX, Description, Settings, default_data_folder, describe
from cli.settings_values import MASK
from events.errors import SettingsError

CONFIG = PREFIX + "CONFIG"
FAILPOINTS = PREFIX + "FAILPOINTS"
_TESTS = PREFIX + "TEST_"

DEFAULT = "default"


class Loaded(msgspec.Struct, frozen=True):
    """The settings in force and, for each name, where its value came from."""

    settings: Settings
    origins: Mapping[str, str]


class _Given(msgspec.Struct, frozen=True):
    """One value as a source gives it: under which setting or `…_file`, and how to speak of its place."""

    name: str
    value: object
    origin: str


def load(
    flags: Mapping[str, object | None] | None = None,
    *,
    environ: Mapping[str, str],
    config: Path | None = None,
) -> Loaded:
    """What is in force.

    `flags` maps names of settings (and `…_file` for secrets) to what was given, None where nothing was.
    `config` is the TOML file; without it BATCHMILL_CONFIG names one, else there is none. A variable that
    is empty counts as not given.

    Raises SettingsError, one line for each thing that is wrong.
    """
    problems: list[str] = []
    if config is None and environ.get(CONFIG):
        config = Path(environ[CONFIG])
    values: dict[str, object] = {"data_dir": default_data_folder(environ)}
    origins = {setting.name: DEFAULT for setting in describe()}
    for source in (_from_file(config, problems), _from_environment(environ), _from_flags(flags or {})):
        given = _known(source, problems)
        for setting in describe():
            try:
                found = _read(setting, given)
            except ValueError as problem:
                problems.append(str(problem))
                continue
            if found is not None:
                values[setting.name], origins[setting.name] = found
    if problems:
        raise SettingsError("\n".join(problems))
    settings = msgspec.convert(values, Settings)
    if contradictions := settings.contradictions():
        raise SettingsError("\n".join(contradictions))
    return Loaded(settings, origins)


def _from_file(path: Path | None, problems: list[str]) -> Iterator[_Given]:
    if path is None:
        return
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        problems.append(f"the settings file {path} cannot be read: {error.strerror}")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problems.append(f"the settings file {path} is not TOML: {error}")
    else:
        for name, value in table.items():
            yield _Given(name, value, f"{name} in {path}")


def _from_environment(environ: Mapping[str, str]) -> Iterator[_Given]:
    for name, value in environ.items():
        known_elsewhere = name in (CONFIG, FAILPOINTS) or name.startswith(_TESTS)
        if name.startswith(PREFIX) and value and not known_elsewhere:
            lowered = name.removeprefix(PREFIX).lower()
            yield _Given(lowered if name == name.upper() else name, value, name)


def _from_flags(flags: Mapping[str, object | None]) -> Iterator[_Given]:
    spelling = {setting.file_name or setting.name: setting.flag for setting in describe()}
    for name, value in flags.items():
        if value is not None:
            yield _Given(name, value, spelling.get(name) or f"--{name.replace('_', '-')}")


def _known(source: Iterator[_Given], problems: list[str]) -> dict[str, _Given]:
    """What the source gives by name; a name that no setting has is a problem."""
    names = [name for setting in describe() for name in (setting.name, setting.file_name) if name]
    known: dict[str, _Given] = {}
    for given in source:
        if given.name in names:
            known[given.name] = given
        else:
            problems.append(f"unknown setting {given.origin}{_nearest(given, names)}")
    return known


def _nearest(given: _Given, names: list[str]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(given.name.lower().removeprefix(PREFIX.lower()), names, n=1)
    if not close:
        return ": `batchmill config` lists the settings"
    in_environment = given.origin.startswith(PREFIX)
    return f": did you mean {PREFIX + close[0].upper() if in_environment else close[0]}?"


def _read(setting: Description, given: Mapping[str, _Given]) -> tuple[object, str] | None:
    """The setting's value and its origin, if the source has it; ValueError tells what is wrong."""
    direct = given.get(setting.name)
    in_file = given.get(setting.file_name or "")
    if direct and in_file:
        raise ValueError(f"{direct.origin} and {in_file.origin} are both given: keep one of them")
    if direct:
        return _parse(setting, direct.value, direct.origin), direct.origin
    if in_file:
        origin = f"{in_file.origin} ({in_file.value})"
        return _parse(setting, _contents(in_file), origin), origin
    return None


def _contents(given: _Given) -> str:
    try:
        text = Path(str(given.value)).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ValueError(f"{given.origin}: the file {given.value} cannot be read: {why}") from error
    return text.rstrip("\r\n")


def _parse(setting: Description, value: object, origin: str) -> object:
    shown = MASK if setting.secret else repr(value)
    if isinstance(value, list):
        value = ",".join(map(str, value))
    elif isinstance(value, dict):
        value = msgspec.json.encode(value).decode()
    elif isinstance(value, bool) and setting.kind.name == "switch":
        value = str(value).lower()
    try:
        if isinstance(value, bool) or not isinstance(value, str | int | float | Path):
            raise ValueError("no such type")
        return setting.kind.parse(str(value))
    except (ValueError, ArithmeticError) as error:
        raise ValueError(f"{origin} is {shown}, expected {setting.kind.expects}") from error
