"""What chance decides in these tests hangs on one seed: `BATCHMILL_TEST_SEED`, or else any, the same in all
processes of a run."""

import os
import random
from typing import Final

_GIVEN: Final = os.environ.get("BATCHMILL_TEST_SEED")
_RUN: Final = os.environ.get("PYTEST_XDIST_TESTRUNUID")
SEED: Final = int(_GIVEN) if _GIVEN else random.Random(_RUN).randrange(1_000_000)
"""Part of the name of every test that it decides about."""
