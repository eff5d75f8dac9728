"""Attacks on the host, run inside a sandbox with `facts.json` beside it. Prints JSON.

Each attack returns what it got hold of, or raises: an exception means that it was blocked. Standard
library only; system call numbers are those of x86_64.
"""

# The calls themselves are the subject here, not the paths.
# ruff: noqa: PTH116, PTH123, PTH208

import ctypes
import errno
import fcntl
import json
import mmap
import os
import resource
import signal
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

libc = ctypes.CDLL(None, use_errno=True)
FACTS = (
    json.loads(Path(__file__).with_name("facts.json").read_text()) if __name__ == "__main__" else {}
)
MIB = 1 << 20


class Blocked(Exception):
    """The attack was possible but led nowhere."""


def connect_tcp() -> str:
    with socket.create_connection(("127.0.0.1", FACTS["port"]), 1):
        return "connected"


def connect_abstract_socket() -> str:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect("\0" + FACTS["abstract"])
        return "connected"


def connect_file_socket() -> str:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(FACTS["socket"])
        return "connected"


def open_vsock() -> str:
    with socket.socket(40, socket.SOCK_STREAM):
        return "a socket to the machine underneath"


def write_where(path: str) -> Callable[[], str]:
    def attack() -> str:
        file = Path(path) / "attacked-by-a-test"
        file.write_text("x")
        file.unlink()
        return "wrote"

    return attack


def write_workspace() -> str:
    (Path(os.environ["WORK"]) / "attacked").write_text("x")
    return "wrote"


def change_mode_outside() -> str:
    before = os.stat(FACTS["secret"]).st_mode
    Path(FACTS["secret"]).chmod(0o777)
    if os.stat(FACTS["secret"]).st_mode == before:
        raise Blocked("nothing changed")
    return "changed"


def change_mode_of_program() -> str:
    with open("/usr/bin/env", "rb") as file:
        before = os.fstat(file.fileno()).st_mode
        os.fchmod(file.fileno(), before)
        os.fchmod(file.fileno(), before | 0o2)
        if os.fstat(file.fileno()).st_mode == before:
            raise Blocked("nothing changed")
        os.fchmod(file.fileno(), before)
        return "changed"


def read_secret() -> str:
    return Path(FACTS["secret"]).read_text()


def stat_secret() -> str:
    return str(os.stat(FACTS["secret"]).st_size)


def read_shadow() -> str:
    return Path("/etc/shadow").read_text()[:4]


def secret_in(path: str) -> Callable[[], str]:
    def attack() -> str:
        content = Path(path).read_bytes()
        if FACTS["marker"].encode() not in content:
            raise Blocked("nothing of the host in it")
        return "found"

    return attack


def secret_in_environment() -> str:
    return os.environ["HOST_SECRET"]


def inherited_descriptors() -> str:
    found = []
    for descriptor in range(3, 256):
        try:
            os.fstat(descriptor)
        except OSError:
            continue
        found.append(descriptor)
    if not found:
        raise Blocked("none")
    return str(found)


def list_processes() -> str:
    names = [name for name in os.listdir("/proc") if name.isdigit()]
    if str(FACTS["pid"]) in names or len(names) > 5:
        return f"{len(names)} processes"
    raise Blocked("only our own")


def guess_processes() -> str:
    try:
        os.kill(FACTS["pid"], 0)
    except PermissionError:
        return "it exists"
    return "it can be signalled"


def signal_host() -> str:
    os.kill(FACTS["pid"], signal.SIGCONT)
    return "signalled"


def call(number: int, *arguments: object) -> Callable[[], str]:
    def attack() -> str:
        result = libc.syscall(number, *arguments)
        if result < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return str(result)

    return attack


def in_child(attack: Callable[[], str]) -> Callable[[], str]:
    def apart() -> str:
        child = os.fork()
        if child == 0:
            try:
                attack()
            except BaseException:
                os._exit(1)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        if status:
            raise Blocked(f"ended with {os.waitstatus_to_exitcode(status)}")
        return "done"

    return apart


def clone_namespace() -> str:
    child = libc.syscall(56, 0x10000000 | signal.SIGCHLD, 0, 0, 0, 0)  # CLONE_NEWUSER
    if child == 0:
        os._exit(0)
    if child < 0:
        raise OSError(ctypes.get_errno(), "clone")
    os.waitpid(child, 0)
    return "a namespace"


def type_into_terminal() -> str:
    with open(os.devnull) as anything:
        try:
            fcntl.ioctl(anything, 0x5412, b"x")
        except OSError as error:
            if error.errno == errno.ENOTTY:  # the call got through to the device
                return "typed"
            raise
    return "typed"


def keep_privileges() -> str:
    header = struct.pack("=II", 0x20080522, 0)
    held = ctypes.create_string_buffer(24)
    assert libc.syscall(125, header, held) == 0, "capget"
    if not any(held.raw) and libc.prctl(39, 0, 0, 0, 0) == 1:
        raise Blocked("no capabilities, and none to be had")
    return held.raw.hex()


