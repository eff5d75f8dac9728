"""Which file system a folder is on, and whether a database is safe there.

SQLite's log of writes needs locks and memory shared by all processes that use it. Across a network
neither can be relied on, and the database is damaged in silence. So such folders are refused.
"""

from __future__ import annotations

import re
from pathlib import Path

from chogori.errors import StoreError

_MOUNTS = Path("/proc/self/mountinfo")
_NETWORK = re.compile(
    r"nfs\d*|cifs|smb\w*|9p|afs|ceph|lustre|glusterfs|gpfs|beegfs\w*|orangefs|pvfs2|ncpfs|coda"
    r"|ocfs2|gfs2|davfs|acfs|fuse\.(sshfs|s3fs|rclone|gcsfuse|goofys|glusterfs|ceph\S*|davfs2?"
    r"|smbnetfs|curlftpfs|juicefs|mountpoint-s3|gvfsd-fuse|beegfs\S*|moosefs|mfs\S*|lizardfs)"
)
_ESCAPED = re.compile(r"\\([0-7]{3})")


def mounts() -> str:
    """What the kernel says is mounted; "" where it does not say."""
    try:
        return _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""


def kind_of(folder: Path, mountinfo: str) -> str:
    """The type of the file system that `folder` is on, or "" (see proc(5), mountinfo)."""
    deepest, kind = -1, ""
    for line in mountinfo.splitlines():
        place, _, source = line.partition(" - ")
        if len(place.split()) < 5 or not source:
            continue
        point = Path(_ESCAPED.sub(lambda found: chr(int(found[1], 8)), place.split()[4]))
        # Of two mounts on one place, the later hides the earlier.
        if folder.is_relative_to(point) and len(point.parts) >= deepest:
            deepest, kind = len(point.parts), source.split()[0]
    return kind


def refuse_network(folder: Path, mountinfo: str) -> None:
    """Raise `StoreError` where `folder` (which need not exist) is on a network file system."""
    kind = kind_of(folder.resolve(), mountinfo)
    if _NETWORK.fullmatch(kind):
        raise StoreError(
            f"{folder} is on a network file system ({kind}), where locks and shared memory are not "
            "dependable and a database would be damaged; keep it on a local disk: --data DIR"
        )
