"""Who signs: keys at hand, or a program that has them."""

import sys
from pathlib import Path
from typing import Final

import pytest

from engine.audit.signer import CommandSigner, KeySigner, SignerFailed, parse_private_keys, parse_public_keys
from events.audit.note import PrivateKey
from events.errors import SettingsError

KEY: Final = PrivateKey("mill", bytes(range(32)))
NEXT_KEY: Final = PrivateKey("mill", bytes(range(1, 33)))
TEXT: Final = "batchmill/1\n1\nroot\n"

SIGN: Final = """
import sys
from events.audit.note import parse_private_key
text = sys.stdin.read()
for key in sys.argv[1:]:
    print(parse_private_key(key).sign(text).line)
"""


def running(script: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", script, *arguments]


async def test_every_key_at_hand_signs() -> None:
    note = await KeySigner([NEXT_KEY, KEY]).sign(TEXT)
    assert note.signers([KEY.public, NEXT_KEY.public]) == [NEXT_KEY.public, KEY.public]


async def test_a_command_gets_the_text_and_gives_the_signatures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    keys = [NEXT_KEY, KEY]
    signer = CommandSigner(running(SIGN, *(key.text for key in keys)), [key.public for key in keys])
    assert await signer.sign(TEXT) == await KeySigner(keys).sign(TEXT)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("print('nothing of the kind')", "is no signature that is asked of it"),
        (f"print({NEXT_KEY.sign(TEXT).line!r})", "none of the keys that are known has signed this"),
        (f"print({KEY.sign('another').line!r})", "is false"),
        (f"print(); print({KEY.sign(TEXT).line!r})", "is false|did not sign"),
        ("import sys; sys.exit('the vault is sealed')", "ended with 1: the vault is sealed"),
    ],
)
async def test_what_a_command_says_instead_is_told(script: str, said: str) -> None:
    with pytest.raises(SignerFailed, match=said):
        await CommandSigner(running(script), [KEY.public]).sign(TEXT)


async def test_a_command_that_signs_with_one_key_of_two_has_not_signed() -> None:
    script = f"print({KEY.sign(TEXT).line!r})"
    with pytest.raises(SignerFailed, match="did not sign with mill"):
        await CommandSigner(running(script), [KEY.public, NEXT_KEY.public]).sign(TEXT)


async def test_a_command_that_never_ends_is_ended(tmp_path: Path) -> None:
    with pytest.raises(SignerFailed, match=r"took longer than 0.1 s"):
        await CommandSigner(running("import time; time.sleep(600)"), [KEY.public], patience=0.1).sign(TEXT)
    with pytest.raises(SignerFailed, match="cannot be run: No such file"):
        await CommandSigner([str(tmp_path / "absent")], [KEY.public]).sign(TEXT)


def test_a_key_file_holds_the_newest_key_first() -> None:
    read = parse_private_keys(f"{NEXT_KEY.text}\n{KEY.text}\n")
    assert [key.public for key in read] == [NEXT_KEY.public, KEY.public]
    with pytest.raises(SettingsError, match="audit_key: a private key begins with"):
        parse_private_keys(KEY.public.text)
    assert parse_public_keys(f"{KEY.public.text}, {NEXT_KEY.public.text}") == [KEY.public, NEXT_KEY.public]
    with pytest.raises(SettingsError, match="audit_public_keys: "):
        parse_public_keys("mill")
