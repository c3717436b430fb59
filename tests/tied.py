"""Children that die with the tests, however these end."""

import shutil
from typing import Final

TIED: Final = ("setpriv", "--pdeathsig", "KILL") if shutil.which("setpriv") else ()
"""What stands before a command; nothing where the system cannot do it."""
