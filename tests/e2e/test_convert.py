"""`netfab convert`: the topology on stdout, what is not in it on stderr, and it can be applied."""

from __future__ import annotations

from lab import Lab


def test_a_kathara_lab_is_converted_and_its_devices_reach_each_other(lab: Lab) -> None:
    lab.write("pc1[0]=A\nr1[0]=A\nr1[1]=B\npc2[0]=B\npc2[shell]=/bin/sh\n", "lab.conf")
    lab.write("ip address add 10.7.0.2/24 dev eth0\nip route add default via 10.7.0.1\n", "pc1.startup")
    lab.write("ip a add 10.7.0.1/24 dev eth0\nip a add 10.7.1.1/24 dev eth1\n", "r1.startup")
    lab.write("ifconfig eth0 10.7.1.2/24 up\nroute add default gw 10.7.1.1\n", "pc2.startup")

    converted = lab.netfab("convert", ".")
    lab.write(converted.out)
    lab.netfab("apply")

    assert "lab.conf:5:1: pc2[shell]: not carried over\n" in converted.err
    lab.netfab("exec", "pc1", "ping", "-c", "1", "-W", "5", "10.7.1.2")


def test_whose_file_it_is_can_be_said_and_is_asked_for(lab: Lab) -> None:
    lab.write("{services: {web: {}}}", "c.yaml")

    assert "whose file is it?" in lab.netfab("convert", "c.yaml", code=1).err
    assert "web:\n" in lab.netfab("convert", "--from", "compose", "c.yaml").out
