"""How a lab is found by those who look for it."""

from __future__ import annotations

import os
import socket

from netfab.hosts import labs


def test_a_lab_is_found_however_many_have_looked_for_it() -> None:
    name = f"lab-of-{os.getpid()}"
    with labs.announced(name) as door:
        door.listen()
        labs.take_in(door)
        for _ in range(500):  # more than its queue takes
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as looking:
                looking.settimeout(60)
                looking.connect(door.getsockname())
                assert looking.recv(1) == b""

        found = labs.find(name)

        door.shutdown(socket.SHUT_RDWR)  # wakes who takes in

    assert found == labs.Lab(name, os.getpid())
