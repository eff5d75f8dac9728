"""Confines a program by Landlock, seccomp and limits, and keeps its processes together.

Runs as a script of its own, standard library only: `python landlock_child.py FD`, where FD holds
the plan. Two processes: the outer one stays unconfined, adopts whatever the program leaves behind
(PR_SET_CHILD_SUBREAPER) and ends it all when the program ends, when it is told to (SIGTERM), or
when the process that started it is gone; the inner one confines itself and becomes the program.
"""

# Importing pathlib would be most of this script's start.
# ruff: noqa: PTH112, PTH116, PTH123, PTH208

import ctypes
import json
import os
import resource
import signal
import struct
import sys
from contextlib import suppress
from typing import Any

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_PATH_BENEATH = 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_TRUNCATE, _IOCTL_DEVICE = 1 << 14, 1 << 15
_EVERY_FILE_RIGHT = (1 << 16) - 1
_OF_A_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
_TCP = 3  # bind, connect
_SCOPES = 3  # abstract sockets, signals
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_FACTS = ("/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/sys/devices/system/cpu")
_PDEATHSIG, _SECCOMP, _CAPBSET_DROP = 1, 22, 24
_SUBREAPER, _NO_NEW_PRIVS, _AMBIENT = 36, 38, 47
_CAPABILITY_VERSION = 0x20080522
_CAPSET = {"x86_64": 126, "aarch64": 91}

_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    with open(int(sys.argv[1]), "rb") as file:
        plan = json.load(file)
    starter = os.getppid()
    _check(_libc.prctl(_SUBREAPER, 1, 0, 0, 0))
    _check(_libc.prctl(_PDEATHSIG, signal.SIGTERM, 0, 0, 0))
    signal.signal(signal.SIGTERM, lambda number, frame: _end(143))
    program = os.fork()
    if program == 0:
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.setsid()
            _check(_libc.prctl(_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
            confine(plan)
            os.execvpe(plan["argv"][0], plan["argv"], plan["env"])
        except OSError as error:
            print(f"{plan['argv'][0]}: {error}", file=sys.stderr)
        finally:
            os._exit(127)
    os.closerange(3, 1024)
    if os.getppid() != starter:
        _end(143)
    while True:
        pid, status = os.wait()
        if pid == program:
            code = os.waitstatus_to_exitcode(status)
            _end(code if code >= 0 else 128 - code)


def confine(plan: dict[str, Any]) -> None:
    """Give up everything the plan does not allow. There is no way back."""
    os.chdir(plan["cwd"])
    limits = {getattr(resource, name): value for name, value in plan["limits"].items()}
    if os.getuid() != 0:
        limits[resource.RLIMIT_NPROC] = _running() + plan["processes"]
    for limit, value in limits.items():
        hard = resource.getrlimit(limit)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (value, value))
    _check(_libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0))
    if os.getuid() == 0:
        _drop_capabilities()
    _restrict(plan["readable"], plan["writable"])
    _filter(bytes.fromhex(plan["filter"]))


def _running() -> int:
    """Threads this user has on the machine: RLIMIT_NPROC counts them all."""
    count = 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError):
                if os.stat(f"/proc/{name}").st_uid == os.getuid():
                    count += len(os.listdir(f"/proc/{name}/task"))
    return count


def _drop_capabilities() -> None:
    for capability in range(64):
        if _libc.prctl(_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            break
    _check(_libc.prctl(_AMBIENT, 4, 0, 0, 0))  # PR_CAP_AMBIENT_CLEAR_ALL
    header = struct.pack("=II", _CAPABILITY_VERSION, 0)
    _check(_libc.syscall(_CAPSET[os.uname().machine], header, bytes(24)))


def _restrict(readable: list[str], writable: list[str]) -> None:
    attributes = struct.pack("=QQQ", _EVERY_FILE_RIGHT, _TCP, _SCOPES)
    size = ctypes.c_size_t(len(attributes))
    rules = _check(_libc.syscall(_CREATE_RULESET, attributes, size, 0))
    for path in (*readable, *_FACTS):
        _allow(rules, path, _EXECUTE | _READ_FILE | _READ_DIR)
    for path in _DEVICES:
        _allow(rules, path, _READ_FILE | _WRITE_FILE)
    for path in writable:
        _allow(rules, path, _EVERY_FILE_RIGHT & ~_IOCTL_DEVICE)
    _check(_libc.syscall(_RESTRICT_SELF, rules, 0))
    os.close(rules)


def _allow(rules: int, path: str, rights: int) -> None:
    try:
        beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    if not os.path.isdir(path):
        rights &= _OF_A_FILE
    rule = struct.pack("=Qi", rights, beneath)
    _check(_libc.syscall(_ADD_RULE, rules, _PATH_BENEATH, rule, 0))
    os.close(beneath)


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def _filter(code: bytes) -> None:
    buffer = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(code) // 8, ctypes.addressof(buffer))
    _check(_libc.prctl(_SECCOMP, 2, ctypes.byref(program), 0, 0))


def _end(code: int) -> None:
    """End every process below this one, then this one."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while below := _below(os.getpid()):
        for kind in (signal.SIGSTOP, signal.SIGKILL):
            for pid in below:
                with suppress(ProcessLookupError):
                    os.kill(pid, kind)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
    os._exit(code)


def _below(root: int) -> list[int]:
    found: list[int] = []
    parents: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError), open(f"/proc/{name}/stat") as file:
                parents.setdefault(int(file.read().rpartition(")")[2].split()[1]), []).append(
                    int(name)
                )
    ahead = [root]
    while ahead:
        children = parents.get(ahead.pop(), [])
        found += children
        ahead += children
    return found


def _check(result: int) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


if __name__ == "__main__":
    main()
