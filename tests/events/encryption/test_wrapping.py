"""What wraps data keys: keys at hand, or a program that has them."""

import sys
from uuid import uuid4

import pytest

from events.encryption.wrapping import BY_COMMAND, Wrapping, WrappingFailed
from events.encryption.wrapping_key import WrappingKey, parse_wrapping_keys
from events.errors import SettingsError
from events.program import ProgramFailed
from storage.data_key import DataKey, DataKeyLost

KEY, OLD = WrappingKey.fresh(), WrappingKey.fresh()
DATA_KEY = DataKey.fresh()
REVERSED = "print(sys.stdin.readline().strip()[::-1])"
"""Wraps, in a way, and unwraps."""


def running(script: str) -> list[str]:
    return [sys.executable, "-Ic", f"import sys; {script}"]


async def unwrapped(wrapping: Wrapping, wrapped: bytes, by: str) -> bytes:
    return (await wrapping.unwrap(wrapped, by, DATA_KEY.id, "p")).secret


async def test_the_first_key_wraps_and_all_unwrap() -> None:
    before, after = Wrapping([OLD]), Wrapping([KEY, OLD])
    assert (before.by, after.by) == (OLD.id, KEY.id)
    for wrapping in (before, after):
        wrapped = await wrapping.wrap(DATA_KEY, "p")
        assert DATA_KEY.secret not in wrapped
        assert await unwrapped(after, wrapped, wrapping.by) == DATA_KEY.secret


async def test_a_key_that_is_not_given_is_named_with_the_setting() -> None:
    wrapped = await Wrapping([OLD]).wrap(DATA_KEY, "p")
    assert not Wrapping([KEY]).unwraps(OLD.id)
    with pytest.raises(WrappingFailed, match=f"wrapping key {OLD.id}.*BATCHMILL_WRAPPING_KEY_FILE"):
        await unwrapped(Wrapping([KEY]), wrapped, OLD.id)
    with pytest.raises(WrappingFailed, match="BATCHMILL_WRAPPING_COMMAND"):
        await unwrapped(Wrapping([KEY]), wrapped, BY_COMMAND)


def test_a_wrapped_key_is_bound_to_its_id_and_project() -> None:
    wrapped = KEY.wrap(DATA_KEY, "p")
    for id, project, found in (
        (uuid4(), "p", wrapped),
        (DATA_KEY.id, "other", wrapped),
        (DATA_KEY.id, "p", wrapped[:-1] + bytes([wrapped[-1] ^ 1])),
        (DATA_KEY.id, "p", b""),
    ):
        with pytest.raises(DataKeyLost, match=KEY.id):
            KEY.unwrap(found, id, project)


async def test_a_program_wraps_and_unwraps_and_keys_unwrap_beside_it() -> None:
    wrapping = Wrapping([OLD], running(REVERSED))
    wrapped = await wrapping.wrap(DATA_KEY, "p")
    assert wrapping.by == BY_COMMAND
    assert await unwrapped(wrapping, wrapped, BY_COMMAND) == DATA_KEY.secret
    assert await unwrapped(wrapping, OLD.wrap(DATA_KEY, "p"), OLD.id) == DATA_KEY.secret


async def test_a_program_hears_what_it_is_to_do_and_for_whom() -> None:
    told = running(f"assert sys.argv[1:] in (['wrap', 'p'], ['unwrap', 'p']); {REVERSED}")
    assert await Wrapping([], told).wrap(DATA_KEY, "p")


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("sys.exit('the vault is sealed')", "ended with 1: the vault is sealed"),
        ("print('no key')", "as something else than 32 bytes in base64"),
        (f"print('{'A' * 43}=')", "unwraps another key than it has wrapped"),
        ("print()", "wrapped a data key as 0 bytes"),
    ],
)
async def test_what_a_program_says_instead_is_told(script: str, said: str) -> None:
    with pytest.raises((ProgramFailed, WrappingFailed), match=said):
        await Wrapping([], running(script)).wrap(DATA_KEY, "p")


def test_a_key_file_holds_the_newest_key_first_and_tells_what_is_wrong_with_it() -> None:
    assert [key.id for key in parse_wrapping_keys(f"{KEY.text}\n{OLD.text}\n")] == [KEY.id, OLD.id]
    assert KEY.text not in repr(KEY)
    secret = KEY.text.rpartition("+")[2]
    for wrong in (KEY.text[:-5], KEY.text.replace(KEY.id, OLD.id), "sk-something", f"{KEY.text}x"):
        with pytest.raises(SettingsError, match="wrapping_key") as refused:
            parse_wrapping_keys(wrong)
        assert secret[:20] not in str(refused.value)
