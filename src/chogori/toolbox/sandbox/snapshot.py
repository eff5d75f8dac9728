"""Whether a folder changed: what is in it before and after, compared.

Taken on the host, so that code inside cannot lie about it: an entry is its path, inode, size, mode
and times, and the change time cannot be set by anyone. Links are not followed. A folder with more
entries than can be looked at in good time counts as changed.
"""

import os
from collections.abc import Collection
from pathlib import Path

_MOST_ENTRIES = 20_000

Snapshot = frozenset[tuple[str, int, int, int, int, int]] | None


def snapshot(folders: Collection[Path]) -> Snapshot:
    """The state of `folders`; None if it is too much to tell."""
    entries: set[tuple[str, int, int, int, int, int]] = set()
    ahead = [str(folder) for folder in folders]
    while ahead:
        try:
            with os.scandir(ahead.pop()) as listing:
                for entry in listing:
                    facts = entry.stat(follow_symlinks=False)
                    size, modified, altered = facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns
                    if entry.is_dir(follow_symlinks=False):
                        ahead.append(entry.path)
                        size = modified = altered = 0  # its entries tell what happens in it
                    entries.add((entry.path, facts.st_ino, size, facts.st_mode, modified, altered))
        except FileNotFoundError:
            continue
        except OSError:
            return None
        if len(entries) > _MOST_ENTRIES:
            return None
    return frozenset(entries)


def changed(before: Snapshot, after: Snapshot, *, except_for: Collection[Path] = ()) -> bool:
    """Whether anything differs, apart from the paths named."""
    if before is None or after is None:
        return True
    ignored = {str(path) for path in except_for}
    return any(entry[0] not in ignored for entry in before ^ after)
