"""Digests recomputed from rows are those that the log and the recorder gave."""

from datetime import UTC, datetime
from uuid import UUID

import msgspec
import pytest
import zstandard

from events.audit.digests import (
    LinesDamaged,
    LogRow,
    attachment_digest,
    attachment_digests_of,
    content_digest_of,
    event_digest_of,
    line_root_of,
)
from events.batch import Usage
from events.event import Attachment, NewEvent, RecordedEvent, event_digest
from events.outcomes.lines import LineOutcome, pack_block, pack_facts, root_digest

AT = datetime(2026, 11, 26, 12, 0, 0, 123456, tzinfo=UTC)
OUTCOMES = [LineOutcome(n, 200, 1, Usage(), 1.0, 0.5, b'{"n":%d}\n' % n) for n in (3, 4, 7)]
SALT = bytes(16)
BODY = pack_block([one.result for one in OUTCOMES])
FACTS = pack_facts(OUTCOMES, 0)


def row_of(new: NewEvent) -> LogRow:
    content = new.content_digest()
    recorded = RecordedEvent(
        1, new.event_id, new.stream_id, 1, new.type, new.project_id, new.data, new.metadata, AT
    )
    digest = event_digest(recorded, content)
    return LogRow(
        1, new.event_id, new.stream_id, 1, new.type, new.project_id, new.data, new.lines, new.metadata,
        new.attachment_digests, content, digest, AT,
    )  # fmt: skip


ROW = row_of(
    NewEvent(
        UUID(int=5), "batch_1", "default", "LinesCompleted", '{"a":1}', '{"actor":"x"}', FACTS,
        (Attachment(BODY, SALT), Attachment(b"other")),
    )
)  # fmt: skip


def test_a_row_gives_the_digests_that_it_names() -> None:
    assert content_digest_of(ROW) == ROW.content_digest
    assert event_digest_of(ROW) == ROW.digest
    assert attachment_digests_of(ROW)[0] == attachment_digest(SALT, BODY)
    assert len(attachment_digests_of(ROW)) == 2


@pytest.mark.parametrize(
    "changed",
    [
        {"event_id": UUID(int=6)},
        {"stream_id": "batch_2"},
        {"version": 2},
        {"type": "LinesComplete"},
        {"project_id": "other"},
        {"data": '{"a":2}'},
        {"lines": FACTS + b"\0"},
        {"lines": None},
        {"metadata": "{}"},
        {"attachments": None},
        {"recorded_at": AT.replace(microsecond=123457)},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_every_column_but_the_position_is_under_the_digest(changed: dict[str, object]) -> None:
    assert event_digest_of(msgspec.structs.replace(ROW, **changed)) != ROW.digest
    assert event_digest_of(msgspec.structs.replace(ROW, position=9, content_digest=b"")) == ROW.digest


def test_the_root_of_lines_follows_from_facts_and_body() -> None:
    results = [one.result for one in OUTCOMES]
    assert line_root_of(FACTS, SALT, BODY) == (root_digest([3, 4, 7], results, SALT), len(b"".join(results)))


@pytest.mark.parametrize(
    ("facts", "body"),
    [(FACTS, b"no zstd"), (b"\xc1", BODY), (FACTS, zstandard.compress(b"{}\n")), (FACTS, BODY[:-3])],
)
def test_lines_that_do_not_fit_are_damaged(facts: bytes, body: bytes) -> None:
    with pytest.raises(LinesDamaged):
        line_root_of(facts, SALT, body)
