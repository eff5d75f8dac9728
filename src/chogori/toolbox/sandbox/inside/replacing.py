"""Writing a file all at once and durably: a new one is made beside it and takes its name.

No reader sees half a file, and a hard link to a file elsewhere is replaced, not written through.
Where we are really root, what is made belongs to the owner of the folder it is made in, and a file
that is replaced keeps its owner, so that people can delete their own files. (In a sandbox that root
started, whoever works inside *is* the owner of the folder, to the file system.)
"""

import os
import secrets
from contextlib import suppress

_OPEN_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def replace(name: str, folder: int, data: bytes, before: os.stat_result | None) -> None:
    """Write `data` to `name` in the folder of a descriptor; `before` is what is there now."""
    passing = f".chogori-{secrets.token_hex(8)}"
    mode = 0o666 if before is None else before.st_mode & 0o777
    descriptor = os.open(passing, _OPEN_NEW, mode, dir_fd=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            give(descriptor, before or os.fstat(folder))
            if before is not None:
                os.fchmod(descriptor, mode)  # what the umask took
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        os.rename(passing, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(OSError):
            os.unlink(passing, dir_fd=folder)
        raise
    os.fsync(folder)


def give(descriptor: int, like: os.stat_result) -> None:
    """Hand what root made to the owner that `like` has."""
    if os.geteuid() == 0:
        os.fchown(descriptor, like.st_uid, like.st_gid)
