"""The filter, run by a small interpreter of classic BPF."""

from __future__ import annotations

import struct
from errno import ENOSYS, EPERM

import pytest

from netfab.runtime import seccomp
from netfab.runtime.spec import CAPABILITIES, DEFAULT_CAPABILITIES

MACHINES = ("x86_64", "aarch64")
FORGIVING = frozenset(CAPABILITIES)


def verdict(program: bytes, machine: str, number: int, argument: int = 0) -> int:
    """What the kernel would answer; raises when the program runs off its end."""
    data = struct.pack("=IIQQ", number, seccomp.AUDIT_ARCH[machine], 0, argument & (1 << 64) - 1)
    instructions = list(struct.iter_unpack("=HBBI", program))
    here = accumulator = 0
    while True:
        code, true, false, k = instructions[here]
        here += 1
        if code == seccomp.RET_K:
            return int(k)
        if code == seccomp.LD_W_ABS:
            (accumulator,) = struct.unpack_from("=I", data, k)
            continue
        holds = {
            seccomp.JMP_JEQ_K: accumulator == k,
            seccomp.JMP_JGE_K: accumulator >= k,
            seccomp.JMP_JSET_K: bool(accumulator & k),
        }[code]
        here += true if holds else false


def denied_on(machine: str) -> dict[int, seccomp.Call]:
    return {
        getattr(call, machine): call for call in seccomp.DENIED.values() if getattr(call, machine) is not None
    }


def checked_on(machine: str) -> set[int]:
    """Calls whose arguments decide, and clone3."""
    return {"x86_64": {56, 135, 41, 435}, "aarch64": {220, 92, 198, 435}}[machine]


@pytest.mark.parametrize("machine", MACHINES)
def test_every_number_has_the_answer_of_the_table(machine: str) -> None:
    program = seccomp.build(machine, DEFAULT_CAPABILITIES)

    found = {number: verdict(program, machine, number) for number in range(600)}

    denied = denied_on(machine)
    for number, answer in found.items():
        if number in denied:
            assert answer == seccomp.ERRNO | EPERM, number
        elif number > seccomp.HIGHEST_KNOWN:
            assert answer == seccomp.ERRNO | ENOSYS, number
        elif number not in checked_on(machine):
            assert answer == seccomp.ALLOW, number


@pytest.mark.parametrize("machine", MACHINES)
def test_a_capability_permits_its_calls_and_no_others(machine: str) -> None:
    program = seccomp.build(machine, {*DEFAULT_CAPABILITIES, "SYS_ADMIN"})

    for number, call in denied_on(machine).items():
        expected = seccomp.ALLOW if call.permitted_by == "SYS_ADMIN" else seccomp.ERRNO | EPERM
        assert verdict(program, machine, number) == expected, number


@pytest.mark.parametrize("machine", MACHINES)
def test_what_no_capability_permits_is_denied_to_all(machine: str) -> None:
    program = seccomp.build(machine, FORGIVING)

    never = [number for number, call in denied_on(machine).items() if call.permitted_by is None]
    assert {verdict(program, machine, number) for number in never} == {seccomp.ERRNO | EPERM}


@pytest.mark.parametrize(
    ("number", "argument", "answer"),
    [
        (56, 17, seccomp.ALLOW),  # clone with SIGCHLD only: fork
        (56, 0x003D0F00, seccomp.ALLOW),  # what a thread is made with
        *((56, 1 << bit | 17, seccomp.ERRNO | EPERM) for bit in (17, 25, 26, 27, 28, 29, 30)),
        (435, 0, seccomp.ERRNO | ENOSYS),
        (41, 2, seccomp.ALLOW),
        (41, 38, seccomp.ERRNO | EPERM),
        (41, 40, seccomp.ERRNO | EPERM),
        (135, 0xFFFFFFFF, seccomp.ALLOW),
        (135, 0x40000, seccomp.ERRNO | EPERM),
    ],
)  # fmt: skip
def test_arguments_decide(number: int, argument: int, answer: int) -> None:
    assert verdict(seccomp.build("x86_64", DEFAULT_CAPABILITIES), "x86_64", number, argument) == answer


def test_the_high_half_of_an_argument_does_not_hide_its_low_half() -> None:
    program = seccomp.build("x86_64", DEFAULT_CAPABILITIES)

    assert verdict(program, "x86_64", 41, 40 | 1 << 32) == seccomp.ERRNO | EPERM


def test_another_architectures_calls_end_the_process() -> None:
    program = seccomp.build("x86_64", DEFAULT_CAPABILITIES)

    assert verdict(program, "aarch64", 0) == seccomp.KILL_PROCESS


def test_x32_numbers_do_not_exist() -> None:
    program = seccomp.build("x86_64", DEFAULT_CAPABILITIES)

    assert verdict(program, "x86_64", 0x40000000 + 165) == seccomp.ERRNO | ENOSYS


@pytest.mark.parametrize("machine", MACHINES)
def test_the_program_is_short(machine: str) -> None:
    assert len(seccomp.build(machine, DEFAULT_CAPABILITIES)) // 8 < 100


def test_a_machine_without_a_table_is_refused() -> None:
    with pytest.raises(KeyError):
        seccomp.build("riscv64", DEFAULT_CAPABILITIES)
