"""What the tests of whole processes may ask for."""

from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import pytest

from tests.chaos.telling import TOLD, Tell
from tests.upstream import LedgerUpstream, ledger_upstream


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """Where the upstream writes down what it is asked."""
    return tmp_path / "ledger"


@pytest.fixture
async def upstream(ledger: Path) -> AsyncIterator[LedgerUpstream]:
    """An upstream that lives through whatever happens to the mill: it runs in the process of the test."""
    async with ledger_upstream(ledger) as running:
        yield running


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Tell:
    """Tells a figure of this test at the end of the run."""
    return partial(record_property, TOLD)
