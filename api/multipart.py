"""A multipart form, read as it arrives: fields in any order, files of any size, one piece at a time."""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final, TypeAlias

from multipart import (  # type: ignore[import-untyped]  # it ships no types
    MultipartError,
    MultipartSegment,
    PushMultipartParser,
    parse_options_header,
)

from api.errors import ApiError

FORM_BYTES: Final = 1 << 20
"""What a form may have beside the content of its file."""
_FIELD_BYTES: Final = 64 << 10
_PARTS: Final = 64
_HEAD_CHARSET: Final = "latin-1"
"""Holds any bytes: a file name in no known encoding is no reason to refuse its content."""

_Event: TypeAlias = MultipartSegment | bytes | None


class Part:
    """One part of a form. Its content can be read once, and before the next part."""

    def __init__(self, name: str, filename: str | None, events: AsyncIterator[_Event]) -> None:
        self.name = name
        self.filename = filename
        self._events = events
        self._ended = False

    async def content(self) -> AsyncIterator[bytes]:
        """Its bytes. Raises as `Form.parts`."""
        while not self._ended:
            event = await anext(self._events)
            if isinstance(event, bytes):
                yield event
            else:
                self._ended = True

    async def text(self) -> str:
        """Its bytes as text: for fields. Raises `ApiError` for one that is long or no UTF-8."""
        held = bytearray()
        async for piece in self.content():
            held += piece
            if len(held) > _FIELD_BYTES:
                raise _malformed(f"the field '{self.name[:64]}' is longer than {_FIELD_BYTES} bytes")
        try:
            return held.decode()
        except UnicodeDecodeError as error:
            raise _malformed(f"the field '{self.name[:64]}' is not valid UTF-8") from error

    async def skip(self) -> None:
        """Reads what was not read of it."""
        async for _ in self.content():
            pass


class Form:
    """The form in a body. Raises `ApiError` where the body is none."""

    def __init__(self, content_type: str, body: AsyncIterator[bytes]) -> None:
        kind, options = parse_options_header(content_type)
        if kind != "multipart/form-data" or not options.get("boundary"):
            raise _malformed("expected the content type multipart/form-data with a boundary")
        try:
            self._parser = PushMultipartParser(
                options["boundary"], max_segment_count=_PARTS, header_charset=_HEAD_CHARSET
            )
        except (MultipartError, UnicodeEncodeError) as error:
            raise _malformed(str(error)) from error
        self._body = body

    async def parts(self) -> AsyncGenerator[Part, None]:
        """The parts in their order; what a part still holds when the next one is asked for is skipped.

        Raises `ApiError` for a form that is malformed or not complete, and what the body raises.
        """
        events = self._parsed()
        async for event in events:
            if isinstance(event, MultipartSegment):
                part = Part(_text(event.name) or "", _text(event.filename), events)
                yield part
                await part.skip()

    async def _parsed(self) -> AsyncGenerator[_Event, None]:
        try:
            with self._parser as parser:
                async for piece in self._body:
                    for event in parser.parse(piece):
                        yield event
        except MultipartError as error:
            raise _malformed(str(error)) from error


def _text(written: str | None) -> str | None:
    """What the head of a part says, which is UTF-8 if anything."""
    return None if written is None else written.encode(_HEAD_CHARSET).decode("utf-8", "replace")


def _malformed(reason: str) -> ApiError:
    return ApiError(400, f"We could not parse the multipart form of your request: {reason}.")
