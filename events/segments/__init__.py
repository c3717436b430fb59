"""Events that were moved out of the database into storage, as segments, and are read as if they stood there.

- `encoding`: the bytes of a segment.
- `segments`: the one reader; it fills the gaps that rows of the log have, from the `shelf`.
- `moving`: which events may go, and what takes them out of the log.

Positions are dense, and so are the versions of a stream: whoever reads rows sees by their numbers whether any
is missing, and asks for segments only then.
"""
