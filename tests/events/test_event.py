"""Digests: what they cover, and that no two contents share one."""

from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.event import Attachment, NewEvent, length_prefixed

parts = st.lists(st.none() | st.binary(max_size=4), max_size=4)
EVENT = NewEvent(UUID(int=1), "batch_1", "p", "BatchStarted", '{"total":1,"model":"m"}')


@given(parts, parts)
def test_no_two_lists_of_parts_join_to_the_same_bytes(
    one: list[bytes | None], other: list[bytes | None]
) -> None:
    assert (length_prefixed(one) == length_prefixed(other)) == (one == other)


def test_the_content_is_type_data_lines_and_attachments() -> None:
    changes: list[dict[str, object]] = [
        {"type": "BatchFailed"},
        {"data": '{"total":1, "model":"m"}'},
        {"lines": b""},
        {"attachments": (Attachment(b""),)},
    ]
    digests = {EVENT.content_digest()}
    digests |= {msgspec.structs.replace(EVENT, **change).content_digest() for change in changes}
    assert len(digests) == len(changes) + 1


def test_neither_request_nor_stream_nor_id_is_content() -> None:
    other = msgspec.structs.replace(
        EVENT, event_id=uuid4(), stream_id="batch_2", project_id="q", metadata='{"request":"r"}'
    )
    assert other.content_digest() == EVENT.content_digest()


def test_equal_bodies_have_digests_that_do_not_tell() -> None:
    assert Attachment(b"yes").digest != Attachment(b"yes").digest
    assert Attachment(b"yes", bytes(16)).digest == Attachment(b"yes", bytes(16)).digest


def test_text_that_is_no_text_never_gets_as_far_as_the_log() -> None:
    broken = msgspec.structs.replace(EVENT, data='"\ud800"')
    with pytest.raises(UnicodeEncodeError):
        broken.content_digest()
