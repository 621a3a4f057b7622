"""Users by a guest's own files, which may say anything."""

from __future__ import annotations

import pytest

from netfab.runtime.identity import Identity, parse_identity

PASSWD = "root:x:0:0:root:/root:/bin/sh\nbroken line\nweb:x:33:44:web:/srv:/bin/false\nbig:x:9x:1:::\n"
GROUP = "root:x:0:\nweb:x:44:\nlogs:x:50:web,root\nbroken:x\n"


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("root", Identity(0, 0, (50,), "/root")),
        ("web", Identity(33, 44, (50,), "/srv")),
        ("33", Identity(33, 44, (50,), "/srv")),
        ("web:root", Identity(33, 0, (), "/srv")),
        ("web:7", Identity(33, 7, (), "/srv")),
        ("1234", Identity(1234, 0, (), "/")),
        ("1234:44", Identity(1234, 44, (), "/")),
    ],
)
def test_a_user_is_found_by_name_or_number(user: str, expected: Identity) -> None:
    assert parse_identity(user, PASSWD, GROUP) == expected


@pytest.mark.parametrize("number", ["4294967295", "4294967296", "9" * 5000, "\u00b2"])
@pytest.mark.parametrize("user", ["app", "in", "web:app", "{number}", "web:{number}"])
def test_no_user_or_group_is_one_that_setresuid_would_take_for_no_change(user: str, number: str) -> None:
    passwd = f"{PASSWD}app:x:{number}:1::/:/bin/sh\nin:x:1:{number}::/:/bin/sh\n"
    group = f"{GROUP}app:x:{number}:\n"

    with pytest.raises(OSError, match="no such"):
        parse_identity(user.format(number=number), passwd, group)


@pytest.mark.parametrize("user", ["nobody", "big", "web:nogroup", "root:broken"])
def test_who_isnt_there_is_named(user: str) -> None:
    with pytest.raises(OSError, match="no such"):
        parse_identity(user, PASSWD, GROUP)
