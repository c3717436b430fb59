"""A set of a batch's lines."""

from collections.abc import Iterable, Iterator


class LineSet:
    """Ordinals of lines, below `total`, a bit each: those of 20 million lines take 2.5 MB."""

    def __init__(self, total: int, lines: Iterable[int] = ()) -> None:
        self._total = total
        self._bits = bytearray(-(-total // 8))
        self.update(lines)

    def update(self, lines: Iterable[int]) -> None:
        """Takes lines in. Raises `IndexError` for one that is not below `total`."""
        bits = self._bits
        for line in lines:
            bits[line >> 3] |= 1 << (line & 7)

    def __contains__(self, line: int) -> bool:
        return bool(self._bits[line >> 3] & 1 << (line & 7))

    def __len__(self) -> int:
        return int.from_bytes(self._bits, "little").bit_count()

    def __iter__(self) -> Iterator[int]:
        """In ascending order."""
        for at, byte in enumerate(self._bits):
            if byte:
                yield from (at * 8 + n for n in range(8) if byte >> n & 1)

    def missing(self) -> Iterator[int]:
        """The lines that are not in it, in ascending order."""
        for at, byte in enumerate(self._bits):
            if byte != 0xFF:
                lines = (at * 8 + n for n in range(8) if not byte >> n & 1)
                yield from (line for line in lines if line < self._total)
