"""The system calls a sandbox may not make, as a classic BPF program.

One program serves bubblewrap (`--seccomp FD`) and Landlock (`prctl`): a list of (code, jump if
true, jump if false, constant), packed as `struct sock_filter`. What is not named is allowed, since
the namespaces or Landlock hold the walls; named is what reaches round them: mounting, kernel keys,
kernel programs, other processes' memory, and fresh ways into the kernel.

Four rules read an argument. No file may be given a set-user-id or set-group-id bit: what is made
inside belongs outside to the folder's owner, who may be root. `clone` may not make a namespace, and
`clone3`, whose flags lie behind a pointer, answers "no such call" so that libc falls back to
`clone`. `ioctl` may not type into a terminal. `socket` opens only the families of an ordinary
program: AF_VSOCK is not cut by a network namespace and would reach the machine underneath.

Numbers: linux/arch/x86/entry/syscalls/syscall_64.tbl, linux/include/uapi/asm-generic/unistd.h.
"""

import errno
import platform
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from chogori.errors import SandboxUnavailable

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCH, _ARGUMENT_0, _ARGUMENT_1 = 0, 4, 16, 24  # offsets in struct seccomp_data
_ARGUMENT_SIZE = 8
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_X32 = 0x40000000
_CLONE_NEW = 0x7E020000  # every CLONE_NEW* that fits in clone's flags
_IOCTLS = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX
_FLAG_IOCTLS = (0x40086602, 0x401C5820)  # FS_IOC_SETFLAGS, FS_IOC_FSSETXATTR
_FAMILIES = (1, 2, 10, 16)  # AF_UNIX, AF_INET, AF_INET6, AF_NETLINK

# pidfd_getfd, io_uring_*, open_tree ... fspick, mount_setattr, quotactl_fd, open_tree_attr:
# numbered alike everywhere.
_DENIED_EVERYWHERE = (425, 426, 427, 428, 429, 430, 431, 432, 433, 438, 442, 443, 467)
_METADATA_EVERYWHERE = (452, 463, 466, 469)  # fchmodat2, setxattrat, removexattrat, file_setattr
_CLONE3 = 435
_OPENAT2 = 437  # its mode lies behind a pointer
_CREATES = 0x400040  # O_CREAT, __O_TMPFILE
_SET_ID = 0o6000


@dataclass(frozen=True, slots=True)
class _Architecture:
    audit: int
    clone: int
    ioctl: int
    socket: int
    denied: tuple[int, ...]
    metadata: tuple[int, ...]
    """chmod, chown, utime, setxattr, removexattr and their families."""
    modes: dict[int, int]
    """Calls that set a file's mode, and which argument it is: chmod, fchmod, mknod, creat ..."""
    opens: dict[int, int]
    """Calls that may create a file, and which argument are the flags; the mode follows them."""


_X86_64 = _Architecture(
    audit=0xC000003E,
    clone=56,
    ioctl=16,
    socket=41,
    # ptrace syslog uselib pivot_root _sysctl adjtimex chroot acct settimeofday mount umount2 swapon
    # swapoff reboot sethostname setdomainname iopl ioperm create_module init_module delete_module
    # get_kernel_syms query_module quotactl nfsservctl lookup_dcookie clock_settime kexec_load
    # add_key request_key keyctl unshare perf_event_open name_to_handle_at open_by_handle_at
    # clock_adjtime
    # setns process_vm_readv process_vm_writev kcmp finit_module kexec_file_load bpf userfaultfd
    denied=(
        *(101, 103, 134, 155, 156, 159, 161, *range(163, 181), 212, 227, 246, 248, 249, 250, 272),
        *(298, 303, 304, 305, 308, 310, 311, 312, 313, 320, 321, 323),
    ),
    metadata=(90, 91, 92, 93, 94, 132, 188, 189, 190, 197, 198, 199, 235, 260, 261, 268, 280),
    modes={85: 1, 90: 1, 91: 1, 133: 1, 259: 2, 268: 2, 452: 2},
    opens={2: 1, 257: 2},
)

