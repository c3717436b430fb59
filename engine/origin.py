"""What the roles of this process say of themselves in the events that they cause."""

from events.origin import PROCESS, Origin


def origin(role: str, traceparent: str | None = None) -> str:
    """The metadata of an event that a role causes, for a batch within the trace of its creation."""
    return Origin(role, process=PROCESS, traceparent=traceparent).metadata()
