"""What has failed rests for longer and longer, and is forgotten when nobody asks for it."""

from engine.pauses import Pauses


def test_a_pause_doubles_while_it_goes_on_failing_and_begins_anew_after_a_success() -> None:
    now = 0.0
    pauses = Pauses(0.5, 3.0, lambda: now)
    for pause in (0.5, 1.0, 2.0, 3.0, 3.0):
        assert pauses.over("batch_1")
        assert pauses.begin("batch_1") == pause
        now += pause / 2
        assert not pauses.over("batch_1")
        assert pauses.over("batch_2")
        now += pause / 2
    pauses.end("batch_1")
    assert pauses.begin("batch_1") == 0.5


def test_what_nobody_comes_back_to_is_let_go() -> None:
    now = 0.0
    pauses = Pauses(1.0, 30.0, lambda: now)
    for now in range(1000):
        pauses.begin(f"batch_{now}")
    assert pauses.kept == 32
    now = 2000.0
    assert pauses.begin("batch_999") == 1.0
    assert pauses.kept == 1
