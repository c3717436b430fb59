"""Whether there is room for what comes. How much there is nobody is told: by it one project could watch what
others store."""

import asyncio
from shutil import disk_usage

from api.errors import storage_full
from api.services import ApiServices


async def require_space(services: ApiServices, coming: int) -> None:
    """Raises `ApiError` where `coming` bytes would leave less storage free than is to stay free."""
    free = await services.store.free_space()
    floor = services.options.free_space_floor
    if free is not None and free - coming < floor:
        raise storage_full(
            f"The server keeps {floor} bytes of its storage free and has no room for an upload of {coming} "
            "bytes. Delete files, or ask its operator for room."
        )


async def require_spill_space(services: ApiServices, coming: int) -> None:
    """The same of the folder for what does not fit in memory. Raises also `OSError`."""
    free = (await asyncio.to_thread(disk_usage, services.options.spill_folder)).free
    floor = services.options.free_space_floor
    if free - coming < floor:
        raise storage_full(
            f"The server keeps {floor} bytes of its disk free, so it has no room to check a body of {coming} "
            "bytes. Ask its operator for room."
        )
