"""The filter on the real kernel: the errno of calls that a container must not make."""

from __future__ import annotations

import os
from errno import ENOSYS, EPERM

import pytest
from containers import Containers

from netfab.runtime.seccomp import DENIED

_CALL = "import ctypes; libc = ctypes.CDLL(None, use_errno=True); print({call}, ctypes.get_errno())"


def errno_of(containers: Containers, call: str) -> int:
    return int(containers.python(_CALL.format(call=call)).split()[1])


def test_every_denied_call_answers_eperm(containers: Containers) -> None:
    machine = os.uname().machine
    numbers = sorted(number for call in DENIED.values() if (number := getattr(call, machine)) is not None)

    text = containers.python(
        f"import ctypes; libc = ctypes.CDLL(None, use_errno=True)\n"
        f"for n in {numbers}: print(n, libc.syscall(n, -1, -1, -1, -1, -1, -1), ctypes.get_errno())"
    )

    answers = [tuple(map(int, line.split())) for line in text.splitlines()]
    assert answers == [(number, -1, EPERM) for number in numbers]


@pytest.mark.parametrize(
    ("call", "errno"),
    [
        ("libc.unshare(0x10000000)", EPERM),  # CLONE_NEWUSER
        ("libc.syscall({clone}, 0x10000011, 0, 0, 0, 0)", EPERM),
        ("libc.syscall(435, 0, 0)", ENOSYS),  # clone3
        ("libc.syscall(463, 0, 0)", ENOSYS),  # a call that came after the filter was written
        (
            "libc.personality(0x0400000)",
            EPERM,
        ),  # ADDR_NO_RANDOMIZE would be 0x40000; this is none of the permitted
        ("libc.socket(40, 1, 0)", EPERM),  # AF_VSOCK
        ("libc.socket(38, 5, 0)", EPERM),  # AF_ALG
        ("libc.socket(2, 1, 0)", 0),
        ("libc.personality(0xFFFFFFFF)", 0),
    ],
)
def test_arguments_decide_where_a_call_is_partly_permitted(
    containers: Containers, call: str, errno: int
) -> None:
    clone = {"x86_64": 56, "aarch64": 220}[os.uname().machine]

    assert errno_of(containers, call.replace("{clone}", str(clone))) == errno


def test_threads_and_children_work(containers: Containers) -> None:
    text = containers.python(
        "import subprocess, threading; threading.Thread(target=print, args=('thread',)).start();"
        "print(subprocess.run(['echo', 'child'], capture_output=True, text=True).stdout)"
    )

    assert sorted(text.split()) == ["child", "thread"]
