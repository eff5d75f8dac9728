"""Starts bubblewrap as root, with the user's folders mapped to the user id the sandbox will have.

Runs as a script of its own, standard library only: `python idmap.py FD`, where FD holds the plan.
In a mount namespace of its own it lays over each folder a copy of its mount in which the folder's
owner appears as the sandbox's user (mount_setattr with MOUNT_ATTR_IDMAP, Linux 5.12). Files stay as
they are on disk. If the file system cannot be mapped, it starts the plan's other command line
instead.
"""

# Importing pathlib would be most of this script's start.
# ruff: noqa: PTH116, PTH123

import ctypes
import json
import os
import sys

_AT_FDCWD, _AT_EMPTY_PATH, _AT_RECURSIVE = -100, 0x1000, 0x8000
_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442  # numbered alike on every architecture
_OPEN_TREE_CLONE, _OPEN_TREE_CLOEXEC, _MOVE_MOUNT_F_EMPTY_PATH = 1, os.O_CLOEXEC, 4
_MOUNT_ATTR_IDMAP = 0x00100000
_CLONE_NEWNS, _CLONE_NEWUSER, _MS_REC, _MS_PRIVATE = 0x00020000, 0x10000000, 0x4000, 1 << 18

_libc = ctypes.CDLL(None, use_errno=True)


class _MountAttributes(ctypes.Structure):
    _fields_ = [
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    ]


def main() -> None:
    with open(int(sys.argv[1]), "rb") as file:
        plan = json.load(file)
    try:
        map_folders(plan["folders"], plan["user"])
        argv, unused = plan["argv"], plan["close"][1]
    except OSError:
        argv, unused = plan["otherwise"], plan["close"][0]
    for descriptor in unused:
        os.close(descriptor)
    os.execve(plan["program"], argv, {})


def map_folders(folders: list[str], user: int) -> None:
    """Each folder's owner becomes `user` in this mount namespace; OSError if that cannot be."""
    _check(_libc.unshare(_CLONE_NEWNS))
    _check(_libc.mount(None, b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None))
    # All are copied before any is laid over its folder: one may lie inside another.
    copies = [(_mapped_copy(folder, user), folder) for folder in folders]
    for copy, folder in copies:
        path = folder.encode()
        _call(_MOVE_MOUNT, copy, b"", _AT_FDCWD, path, _MOVE_MOUNT_F_EMPTY_PATH)
        os.close(copy)


def _mapped_copy(folder: str, user: int) -> int:
    flags = _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC | _AT_RECURSIVE
    copy = _call(_OPEN_TREE, _AT_FDCWD, folder.encode(), flags)
    owner = os.stat(folder)
    namespace = _user_namespace(f"{owner.st_uid} {user} 1", f"{owner.st_gid} {user} 1")
    attributes = _MountAttributes(_MOUNT_ATTR_IDMAP, 0, 0, namespace)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    flags = _AT_EMPTY_PATH | _AT_RECURSIVE
    _call(_MOUNT_SETATTR, copy, b"", flags, ctypes.byref(attributes), size)
    os.close(namespace)
    return copy


def _user_namespace(users: str, groups: str) -> int:
    """A namespace that says who is who. A child makes it, waits until it is held, and ends."""
    ready, tell = os.pipe()
    go, hold = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(hold)
        made = _libc.unshare(_CLONE_NEWUSER)
        os.write(tell, b"0" if made == 0 else b"1")
        os.read(go, 1)
        os._exit(0)
    os.close(tell)
    os.close(go)
    try:
        if os.read(ready, 1) != b"0":
            raise OSError("no user namespaces here")
        for name, line in (("uid_map", users), ("gid_map", groups)):
            with open(f"/proc/{child}/{name}", "w") as file:
                file.write(line)
        return os.open(f"/proc/{child}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(hold)
        os.close(ready)
        os.waitpid(child, 0)


def _call(number: int, *arguments: object) -> int:
    return _check(_libc.syscall(number, *arguments))


def _check(result: int) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


if __name__ == "__main__":
    main()