def become_root() -> str:
    os.setuid(0)
    if os.getuid() == FACTS["uid"] == 0:
        raise Blocked("it was before, and has no capabilities")
    return "root"


def allocate() -> str:
    return str(len(bytearray(FACTS["memory"] + 64 * MIB)))


def fork_many() -> str:
    children = []
    try:
        for _ in range(FACTS["processes"] + 40):
            child = os.fork()
            if child == 0:
                time.sleep(20)
                os._exit(0)
            children.append(child)
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return f"{len(children)} processes"


def write_big_file() -> str:
    path = Path(os.environ["OUT"]) / "big"
    try:
        with path.open("wb") as file:
            file.truncate(FACTS["file"] + MIB)
    finally:
        path.unlink()
    return "wrote"


def fill(folder: str) -> Callable[[], str]:
    def attack() -> str:
        files = [Path(folder) / f"fill-{number}" for number in range(4)]
        try:
            for path in files:
                path.write_bytes(bytes(FACTS["tmp"] // 2))
        finally:
            for path in files:
                path.unlink(missing_ok=True)
        return "filled"

    return attack


def leave_core_files() -> str:
    if resource.getrlimit(resource.RLIMIT_CORE) == (0, 0):
        raise Blocked("none")
    return "allowed"


def make_setuid() -> str:
    path = Path(os.environ["OUT"]) / "setuid"
    ways: list[Callable[[], object]] = [
        lambda: os.open(path, os.O_CREAT | os.O_WRONLY, 0o4755),
        lambda: path.touch(0o755),
        lambda: path.chmod(0o4755),
        lambda: os.fchmod(os.open(path, os.O_RDONLY), 0o2755),
        lambda: call(452, -100, str(path).encode(), 0o6755, 0)(),
        lambda: call(437, -100, str(path).encode(), struct.pack("=QQQ", 0o101, 0o4755, 0), 24)(),
    ]
    for way in ways:
        with suppress(OSError):
            way()
    mode = path.stat().st_mode
    path.unlink()
    if mode & 0o6000:
        return oct(mode)
    raise Blocked("no such bit")


def map_device_memory() -> str:
    with open("/dev/mem", "rb") as file:
        mmap.mmap(file.fileno(), 4096, prot=mmap.PROT_READ)
    return "mapped"


NAMED: dict[str, Callable[[], str]] = {
    "connect_tcp": connect_tcp,
    "connect_abstract_socket": connect_abstract_socket,
    "connect_file_socket": connect_file_socket,
    "open_vsock": open_vsock,
    **{
        f"write {path}": write_where(path)
        for path in ("/", "/etc", "/usr", "/dev", "/opt", "/var/tmp")
    },
    "write_home": write_where(FACTS.get("home", "/")),
    "write_workspace": write_workspace,
    "change_mode_outside": change_mode_outside,
    "change_mode_of_program": change_mode_of_program,
    "read_secret": read_secret,
    "stat_secret": stat_secret,
    "read_shadow": read_shadow,
    "secret_in_init_environ": secret_in("/proc/1/environ"),
    "host_path_in_init_cmdline": secret_in("/proc/1/cmdline"),
    "secret_in_environment": secret_in_environment,
    "inherited_descriptors": inherited_descriptors,
    "list_processes": list_processes,
    "guess_processes": guess_processes,
    "signal_host": signal_host,
    "unshare": in_child(call(272, 0x10000000)),
    "clone_namespace": clone_namespace,
    "clone3": in_child(call(435, ctypes.create_string_buffer(88), 88)),
    "mount": call(165, b"x", b"/tmp", b"tmpfs", 0, None),
    "keyctl": call(250, 0, ctypes.c_int(-4), 0, 0, 0),
    "bpf": call(321, 0, 0, 0),
    "io_uring": call(425, 1, ctypes.create_string_buffer(200)),
    "perf": call(298, ctypes.create_string_buffer(128), 0, -1, -1, 0),
    "userfaultfd": call(323, 1),
    "ptrace": in_child(call(101, 0, 0, 0, 0)),
    "x32": in_child(call(0x40000000 | 39)),
    "open_by_handle": call(303, -100, b"/", ctypes.create_string_buffer(200), b"0" * 8, 0),
    "type_into_terminal": type_into_terminal,
    "keep_privileges": keep_privileges,
    "become_root": become_root,
    "make_setuid": make_setuid,
    "map_device_memory": map_device_memory,
    "leave_core_files": leave_core_files,
    "allocate": allocate,
    "fork_many": fork_many,
    "write_big_file": write_big_file,
    "fill_tmp": fill(os.environ.get("TMPDIR", "/tmp")),
    "fill_shared_memory": fill("/dev/shm"),
}


def main() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    escaped: dict[str, str] = {}
    blocked: dict[str, str] = {}
    for name, attack in NAMED.items():
        if name == "fork_many" and FACTS.get("spare_forks"):
            continue
        try:
            escaped[name] = attack()
        except BaseException as error:
            blocked[name] = f"{type(error).__name__}: {error}"
    print(json.dumps({"escaped": escaped, "blocked": blocked}))


if __name__ == "__main__":
    main()
