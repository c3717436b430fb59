"""Looks for rows that belong to no event, or say that they belong to another."""

from typing import Final

import msgspec

from engine.audit.progress import Progress, Show
from events.audit.defect import Defect
from events.audit.evidence import Evidence, Stray

PAGE: Final = 5000


async def look_at_strays(evidence: Evidence, progress: Progress, show: Show) -> None:
    """Notes rows of read models and attachments that were inserted or moved. Raises `DatabaseUnavailable`."""
    while models := await evidence.stray_models(progress.stray_model, PAGE):
        for stray in models:
            if not stray.known:
                told = f"the row of {stray.key} in the read models was inserted: no event tells of it"
                _note(progress, Defect("read_model_inserted", told, stream=stray.stream, key=stray.key))
        progress.stray_model = models[-1].key
        await show(progress)
    while attachments := await evidence.stray_attachments(progress.stray_attachment, PAGE):
        for _, stray in attachments:
            if stray.owner is None:
                _note_body(progress, stray)
            elif stray.owner != stray.stream:
                told = (
                    f"the attachment {stray.key} was changed: it says that it is of {stray.stream}, and the "
                    f"event that has recorded it is of {stray.owner}"
                )
                _note(progress, Defect("attachment_changed", told, stream=stray.owner, key=stray.key))
        progress.stray_attachment = attachments[-1][0]
        await show(progress)
    progress.phase = "done"


def _note_body(progress: Progress, stray: Stray) -> None:
    """What is nobody's was inserted, unless it is what another place lacks."""
    digest = b"" if stray.digest is None else stray.digest
    faults = progress.looked.faults
    for at, fault in enumerate(faults):
        if fault.what == "attachment" and fault.found is None and fault.expected == digest.hex():
            faults[at] = msgspec.structs.replace(fault, found=fault.expected, there=stray.key)
            return
    told = f"the attachment {stray.key} was inserted: no event has recorded it"
    _note(progress, Defect("attachment_inserted", told, stream=stray.stream, key=stray.key))


def _note(progress: Progress, defect: Defect) -> None:
    """Unless what happened to events explains it."""
    assert defect.stream is not None
    progress.odd.append((defect, defect.stream, 0, None))
