"""Signed notes against the examples of Go's `sumdb/note` and of C2SP, and what is refused."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.audit.checkpoint import Checkpoint, parse_checkpoint
from events.audit.note import (
    MalformedNote,
    Note,
    NotSigned,
    PrivateKey,
    Signature,
    parse_note,
    parse_private_key,
    parse_public_key,
    sign,
)

# Keys, text and signatures of the tests of golang.org/x/mod/sumdb/note.
PETER: Final = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETERS_SECRET: Final = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
ENOCH: Final = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
TEXT: Final = (
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
)
BY_PETER: Final = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNI"
    "uGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
BY_ENOCH: Final = (
    "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2ti"
    "OHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n"
)
# The example of C2SP tlog-checkpoint.
CHECKPOINT: Final = """example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJ\
urmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
"""
# The example of C2SP signed-note.
POEM: Final = """Ognuno sta solo sul cuor della terra
trafitto da un raggio di sole:

ed è subito sera.

— quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5d\
dnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=
"""


def test_a_known_key_signs_as_gos_notes_do() -> None:
    key = parse_private_key(PETERS_SECRET)
    assert (key.public.text, key.text) == (PETER, PETERS_SECRET)
    assert sign(TEXT, [key]).encode() == f"{TEXT}\n{BY_PETER}"


def test_signatures_of_known_keys_are_checked_and_others_ignored() -> None:
    peter, enoch = parse_public_key(PETER), parse_public_key(ENOCH)
    note = parse_note(f"{TEXT}\n{BY_PETER}{BY_ENOCH}".encode())
    assert note.text == TEXT
    assert note.signers([peter]) == [peter]
    assert note.signers([enoch]) == [enoch]
    assert note.signers([enoch, peter]) == [peter, enoch]
    with pytest.raises(NotSigned, match="it is signed by PeterNeumann"):
        note.signers([])


def test_a_false_signature_of_a_known_key_makes_the_note_worthless() -> None:
    peter, enoch = parse_public_key(PETER), parse_public_key(ENOCH)
    note = parse_note(f"{TEXT} \n\n{BY_PETER}{BY_ENOCH}")
    with pytest.raises(NotSigned, match=r"the signature of PeterNeumann\+c74f20a3 is false"):
        note.signers([peter])
    short = Note(TEXT, (Signature(peter.name, peter.id, b"short"),))
    with pytest.raises(NotSigned, match="is false"):
        short.signers([peter, enoch])


def test_a_key_of_the_same_name_or_id_is_another_key() -> None:
    namesake = PrivateKey("PeterNeumann", bytes(32)).public
    with pytest.raises(NotSigned, match="none of the keys that are known"):
        parse_note(f"{TEXT}\n{BY_PETER}").signers([namesake])


@pytest.mark.parametrize("example", [POEM, CHECKPOINT])
def test_the_examples_of_the_specifications_are_read_and_written_as_they_are(example: str) -> None:
    note = parse_note(example.encode())
    assert note.encode() == example
    assert note.text == example[: example.rindex("\n\n") + 1]
    [signature] = note.signatures
    assert len(signature.bytes_) == 64


def test_the_example_of_a_checkpoint_is_read() -> None:
    checkpoint = parse_checkpoint(parse_note(CHECKPOINT).text)
    assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20852163)
    assert checkpoint.text == parse_note(CHECKPOINT).text


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        TEXT.encode(),
        f"{TEXT}\n".encode(),
        f"{TEXT}\n{BY_PETER[:-1]}".encode(),
        f"\x01{TEXT}\n{BY_PETER}".encode(),
        f"{TEXT}\r\n\n{BY_PETER}".encode(),
        b"\xff" + f"{TEXT}\n{BY_PETER}".encode(),
        f"{TEXT}\n{BY_PETER.replace('PeterNeumann', 'Bad Name')}".encode(),
        f"{TEXT}\n{BY_PETER.replace('PeterNeumann', 'Bad+Name')}".encode(),
        f"{TEXT}\n{BY_PETER.replace('PeterNeumann', 'Bad Name')}".encode(),
        f"{TEXT}\n{BY_PETER}Unexpected line.\n".encode(),
        f"{TEXT}\n{BY_PETER.replace('—', '-')}".encode(),
        f"{TEXT}\n{BY_PETER.replace('JnAM=', 'JnAN=')}".encode(),
        f"{TEXT}\n{BY_PETER.replace('=', '')}".encode(),
        f"{TEXT}\n— PeterNeumann AAAAAA==\n".encode(),
        f"{TEXT}\n— PeterNeumann\n".encode(),
        f"{TEXT}\n{BY_PETER * 65}".encode(),
        b"a" * (1 << 20) + f"{TEXT}\n{BY_PETER}".encode(),
    ],
)
def test_what_is_no_note_is_refused(bad: bytes) -> None:
    with pytest.raises(MalformedNote):
        parse_note(bad)


@pytest.mark.parametrize("text", ["", "no end of line", "a control\x07\n"])
def test_what_no_note_can_say_is_not_signed(text: str) -> None:
    with pytest.raises(MalformedNote):
        sign(text, [parse_private_key(PETERS_SECRET)])


def test_keys_that_were_cut_or_changed_are_refused() -> None:
    for key, parse in ((PETER, parse_public_key), (PETERS_SECRET, parse_private_key)):
        for at in range(len(key)):
            for changed in (key[:at], key[at + 1 :], key[:at] + chr(ord(key[at]) + 1) + key[at + 1 :]):
                with pytest.raises(MalformedNote):
                    parse(changed)
    wrong_kind = "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    too_long = "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY=="
    for key in (wrong_kind, too_long):
        with pytest.raises(MalformedNote, match="must be of Ed25519"):
            parse_public_key(key)


def test_a_private_key_is_told_by_nobody_but_its_text() -> None:
    key = parse_private_key(PETERS_SECRET)
    assert "AYEKFALVFGyN" not in repr(key) + str(key)
    with pytest.raises(MalformedNote) as refused:
        parse_private_key(PETERS_SECRET.replace("c74f20a3", "c74f20a4"))
    assert "AYEKFALVFGyN" not in str(refused.value)


def test_a_fresh_key_signs_what_its_public_key_checks() -> None:
    key = PrivateKey.fresh("batchmill")
    note = sign("a\n", [key, PrivateKey.fresh("another")])
    assert parse_note(note.encode()).signers([parse_public_key(key.public.text)]) == [key.public]


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"])), st.integers(1, 3))
def test_any_text_survives_being_signed(text: str, keys: int) -> None:
    signed = sign(text + "\n", [PrivateKey(f"k{n}", bytes([n] * 32)) for n in range(keys)])
    assert parse_note(signed.encode().encode()) == signed


@given(st.integers(0, 1 << 60), st.binary(min_size=32, max_size=32))
def test_a_checkpoint_survives_its_text(size: int, root: bytes) -> None:
    checkpoint = Checkpoint("batchmill/1", size, root)
    assert parse_checkpoint(checkpoint.text) == checkpoint


ROOT: Final = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"o\n1\n{ROOT}",
        f"\n1\n{ROOT}\n",
        f"o\n01\n{ROOT}\n",
        f"o\n-1\n{ROOT}\n",
        f"o\n١\n{ROOT}\n",
        f"o\n1\n{ROOT}\nextension\n",
        f"o\n1\n{ROOT[:-4]}\n",
        f"o\n1\n{ROOT.replace('I=', 'J=')}\n",
        f"o\n1\n {ROOT}\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(MalformedNote):
        parse_checkpoint(text)
