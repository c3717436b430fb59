"""Data keys as a store is given them, without a database."""

from uuid import UUID

from storage.data_key import DataKey, DataKeyDestroyed, DataKeyLost


class HeldDataKeys:
    """One for each project that asks. `encrypts` may be switched, keys may be destroyed."""

    def __init__(self) -> None:
        self.encrypts = True
        self._living: dict[str, DataKey] = {}
        self._destroyed: set[UUID] = set()

    async def to_encrypt(self, project: str) -> DataKey | None:
        return self._living.setdefault(project, DataKey.fresh()) if self.encrypts else None

    async def to_decrypt(self, id: UUID) -> DataKey:
        if id in self._destroyed:
            raise DataKeyDestroyed(f"data key {id} was destroyed")
        for key in self._living.values():
            if key.id == id:
                return key
        raise DataKeyLost(f"there is no data key {id}")

    def destroy(self, project: str) -> None:
        self._destroyed.add(self._living.pop(project).id)
