"""Makes the passwords of the stack in `compose.yaml`, each once: a second run leaves them as they are.

    python make_credentials.py FOLDER OWNER_FOLDER

FOLDER is for every process, OWNER_FOLDER for the database and its migrations alone. The files are readable by
any user, since each image has another: who mounts the folder is who may read it.
"""

import secrets
import sys
from pathlib import Path

from events.audit.note import PrivateKey


def keep(path: Path, content: str) -> str:
    """What the file holds; it is written if it is not there yet, whole or not at all."""
    if not path.exists():
        half = path.with_suffix(".half")
        half.write_text(content, encoding="utf-8")
        half.chmod(0o444)
        half.rename(path)
    return path.read_text(encoding="utf-8")


def make(folder: Path, owner_folder: Path) -> None:
    """Every file of both folders."""
    keep(owner_folder / "superuser-password", secrets.token_hex(24))
    owner = keep(owner_folder / "owner-password", secrets.token_hex(24))
    keep(owner_folder / "database-owner-url", f"postgresql://batchmill_owner:{owner}@postgres/batchmill")
    login = keep(folder / "login-password", secrets.token_hex(24))
    keep(folder / "database-url", f"postgresql://batchmill_login:{login}@postgres/batchmill")
    broker = keep(folder / "amqp-password", secrets.token_hex(24))
    keep(folder / "amqp-url", f"amqp://batchmill:{broker}@rabbitmq/")
    keep(folder / "api-key", f"sk-{secrets.token_urlsafe(32)}")
    keep(folder / "webhook-key", secrets.token_hex(32))
    keep(folder / "audit-key", PrivateKey.fresh("batchmill").text)


if __name__ == "__main__":
    make(Path(sys.argv[1]), Path(sys.argv[2]))
