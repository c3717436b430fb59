"""How long a watch waits for a server that does not answer."""

import pytest

from cli.exit_codes import ServerUnreachable
from cli.remote.client import Server
from cli.remote.watching import watch_to_the_end


class Silent(Server):
    """A server that never answers."""

    def get(self, *path: str, **query: str) -> bytes:
        raise ServerUnreachable("nobody there")


def test_a_watch_gives_up_when_its_patience_is_over() -> None:
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    with pytest.raises(ServerUnreachable):
        watch_to_the_end(
            Silent("http://mill/v1"),
            "batch_1",
            lambda batch, content: None,
            interval=5,
            patience=60,
            sleep=sleep,
            clock=lambda: now,
        )
    assert now == 60
