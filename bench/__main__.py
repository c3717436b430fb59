"""Every benchmark in its short form, one after the other: `python -m bench`, or `make bench`.

Each is a module of its own that takes options; `python -m bench.throughput --help` tells them.
"""

import subprocess
import sys

SHORT = (
    ("bench.throughput",),
    ("bench.memory", "--line-bytes", "20000"),
    ("bench.answers", "--answers", "500"),
    ("bench.finalize_reverse", "--answers", "500"),
    ("bench.appends", "--seconds", "10"),
    ("bench.scaling", "--lines", "1600", "--tails", "1"),
    ("bench.first_call", "--tries", "30"),
    ("bench.sealing", "--events", "50000"),
    ("bench.verifying", "--events", "10000", "50000", "--megabytes", "100"),
    ("bench.replay", "--events", "50000"),
)


def main() -> int:
    """Runs them; the exit status says whether all of them ran to their end."""
    failed = 0
    for module, *options in SHORT:
        print(f"\n$ python -m {' '.join([module, *options])}", flush=True)
        failed |= subprocess.run([sys.executable, "-m", module, *options], check=False).returncode
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
