"""Progress of a batch: its pace, its sentence, and what a pipe and a terminal get of it."""

import io

import pytest

from cli.batch_view import BatchView, Counts, Live, Usage
from cli.pace import Pace
from cli.progress import duration, pace_sentence, progress


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def running(done: int, failed: int = 0, waiting: str | None = None) -> BatchView:
    return BatchView(
        id="batch_1",
        status="in_progress",
        request_counts=Counts(2_000, done - failed, failed),
        usage=Usage(done * 10, done * 20),
        batchmill=Live(waiting),
    )


def test_the_pace_is_that_of_the_last_seconds() -> None:
    pace = Pace(window=10.0)
    assert (pace.rate, pace.seconds_for(5)) == (0.0, None)
    for second in range(100):
        pace.saw(float(second), 1_000 + second * (1 if second < 80 else 50))
    assert pace.rate == 50.0
    assert pace.seconds_for(100) == 2.0


def test_lines_that_ended_before_do_not_count_for_the_pace() -> None:
    pace = Pace()
    pace.saw(0.0, 900)
    assert pace.rate == 0.0
    pace.saw(2.0, 1_000)
    assert pace.rate == 50.0


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.2, "1s"),
        (59.4, "59s"),
        (60.0, "1m"),
        (125.0, "2m 5s"),
        (3_600.0, "1h"),
        (12_000.0, "3h 20m"),
        (187_200.0, "2d 4h"),
    ],
)
def test_a_duration_has_its_two_largest_parts(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_the_sentence_tells_pace_rest_failures_and_tokens() -> None:
    pace = Pace()
    pace.saw(0.0, 0)
    pace.saw(2.0, 1_200)
    expected = "600 lines/s · 1s left · 3 failed · 12,000 tokens in, 24,000 out"
    assert pace_sentence(running(1_200, failed=3), pace) == expected


def test_a_pipe_gets_a_line_for_each_change_of_state_and_else_one_now_and_then() -> None:
    pipe = io.StringIO()
    times = iter([0.0, 1.0, 2.0, 6.0, 6.5, 7.0])
    with progress(pipe, every=5.0, clock=lambda: next(times)) as show:
        for batch in (
            running(0),
            running(10),
            running(20),
            running(60),
            running(60, waiting="route paused: \x1b[31mrefused"),
            running(60, waiting="route paused: \x1b[31mrefused"),
        ):
            show(batch)
    lines = pipe.getvalue().splitlines()
    assert [line.partition(" of")[0] for line in lines] == [
        "in_progress; 0",
        "in_progress; 60",
        "in_progress; 60",
    ]
    assert lines[2].endswith("; route paused: �[31mrefused")


def test_lines_of_an_earlier_run_do_not_count_for_the_pace() -> None:
    pipe = io.StringIO()
    times = iter([0.0, 1.0, 2.0])
    with progress(pipe, every=0.0, clock=lambda: next(times)) as show:
        for batch in (BatchView(id="", status="starting"), running(900), running(1_000)):
            show(batch)
    assert [line.split("; ")[2].partition(" · ")[0] for line in pipe.getvalue().splitlines()[1:]] == [
        "9,000 tokens in, 18,000 out",
        "100 lines/s",
    ]


def test_a_terminal_gets_a_bar_and_why_the_batch_waits() -> None:
    terminal = Terminal()
    times = iter([0.0, 2.0, 3.0])
    with progress(terminal, clock=lambda: next(times)) as show:
        for batch in (running(0), running(1_000), running(1_000, waiting="route paused: refused")):
            show(batch)
    shown = terminal.getvalue()
    assert "1,000 of 2,000" in shown
    assert "route paused: refused" in shown


def test_a_terminal_that_never_saw_the_batch_gets_nothing() -> None:
    terminal = Terminal()
    with progress(terminal):
        pass
    assert terminal.getvalue() == ""
