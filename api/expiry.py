"""How long a file is kept: the rules of `expires_after`, as a JSON body or a form says it.

Every function raises `ApiError` for what is no expiry; `param` is what the client calls it.
"""

from collections.abc import Mapping
from typing import Final

from api.errors import above_maximum, below_minimum, invalid_type, invalid_value, missing_parameter
from api.json_body import optional_object, refuse_unknown
from api.numbers import whole_number

BATCH_FILE_SECONDS: Final = 30 * 86_400
"""Of a batch's input file that names no time of its own."""
FIELDS: Final = ("anchor", "seconds")
_ANCHOR: Final = "created_at"
_LEAST: Final = 3600
_MOST: Final = 2_592_000


def expiry_seconds(fields: Mapping[str, object], param: str) -> int:
    """The seconds that an object of `FIELDS` says."""
    for field in FIELDS:
        if field not in fields:
            raise missing_parameter(f"{param}.{field}")
    anchor, seconds = fields["anchor"], fields["seconds"]
    if not isinstance(anchor, str):
        raise invalid_type(f"{param}.anchor", "a string", anchor)
    if anchor != _ANCHOR:
        raise invalid_value(f"{param}.anchor", anchor, (_ANCHOR,))
    if isinstance(seconds, float) and seconds.is_integer():
        seconds = int(seconds)
    if not isinstance(seconds, int) or isinstance(seconds, bool):
        raise invalid_type(f"{param}.seconds", "an integer", seconds)
    if seconds < _LEAST:
        raise below_minimum(f"{param}.seconds", _LEAST, seconds)
    if seconds > _MOST:
        raise above_maximum(f"{param}.seconds", _MOST, seconds)
    return seconds


def expiry_of_body(fields: Mapping[str, object], param: str) -> int | None:
    """The same of the field `param` of a JSON body; None where it is absent or null."""

    def parse(expiry: dict[str, object]) -> int:
        refuse_unknown(expiry, frozenset(FIELDS), f"{param}.")
        return expiry_seconds(expiry, param)

    return optional_object(fields, param, parse)


def expiry_of_form(form: Mapping[str, str], param: str) -> int | None:
    """The same of the form's fields `param[anchor]` and `param[seconds]`; None where the form has neither."""
    said: dict[str, object] = {
        field: form[f"{param}[{field}]"] for field in FIELDS if f"{param}[{field}]" in form
    }
    if not said:
        return None
    if "seconds" in said:
        text = form[f"{param}[seconds]"]
        number = whole_number(text.strip().removesuffix(".0"))
        said["seconds"] = text if number is None else number
    return expiry_seconds(said, param)
