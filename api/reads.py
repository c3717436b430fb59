"""Reads of contents, recorded before anything of them is sent, where the settings ask for it.

One append for each read, and no announcement of it: nobody waits for these events. A read that cannot be
recorded is not answered.
"""

from collections.abc import AsyncGenerator

from api.request import ApiRequest, origin, services_of
from events.catalog import new_event
from events.reads import ContentRead, reads_stream


async def record_read(request: ApiRequest, read: ContentRead) -> None:
    """Records that contents are about to be sent; to `HEAD` none are. Raises as `Log.append`."""
    services, project_id = services_of(request), request.auth.project_id
    if services.options.audit_reads and request.method != "HEAD":
        event = new_event(reads_stream(project_id), project_id, read, metadata=origin(request))
        await services.journal.log.append([event])


async def recorded_first(
    request: ApiRequest, read: ContentRead, pieces: AsyncGenerator[bytes, None]
) -> AsyncGenerator[bytes, None]:
    """The pieces, once it is recorded that they are about to be sent. Raises as `Log.append`; then they are
    closed."""
    try:
        await record_read(request, read)
    except BaseException:
        await pieces.aclose()
        raise
    return pieces
