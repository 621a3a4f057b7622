"""What a sandbox promises to an ordinary user who can gain no privileges, kind by kind."""

from __future__ import annotations

import ctypes
import os
import traceback
from collections.abc import Callable

import pytest
from examples import FABRIC, Example, every_example, features_of, here
from lacking import skip_without
from machine import differences, snapshot

from netfab.engine.apply import apply
from netfab.hosts.local import LocalHost
from netfab.hosts.sandbox import enter
from netfab.kernel.userns import become_root
from netfab.objects.base import Fabric
from netfab.objects.container import Container
from netfab.objects.dhcp import Dhcp
from netfab.objects.ovsbridge import OvsBridge
from netfab.objects.ovsport import OvsPort

NOBODY = 65534
NO_NEW_PRIVS, DUMPABLE = 38, 4  # linux/prctl.h; the second as after an execve, or /proc/self would be root's


def as_nobody(body: Callable[[], None]) -> str:
    """What went wrong in that, done by an ordinary user without new privileges in a sandbox, if anything."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        told = ""
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            for option in (NO_NEW_PRIVS, DUMPABLE):
                ctypes.CDLL(None, use_errno=True).prctl(option, 1, 0, 0, 0)
            become_root()
            enter()
            body()
        except BaseException:
            told = traceback.format_exc()
        finally:
            os.write(writing, told.encode()[-4096:])
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        told = pipe.read().decode()
    os.waitpid(child, 0)
    return told


def reads_back(example: Example) -> None:
    """The law of test_laws.py, and that destroy leaves nothing."""
    example = here(example)
    before = snapshot()
    with LocalHost(FABRIC) as host:
        apply(example.before, host)
        apply(example.after, host, [example.before])
        assert host.observe(FABRIC, [example.after]).own == example.after
        assert apply(example.after, host).changes == ()
        apply(Fabric(FABRIC), host, [example.after])
    assert differences(before, snapshot()) == []


# Not here: programs, which the lab's own tests run, clients of a DHCP server that wants two users, and Open
# vSwitch, which is root's.
ELSEWHERE = (Container, Dhcp, OvsBridge, OvsPort)
EXAMPLES = [example for example in every_example() if example.kind not in ELSEWHERE]


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_a_kind_reads_back_as_it_was_written_also_for_an_ordinary_user(example: Example) -> None:
    for feature in features_of(example):
        skip_without(feature)

    told = as_nobody(lambda: reads_back(example))

    assert not told, told
