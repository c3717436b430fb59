"""Whether there is room for what comes."""

from api.errors import storage_full
from api.services import ApiServices


async def require_space(services: ApiServices, coming: int) -> None:
    """Raises `ApiError` where `coming` bytes would leave less storage free than is to stay free."""
    free = await services.store.free_space()
    floor = services.options.free_space_floor
    if free is not None and free - coming < floor:
        raise storage_full(
            f"The server has {free} bytes of free storage and keeps {floor} of them free, so it takes no "
            f"upload of {coming} bytes. Delete files, or ask its operator for room."
        )
