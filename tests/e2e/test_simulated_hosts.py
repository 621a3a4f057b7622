"""A file with `hosts:` in `netfab lab`: every host is simulated there, for root and for an ordinary user."""

from __future__ import annotations

from pathlib import Path

import pytest
from lab import COMMAND, Lab
from machine import differences
from test_lab_command import as_nobody

TWO_HOSTS = Path(__file__).parents[2] / "topologies" / "two-hosts.yaml"
PAIR = """\
name: pair
hosts: {h1: {address: 192.0.2.11}, h2: {address: 192.0.2.12, ssh: root@192.0.2.12}}
networks: {lan: {subnet: 10.1.0.0/24}}
nodes:
  a: {networks: [lan]}
  b: {networks: {lan: {ip: 10.1.0.11}}, runs_on: h2}
"""


def test_a_program_on_one_simulated_host_serves_a_node_on_the_other(lab: Lab) -> None:
    before = lab.state()

    command = f"{COMMAND} exec client curl -s http://web/; {COMMAND} exec web hostname"
    result = lab.netfab("lab", str(TWO_HOSTS), "--", "sh", "-ec", command)

    assert result.out == "hello from web\nweb\n"
    assert differences(before, lab.state()) == []


def test_an_ordinary_user_has_simulated_hosts_too(lab: Lab) -> None:
    lab.directory.chmod(0o755)
    lab.write(PAIR)
    ask = "import socket; s = socket.socket(); s.settimeout(5); print(s.connect_ex(('10.1.0.11', 80)))"
    enter = "nsenter --net=/run/netns/underlay.h1 --mount=/run/netfab-hosts/h1"
    script = f'{enter} ip netns exec pair.a python3 -c "{ask}"; ls /run/netns'

    result = as_nobody(lab, "lab", "topology.yaml", "--", "sh", "-ec", script)

    assert result.err == ""
    assert result.out.split() == ["111", "underlay.h1", "underlay.h2"]  # refused: b's own answer


@pytest.mark.parametrize("command", ["apply", "plan"])
def test_without_a_lab_such_a_file_says_which_hosts_it_is_for(lab: Lab, command: str) -> None:
    lab.write(PAIR)

    result = lab.netfab(command, code=1)

    assert "topology.yaml:2:8: hosts: this file is for other hosts: h1, h2" in result.err
