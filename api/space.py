"""Whether there is room for what comes."""

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
            f"The server has {free} bytes of free storage and keeps {floor} of them free, so it takes no "
            f"upload of {coming} bytes. Delete files, or ask its operator for room."
        )


async def require_spill_space(services: ApiServices, coming: int) -> None:
    """The same of the folder for what does not fit in memory. Raises also `OSError`."""
    free = (await asyncio.to_thread(disk_usage, services.options.spill_folder)).free
    floor = services.options.free_space_floor
    if free - coming < floor:
        raise storage_full(
            f"The server has {free} bytes free for temporary files and keeps {floor} of them free, so it "
            f"checks no body of {coming} bytes. Ask its operator for room."
        )
