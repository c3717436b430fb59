"""The writing of values: what is shown can be read back, and secrets are not shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.settings_values import (
    mask_url,
    parse_duration,
    parse_projects,
    parse_roles,
    parse_size,
    parse_windows,
    parse_witnesses,
    show_duration,
    show_projects,
    show_size,
    show_witnesses,
    url,
)

SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
BYTES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


@given(st.floats(min_value=0, max_value=1e12))
def test_a_duration_reads_back_as_it_was_shown(seconds: float) -> None:
    assert parse_duration(show_duration(seconds)) == seconds


@given(st.integers(0, 10**6), st.sampled_from(sorted(SECONDS)))
def test_a_duration_is_its_count_of_its_unit(count: int, unit: str) -> None:
    assert parse_duration(f"{count}{unit}") == pytest.approx(count * SECONDS[unit])


@given(st.integers(0, 2**63))
def test_a_size_reads_back_as_it_was_shown(size: int) -> None:
    assert parse_size(show_size(size)) == size


@given(st.integers(0, 10**6), st.sampled_from(sorted(BYTES)))
def test_a_size_is_its_count_of_its_unit(count: int, unit: str) -> None:
    assert parse_size(f"{count}{unit}") == count * BYTES[unit]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.25, "250ms"), (30, "30s"), (600, "10m"), (86400, "1d"), (90, "90s"), (2.5, "2500ms"), (0, "0s")],
)
def test_a_duration_is_shown_in_its_largest_whole_unit(seconds: float, text: str) -> None:
    assert show_duration(seconds) == text


@pytest.mark.parametrize(("size", "text"), [(16 * 2**20, "16MiB"), (2**30, "1GiB"), (1000, "1000"), (0, "0")])
def test_a_size_is_shown_in_its_largest_whole_unit(size: int, text: str) -> None:
    assert show_size(size) == text


@pytest.mark.parametrize("text", ["", "-1s", "1 parsec", "s", "1MiB", "1e3s", "nan", "inf", "1.s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_duration(text)


@pytest.mark.parametrize("text", ["", "-1", "1.5", "16M", "1mib", "MiB", "1s", "1e3"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_size(text)


def windows(longest: int, units: str) -> st.SearchStrategy[str]:
    """Completion windows of whole units."""
    return st.builds("{}{}".format, st.integers(1, longest), st.sampled_from(units))


@given(st.lists(windows(99, "smh") | windows(30, "d") | st.just("1s-30d"), min_size=1, unique=True))
def test_completion_windows_keep_their_order(written: list[str]) -> None:
    assert parse_windows(",".join(written)) == tuple(written)


@pytest.mark.parametrize("text", ["", "lead,", "lead,lead", "boss", "LEAD"])
def test_what_is_no_list_of_roles_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_roles(text)


def test_roles_keep_their_order() -> None:
    assert parse_roles("run, lead") == ("run", "lead")


def test_witnesses_are_files_and_urls_and_are_shown_without_their_secrets() -> None:
    places = ("/var/audit/mill", "s3://audit/mill", "https://u:hush@host/hook?token=hush")
    assert parse_witnesses(", ".join(places)) == places
    assert show_witnesses(places) == "/var/audit/mill,s3://audit/mill,https://u:***@host/hook?token=***"
    assert parse_witnesses(show_witnesses(())) == ()


@pytest.mark.parametrize("text", ["", "audit/mill", "ftp://host/x", "https://", "/a,,/b"])
def test_what_is_no_list_of_witnesses_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_witnesses(text)


def test_limits_of_projects_are_written_as_those_of_all() -> None:
    text = '{"search":{"queued_lines":5000,"stored_bytes":"10GiB"},"ads":{"batches_per_hour":"20"}}'
    limits = parse_projects(text)
    assert limits == {
        "search": {"queued_lines": 5000, "stored_bytes": 10 * 2**30},
        "ads": {"batches_per_hour": 20},
    }
    assert parse_projects(show_projects(limits)) == limits
    assert parse_projects(show_projects({})) == {}


@pytest.mark.parametrize(
    "limits",
    ['{"queued_line":5}', '{"queued_lines":-1}', '{"queued_lines":"10GiB"}', "5", '{"queued_lines":1.5}'],
)
def test_what_is_no_limit_is_refused(limits: str) -> None:
    with pytest.raises(ValueError):
        parse_projects(f'{{"search":{limits}}}')


@pytest.mark.parametrize("text", ["", "24", "0h", "24h,", "24h,24h", "1w", "24H", "31d", "7d-1h"])
def test_what_is_no_list_of_completion_windows_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_windows(text)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ada:hush@db:5432/mill", "postgresql://ada:***@db:5432/mill"),
        (
            "postgresql://ada@db/mill?host=/run/pg&password=hush",
            "postgresql://ada@db/mill?host=/run/pg&password=***",
        ),
        ("postgresql://ada:hu:sh@a:1,b:2/mill", "postgresql://ada:***@a:1,b:2/mill"),
        ("s3://bucket/prefix?secret_access_key=hush", "s3://bucket/prefix?secret_access_key=***"),
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1"),
        ("file:///var/lib/mill", "file:///var/lib/mill"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert mask_url(url) == shown


@pytest.mark.parametrize("password", ["hu/sh", "hu#sh", "hu?sh"])
def test_a_password_that_is_not_escaped_is_no_part_of_a_url_that_would_be_shown(password: str) -> None:
    with pytest.raises(ValueError):
        url("amqp", example="amqp://host").parse(f"amqp://ada:{password}@broker/mill")
