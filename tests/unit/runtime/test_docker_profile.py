"""The filter denies what Docker's default profile denies to who has Docker's default capabilities.

The list is that profile (profiles/seccomp/default.json of moby, Docker 27), read as what it does not allow:
name, and its numbers on x86_64 and aarch64 as of Linux 6.1 (asm/unistd.h), `-` where there is none.
"""

from __future__ import annotations

import pytest
from test_seccomp import verdict

from netfab.runtime import seccomp
from netfab.runtime.spec import DEFAULT_CAPABILITIES

DENIED_BY_DOCKER = """
    _sysctl:156:- acct:163:89 add_key:248:217 afs_syscall:183:- bpf:321:280 clock_settime:227:112
    clone3:435:435 create_module:174:- delete_module:176:106 fanotify_init:300:262 finit_module:313:273
    fsconfig:431:431 fsmount:432:432 fsopen:430:430 fspick:433:433 get_kernel_syms:177:-
    get_mempolicy:239:236 getpmsg:181:- init_module:175:105 io_uring_enter:426:426
    io_uring_register:427:427 io_uring_setup:425:425 ioperm:173:- iopl:172:- kcmp:312:272
    kexec_file_load:320:294 kexec_load:246:104 keyctl:250:219 lookup_dcookie:212:18 mbind:237:235
    migrate_pages:256:238 mount:165:40 mount_setattr:442:442 move_mount:429:429 move_pages:279:239
    nfsservctl:180:42 open_by_handle_at:304:265 open_tree:428:428 perf_event_open:298:241
    pidfd_getfd:438:438 pivot_root:155:41 process_madvise:440:440 putpmsg:182:- query_module:178:-
    quotactl:179:60 quotactl_fd:443:443 reboot:169:142 request_key:249:218 security:185:-
    set_mempolicy:238:237 set_mempolicy_home_node:450:450 setdomainname:171:162 sethostname:170:161
    setns:308:268 settimeofday:164:170 swapoff:168:225 swapon:167:224 sysfs:139:- syslog:103:116
    tuxcall:184:- umount2:166:39 unshare:272:97 uselib:134:- userfaultfd:323:282 ustat:136:-
    vhangup:153:58 vserver:236:-
"""
CALLS = {"x86_64": (41, 56, 135), "aarch64": (198, 220, 92)}  # socket, clone, personality
NAMESPACES = (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000)  # clone(2)
AF_VSOCK = 40
PERSONALITIES = {0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF}  # those that are allowed


@pytest.mark.parametrize(("machine", "column"), [("x86_64", 1), ("aarch64", 2)])
def test_what_dockers_profile_denies_is_denied(machine: str, column: int) -> None:
    program = seccomp.build(machine, DEFAULT_CAPABILITIES)
    rows = [row.split(":") for row in DENIED_BY_DOCKER.split()]

    allowed = [
        row[0]
        for row in rows
        if row[column] != "-" and verdict(program, machine, int(row[column])) == seccomp.ALLOW
    ]

    assert len(rows) == 67
    assert allowed == []


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_arguments_that_dockers_profile_denies_are_denied(machine: str) -> None:
    program = seccomp.build(machine, DEFAULT_CAPABILITIES)
    socket, clone, personality = CALLS[machine]

    assert verdict(program, machine, socket, AF_VSOCK) != seccomp.ALLOW
    assert [flag for flag in NAMESPACES if verdict(program, machine, clone, flag) == seccomp.ALLOW] == []
    assert {
        persona
        for persona in (*PERSONALITIES, 1, 0x40000, 0x400000, 0x80000000)
        if verdict(program, machine, personality, persona) == seccomp.ALLOW
    } == PERSONALITIES
