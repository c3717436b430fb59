"""What may happen to a file and to a key."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events import file, key
from events.file import CreateFile, DeleteFile, ExpireFile, File, FileCommand, FileCreated, FileDeleted
from events.key import (
    SCOPES,
    CreateKey,
    Key,
    KeyCommand,
    KeyCreated,
    KeyRestricted,
    KeyRevoked,
    RevokeKey,
    Scope,
    restriction,
)

FILE = FileCreated("in.jsonl", "batch", 10, "00" * 32, "objects/1", expires_after=60)
KEY = KeyCreated("00" * 32, "…abcd", "ci")
NARROW = KeyRestricted(("read",), 60)


@given(st.lists(st.sampled_from([CreateFile(FILE), DeleteFile(), ExpireFile()])))
def test_a_file_is_made_once_and_goes_once(commands: list[FileCommand]) -> None:
    state: File | None = None
    made = []
    for second, command in enumerate(commands):
        events = file.decide(state, command)
        for event in events:
            state = file.evolve(state, event, second)
        assert file.decide(state, command) == []
        made += events
    assert len(made) <= 2
    assert [type(event) for event in made[:1]] in ([], [FileCreated])
    if state is not None:
        assert state.gone == (len(made) == 2)
        assert state.expires_at == state.created_at + 60


def test_a_file_without_an_expiry_never_expires() -> None:
    created = FileCreated("in.jsonl", "batch", 10, "00" * 32, "objects/1")
    assert file.evolve(None, created, 7).expires_at is None


def test_a_file_begins_with_its_creation() -> None:
    with pytest.raises(ValueError, match="begins with FileCreated"):
        file.evolve(None, FileDeleted(), 0)


@given(st.lists(st.sampled_from([CreateKey(KEY), CreateKey(KEY, NARROW), RevokeKey()])))
def test_a_key_is_revoked_once_and_keeps_when(commands: list[KeyCommand]) -> None:
    state: Key | None = None
    for second, command in enumerate(commands):
        before = state
        for event in key.decide(state, command):
            state = key.evolve(state, event, second)
        assert key.decide(state, command) == []
        if before is not None and before.revoked_at is not None:
            assert state == before


def test_a_key_begins_with_its_creation() -> None:
    with pytest.raises(ValueError, match="begins with KeyCreated"):
        key.evolve(None, KeyRevoked(), 0)


def test_a_key_does_everything_for_ever_unless_it_says_otherwise() -> None:
    full = key.evolve(None, KEY, 7)
    assert (full.scopes, full.expires_at) == (SCOPES, None)
    assert not full.expired(1 << 40)
    narrow = key.evolve(full, NARROW, 7)
    assert (narrow.scopes, narrow.expires_at) == (("read",), 67)
    assert (narrow.expired(66), narrow.expired(67)) == (False, True)


@pytest.mark.parametrize(
    ("asked", "held"),
    [
        (("read",), ("read",)),
        (("write",), ("read", "write")),
        (("admin",), ("read", "write", "admin")),
        (("admin", "read"), ("read", "write", "admin")),
        ((), ()),
    ],
)
def test_a_scope_has_those_before_it_in_it(asked: tuple[Scope, ...], held: tuple[Scope, ...]) -> None:
    restricted = restriction(asked, 60)
    assert restricted == KeyRestricted(held, 60)
    assert (restriction(asked) is None) == (held == SCOPES)


def test_a_secret_is_random_and_only_its_digest_is_kept() -> None:
    secret, other = key.fresh_secret(), key.fresh_secret()
    assert secret != other
    assert secret.startswith(key.KEY_PREFIX)
    kept = key.describe_secret(secret, "ci")
    assert kept.sha256 == key.secret_digest(secret) != key.secret_digest(other)
    assert kept.hint == "…" + secret[-4:]
    assert secret not in repr(kept)


def test_a_secret_that_is_no_text_opens_nothing_and_breaks_nothing() -> None:
    assert key.secret_digest("\udcff") != key.secret_digest("ÿ")