_AARCH64 = _Architecture(
    audit=0xC00000B7,
    clone=220,
    ioctl=29,
    socket=198,
    # lookup_dcookie umount2 mount pivot_root nfsservctl chroot quotactl acct kexec_load init_module
    # delete_module clock_settime syslog ptrace reboot sethostname setdomainname settimeofday
    # adjtimex add_key request_key keyctl swapon swapoff perf_event_open name_to_handle_at
    # open_by_handle_at
    # clock_adjtime setns process_vm_readv process_vm_writev kcmp finit_module bpf userfaultfd
    # kexec_file_load unshare
    denied=(
        *(18, 39, 40, 41, 42, 51, 60, 89, 104, 105, 106, 112, 116, 117, 142, 161, 162, 170, 171),
        *(217, 218, 219, 224, 225, 241, 264, 265, 266, 268, 270, 271, 272, 273, 280, 282, 294, 97),
    ),
    metadata=(5, 6, 7, 14, 15, 16, 52, 53, 54, 55, 88),
    modes={33: 2, 52: 1, 53: 2, 452: 2},
    opens={56: 2},
)

_ARCHITECTURES = {"x86_64": _X86_64, "aarch64": _AARCH64, "arm64": _AARCH64}


def program(machine: str | None = None, *, walls: bool = True) -> bytes:
    """The filter for `machine` (default: this one).

    Without `walls` (no namespaces round it, as under Landlock) it also closes what they would have
    closed: no sockets at all (socketpair stays), and changes of mode, owner, times and extended
    attributes report success but do nothing, because Landlock does not govern them.
    """
    machine = machine or platform.machine()
    architecture = _ARCHITECTURES.get(machine)
    if architecture is None:
        raise SandboxUnavailable(
            f"no system call filter for the machine {machine!r}; there is one for "
            f"{', '.join(sorted(_ARCHITECTURES))}. Run Chogori on one of these."
        )
    lines = [
        (_LOAD, 0, 0, _ARCH),
        (_EQUAL, 1, 0, architecture.audit),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    if architecture is _X86_64:
        lines += [(_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, _KILL)]
    for number in (*architecture.denied, *_DENIED_EVERYWHERE):
        lines += _answer(number, errno.EPERM)
    lines += _answer(_CLONE3, errno.ENOSYS) + _answer(_OPENAT2, errno.ENOSYS)
    if not walls:
        for number in (*architecture.metadata, *_METADATA_EVERYWHERE):
            lines += _answer(number, 0)
    for number, mode in architecture.modes.items():
        lines += _when(number, _if_any(mode, _SET_ID, [_refuse(errno.EPERM)]))
    for number, flags in architecture.opens.items():
        refused = _if_any(flags + 1, _SET_ID, [_refuse(errno.EPERM)])
        lines += _when(number, _if_any(flags, _CREATES, refused))
    lines += _when(
        architecture.clone,
        _if_any(0, _CLONE_NEW, [_refuse(errno.EPERM)]),
    )
    ioctls = _IOCTLS if walls else (*_IOCTLS, *_FLAG_IOCTLS)
    refused = [line for value in ioctls for line in _answer(value, errno.EPERM)]
    lines += _when(architecture.ioctl, [(_LOAD, 0, 0, _ARGUMENT_1), *refused])
    families = _FAMILIES if walls else ()
    allowed = [line for value in families for line in ((_EQUAL, 0, 1, value), _allow())]
    lines += _when(
        architecture.socket,
        [(_LOAD, 0, 0, _ARGUMENT_0), *allowed, _refuse(errno.EAFNOSUPPORT)],
    )
    lines.append(_allow())
    return b"".join(struct.pack("=HBBI", *line) for line in lines)


_Line = tuple[int, int, int, int]


def _allow() -> _Line:
    return (_RETURN, 0, 0, _ALLOW)


def _refuse(error: int) -> _Line:
    return (_RETURN, 0, 0, _ERRNO | error)


def _answer(value: int, error: int) -> list[_Line]:
    return [(_EQUAL, 0, 1, value), _refuse(error)]


def _if_any(argument: int, bits: int, body: Sequence[_Line]) -> list[_Line]:
    """Run `body` if the argument has any of these bits."""
    load = (_LOAD, 0, 0, _ARGUMENT_0 + _ARGUMENT_SIZE * argument)
    return [load, (_ANY_BIT, 0, len(body), bits), *body]


def _when(number: int, body: Sequence[_Line]) -> list[_Line]:
    """Run `body` for this system call only; it ends in an answer, so the number stays loaded."""
    return [(_EQUAL, 0, len(body) + 1, number), *body, _allow()]
