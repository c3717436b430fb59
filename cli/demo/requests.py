"""The sample batch of the demo: questions of several kinds, as mixed as those of a real one. Pure."""

import random
from collections.abc import Iterator
from typing import Final

import msgspec

from cli.practice.answers import MODEL

ENDPOINT: Final = "/v1/chat/completions"
REFUSED_EVERY: Final = 250
"""One line in so many asks for no token at all: the upstream refuses it, and it ends in the error file."""

_THINGS: Final = ("kettle", "night train", "raincoat", "bicycle", "city map", "violin", "tent", "lamp")
_PLACES: Final = ("Lisbon", "Kyōto", "Kraków", "Montréal", "Tromsø", "Cusco", "Hué", "Nairobi")
_VERDICTS: Final = (
    "does what it should, and quietly",
    "broke on the second day 😞",
    "is lovelier than in the pictures ✨",
    "came late, in two boxes, without a manual",
)

Body = dict[str, object]


def request_lines(count: int, seed: int = 0) -> Iterator[bytes]:
    """So many lines of an input file, the same ones for the same seed."""
    chance = random.Random(seed)
    for number in range(1, count + 1):
        kind, body = _too_short() if number % REFUSED_EVERY == 0 else chance.choice(_KINDS)(chance)
        line = {
            "custom_id": f"{kind}-{number:04}",
            "method": "POST",
            "url": ENDPOINT,
            "body": {"model": MODEL, **body},
        }
        yield msgspec.json.encode(line) + b"\n"


def _translate(chance: random.Random) -> tuple[str, Body]:
    text = f"The {chance.choice(_THINGS)} from {chance.choice(_PLACES)} arrives on Tuesday."
    return "translate", {"messages": [_user(f"Into German: {text}")], "temperature": 0}


def _judge(chance: random.Random) -> tuple[str, Body]:
    review = f"The {chance.choice(_THINGS)} {chance.choice(_VERDICTS)}."
    system = {"role": "system", "content": "Answer with one word: positive, negative or mixed."}
    return "judge", {"messages": [system, _user(review)], "max_tokens": 8}


def _extract(chance: random.Random) -> tuple[str, Body]:
    thing, place, day = chance.choice(_THINGS), chance.choice(_PLACES), chance.randint(1, 28)
    text = f"Please send one {thing} to {place} by {day} March."
    body = {"messages": [_user(f"What, where and when, as JSON: {text}")]}
    return "extract", {**body, "response_format": {"type": "json_object"}}


def _summarise(chance: random.Random) -> tuple[str, Body]:
    sentences = [
        f"In {chance.choice(_PLACES)} I bought a {chance.choice(_THINGS)} that {chance.choice(_VERDICTS)}."
        for _ in range(chance.randint(5, 20))
    ]
    return "summarise", {"messages": [_user("In one sentence: " + " ".join(sentences))], "max_tokens": 40}


def _continue(chance: random.Random) -> tuple[str, Body]:
    place = chance.choice(_PLACES)
    said = {"role": "assistant", "content": f"{place}! How long will you stay?"}
    asked = _user(f"{chance.randint(2, 9)} days. What should I not miss?")
    return "continue", {"messages": [_user(f"I travel to {place}."), said, asked]}


def _too_short() -> tuple[str, Body]:
    return "too-short", {"messages": [_user("Say nothing.")], "max_tokens": 0}


def _user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


_KINDS: Final = (_translate, _judge, _extract, _summarise, _continue)
