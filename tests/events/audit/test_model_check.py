"""Each field of a row is held against the fold of its stream."""

import msgspec
import pytest

from events.audit.model_check import StoredRow, StreamCheck
from events.catalog import encode
from events.file import FileCreated
from tests.engine.recorded import PROJECT, stamped

ID = "file-1"
CREATED = FileCreated("in.jsonl", "batch", 7, "ab" * 32, "files/1", expires_after=60)
EVENT = stamped(ID, 1, *encode(CREATED))
STATE = (
    '{"shape":[1,0],"created":{"filename":"in.jsonl","purpose":"batch","size":7,"sha256":"' + "ab" * 32 + '",'
    '"storage_key":"files/1","expires_after":60,"batch_id":null},"created_at":0,"expires_at":60,"gone":false}'
)
OF_BEFORE = STATE.replace('"shape":[1,0],', "")
ROW = StoredRow(
    ID, "file", PROJECT, "batch", "files/1", EVENT.recorded_at, False, 1, STATE, None, expires_at=60, bytes=7
)


def different(**changed: object) -> list[str]:
    """The fields of a row, changed so, that are not what its stream gives."""
    check = StreamCheck(ID, msgspec.structs.replace(ROW, **changed))
    check.add(EVENT)
    return [field for field, _, _ in check.differences()]


@pytest.mark.parametrize(
    "right",
    [
        {},
        {"state": None, "version": 0, "expires_at": None, "bytes": None},
        {"state": OF_BEFORE},
        {"state": OF_BEFORE.replace(',"gone":false', "")},
    ],
)
def test_a_row_may_be_behind_and_of_another_shape(right: dict[str, object]) -> None:
    assert different(**right) == []


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"expires_at": None}, "expires_at"),
        ({"expires_at": 61}, "expires_at"),
        ({"bytes": None}, "bytes"),
        ({"bytes": 8}, "bytes"),
        ({"state": None, "version": 0, "expires_at": None}, "bytes"),
        ({"state": None, "version": 0, "bytes": None}, "expires_at"),
        ({"state": STATE.replace("false", "true")}, "state"),
        ({"state": OF_BEFORE.replace("false", "true")}, "state.gone"),
        ({"state": OF_BEFORE.replace('"created_at":0,', "")}, "state"),
        ({"state": "{}"}, "state"),
    ],
)
def test_what_was_edited_is_named(changed: dict[str, object], field: str) -> None:
    assert field in different(**changed)
