"""`netfab run` and what docker's users do next: as the command line and the wire have it."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from lab import SUPERVISORS, Lab
from machine import differences
from terminal import at_terminal

LINGERS = "trap 'echo bye; exit 7' TERM INT; echo up; while :; do sleep 0.01; done"


def containers(lab: Lab) -> dict[str, Any]:
    """All of them, by `ps -a`."""
    return {one["node"]: one for one in lab.netfab("ps", "-a", "-o", "json").json["nodes"]}


def test_the_programs_words_and_exit_code_are_the_commands_and_nothing_is_left(lab: Lab) -> None:
    before = lab.state()

    ran = lab.netfab("run", "--rm", "host", "sh", "-c", "printf out; echo oops >&2; exit 3", code=3)

    assert (ran.out, ran.err) == ("out", "oops\n")
    assert differences(before, lab.state()) == []


def test_what_is_typed_reaches_the_program_and_ends_with_the_typist(lab: Lab) -> None:
    text = "".join(f"{number}\n" for number in range(50_000))  # more than pipes hold

    ran = lab.run(*lab.words("run", "--rm", "-i", "host", "cat"), input=text)

    assert (ran.code, ran.out == text) == (0, True)


def test_run_and_attach_are_each_a_fabric_of_its_own(lab: Lab) -> None:
    lab.netfab("run", "-d", "--name", "web", "host", "sleep", "1000")
    lab.netfab("attach", "br9", "web", "10.9.0.2/24")
    lab.netfab("run", "-d", "--name", "db", "host", "sleep", "1000")

    assert "10.9.0.2/24" in lab.netfab("exec", "web", "ip", "-4", "address").out
    assert "of `netfab run`" in lab.netfab("status", "default").out
    assert "of `netfab attach`" in lab.netfab("status", "adhoc").out


def test_of_which_file_a_copy_is_must_be_said(lab: Lab) -> None:
    refused = lab.netfab("cp", "web:", "here", code=2)

    assert "`web:/` is all of them" in refused.err


def test_a_port_that_another_container_has_is_refused_by_its_name(lab: Lab) -> None:
    lab.netfab("run", "-d", "--name", "web", "-p", "8080:80", "host", "sleep", "1000")

    refused = lab.netfab("run", "-p", "8080:81", "host", "true", code=125)

    assert "8080/tcp is published by web already\n" in refused.err


def test_ps_shows_published_ports_where_there_are_any(lab: Lab) -> None:
    lab.netfab("run", "-d", "--name", "quiet", "host", "sleep", "1000")
    without = lab.netfab("ps").out
    lab.netfab("run", "-d", "--name", "web", "-p", "127.0.0.1:8080:80", "host", "sleep", "1000")

    shown = [line.split()[-4:] for line in lab.netfab("ps").out.splitlines()]

    assert "PUBLISHED" not in without
    assert shown == [
        ["EXIT", "RESTARTS", "PUBLISHED", "COMMAND"],
        ["0", "-", "sleep", "1000"],
        ["0", "127.0.0.1:8080:80/tcp", "sleep", "1000"],
    ]


REFUSED = (
    ("host /none", 127, "/none: No such file or directory"),
    ("host /etc", 126, "Permission denied"),
    ("host", 125, "which program?"),
    ("--mac-address zz host true", 125, "--mac-address: `zz` is not a MAC address"),
    ("--ip6 fd00::5 host true", 125, "--ip6: fd00::5 is an IPv6 address"),
    ("--ip6 10.0.0.2 host true", 125, "--ip6: `10.0.0.2` is not an IPv6 address"),
    (
        "-v /etc/passwd:/etc host true",
        125,
        "mount: /etc: Is a directory\nhint: a file is mounted onto a file",
    ),
    (
        "-v /none:/data host true",
        125,
        "mount: /none: No such file or directory\nhint: the source of a mount must",
    ),
    ("-u nobody-here host true", 125, "find its user: nobody-here: "),
    ("--memory much host true", 125, "--memory: "),
    ("--ip 1.2.3.4 host true", 125, "1.2.3.4 is a public address"),
    (
        "--label a=b host true",
        125,
        "docker's --label is not here\nhint: containers have no labels; `ps --filter",
    ),
    ("--rm=true host true", 125, "Option '--rm' does not take a value."),
    ("--mount target=/data host true", 125, "--mount: type=volume is not here"),
    ("--mount type=tmpfs,target=/tmp host true", 125, "--mount: docker's type=tmpfs is not here"),
    ("--mount type=bind,target=/tmp host true", 125, "lacks a source or a target"),
    (
        "--mount type=bind,source=/none,target=/data,readonly=maybe host true",
        125,
        "readonly is true or false",
    ),
    ("--mount type=bind,source=a,target=/data host true", 125, "--mount: `a` is not a path"),
    ("--network none --ip 10.0.0.2 host true", 125, "conflicting options: --ip and --network none"),
    ("--network host -p 80:80 host true", 125, "conflicting options: `publish` and `mode: host`"),
    ("--network container:nobody host true", 125, "there is no node `nobody`"),
    ("--network nowhere host true", 125, "there is no network nowhere"),
    ("--rm --restart always host true", 125, "conflicting options: --restart and --rm"),
    ("--name Web_1 host true", 125, "`web-1` would be"),
)


def test_what_can_not_be_run_is_said_and_leaves_nothing(lab: Lab) -> None:
    before = lab.state()

    for words, code, told in REFUSED:
        failed = lab.netfab("run", *words.split(), code=code)

        assert told in failed.err
        assert "Traceback" not in failed.err
    assert differences(before, lab.state()) == []
    assert "nowhere" in lab.netfab("run", "./nowhere", "true", code=125).err


def test_the_default_network_is_made_as_dockers_on_a_range_that_nobody_uses(lab: Lab) -> None:
    lab.shell("ip link add up0 type veth peer up1; ip address add 10.0.0.1/23 dev up0; ip link set up0 up")
    name = lab.netfab("run", "-d", "-p", "8080:80", "host", "python3", "-m", "http.server", "80").out.strip()
    (address,) = lab.netfab("ip", name).out.split()

    (bridge,) = (b for b in lab.netfab("bridges", "-o", "json").json["bridges"] if b["bridge"] == "netfab0")

    assert (bridge["addresses"], address) == (["10.0.2.1/24"], "10.0.2.2")
    assert "default via 10.0.2.1" in lab.netfab("exec", name, "ip", "route").out
    assert "masquerade" in lab.shell("nft list ruleset")
    assert lab.netfab("drift", "default").out.startswith("No changes.")
    lab.shell("until curl -s --max-time 5 http://127.0.0.1:8080/ > /dev/null; do :; done")
    second = lab.netfab("run", "--rm", "host", "curl", "-s", f"http://{name}/")
    assert "<title>" in second.out
    assert containers(lab)[name]["state"] == "running"


def test_run_starts_no_other_container_and_rm_takes_what_has_ended(lab: Lab) -> None:
    lab.netfab("run", "--name", "failed", "host", "sh", "-c", "exit 3", code=3)
    lab.netfab("run", "-d", "--name", "busy", "host", "sleep", "1000")
    lab.netfab("stop", "busy")
    lab.netfab("run", "-d", "--name", "nap", "host", "sleep", "1000")

    found = containers(lab)
    assert {name: one["state"] for name, one in found.items()} == {
        "failed": "exited", "busy": "stopped", "nap": "running",
    }  # fmt: skip
    assert found["failed"]["exit_code"] == 3
    assert lab.netfab("ps", "-a", "-q", "-f", "name=fai", "--filter", "name=nap").out == (
        "default/failed\ndefault/nap\n"
    )
    assert lab.netfab("ps", "-q", "--filter", "status=exited").out == "default/failed\n"
    assert "no `label`" in lab.netfab("ps", "--filter", "label=a", code=2).err
    refused = lab.netfab("rm", "failed", "nobody", "nap", code=1)
    assert refused.out == "failed\n"
    assert "there is no node nobody" in refused.err
    assert "nap runs" in refused.err
    assert lab.netfab("wait", "busy").out == "137\n"
    assert lab.netfab("ps", "-q").out == "default/nap\n"
    assert "Deleted: busy\n" in lab.netfab("prune", "--force").out
    assert lab.netfab("rm", "-f", "nobody", "nap").out == "nap\n"
    assert containers(lab) == {}


def test_the_modes_of_networks_are_dockers(lab: Lab) -> None:
    lab.write("name: shop\nnetworks: {front: {subnet: 10.7.0.0/24}}\nnodes: {web: {networks: [front]}}\n")
    lab.netfab("apply")
    lab.netfab("run", "-d", "--name", "one", "--network", "front", "--ip", "10.7.0.9", "host", "sleep", "99")
    addresses = ("ip", "-br", "-4", "address")

    shared = lab.netfab("run", "--rm", "--network", "container:one", "host", *addresses).out
    alone = lab.netfab("run", "--rm", "--network", "none", "host", *addresses).out
    hosts = lab.netfab("run", "--rm", "--network", "host", "host", "ls", "/sys/class/net").out

    assert "10.7.0.9/24" in shared
    assert [line.split()[0] for line in alone.splitlines()] == ["lo"]
    assert "br-front" in hosts.split()
    assert "10.7.0.1" in lab.netfab("exec", "one", "ip", "route").out
    assert "ping" not in lab.netfab("exec", "web", "ping", "-c1", "-W5", "10.7.0.9").err
    lab.netfab("destroy", "shop", "--force")
    assert (
        lab.netfab("run", "--rm", "host", "echo", "still").out == "still\n"
    )  # one is on no network any more


def test_words_are_the_programs_own_and_flags_what_docker_means_by_them(lab: Lab) -> None:
    (lab.directory / "data").mkdir()
    (lab.directory / "data/a").write_text("of the host\n")
    script = (
        "echo {node} $COLOUR $SHAPE $0; id -u; pwd; hostname; cat /data/a; touch /x; touch /data/b; "
        "cmp /data/a /twice/a; "
        "cat $(find /sys/fs/cgroup -name pids.max); cat /proc/sys/net/ipv4/ip_default_ttl /etc/resolv.conf; "
        "grep CapEff /proc/self/status"
    )

    ran = lab.netfab(
        "run", "--rm", "--env-file", lab.write("# ours\nCOLOUR=no\n\nSHAPE=x y\n", "env"),
        "--dns", "9.9.9.9", "--sysctl", "net.ipv4.ip_default_ttl=33", "-e", "COLOUR={ip:lo}", "-e", "NOBODYS",
        "--mount", "type=bind,source=./data,target=/data,readonly", "-v", "./data:/twice:ro",
        "-w", "/usr/lib",
        "--user", "daemon:daemon", "--hostname", "h1", "--read-only", "--pids-limit", "77", "--memory", "0",
        "--cap-drop", "ALL", "host", "sh", "-c", script,
    )  # fmt: skip

    assert ran.out.splitlines()[:8] == [
        "{node} {ip:lo} x y sh", "1", "/usr/lib", "h1", "of the host", "77", "33", "nameserver 9.9.9.9",
    ]  # fmt: skip
    assert ran.out.split()[-1] == "0" * 16
    assert ran.err.count("Read-only file system") == 2
    assert not (lab.directory / "data/b").exists()


def test_an_init_reaps_and_passes_signals_on(lab: Lab) -> None:
    lab.netfab("run", "-d", "--init", "--name", "a", "host", "sh", "-c", LINGERS)
    lab.shell(f"until {' '.join(lab.words('logs', 'a'))} | grep -q '^up'; do :; done")

    assert "init" in lab.netfab("exec", "a", "cat", "/proc/1/cmdline").out
    lab.run(*lab.words("stop", "a"))
    assert containers(lab)["a"]["exit_code"] == 7


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_command_is_the_programs(lab: Lab, number: signal.Signals) -> None:
    process = lab.start(*lab.words("run", "--rm", "host", "sh", "-c", LINGERS))
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"

    ended = lab.interrupt(process, number)

    assert (ended.code, ended.out) == (7, "bye\n")
    assert containers(lab) == {}


def test_a_program_that_ignores_what_ends_it_is_killed_by_ctrl_c_all_the_same(lab: Lab) -> None:
    process = lab.start(*lab.words("run", "--name", "a", "host", "tail", "-f", "/etc/debian_version"))
    assert process.stdout is not None
    process.stdout.readline()

    assert lab.interrupt(process, signal.SIGINT).code == 137
    assert containers(lab)["a"]["state"] == "stopped"


@pytest.mark.parametrize(("words", "code"), [("run -it host sh", 125), ("exec -it web sh", 1)])
def test_what_is_typed_at_a_terminal_needs_one(lab: Lab, words: str, code: int) -> None:
    said = lab.netfab(*words.split(), code=code).err

    assert "the input device is not a TTY: standard input is not a terminal\nhint: leave -t out\n" in said


def test_a_terminal_has_a_size_job_control_and_keys_that_leave_it(lab: Lab) -> None:
    with at_terminal(lab, "run", "-it", "--rm", "--name", "a", "host", "sh", "-i") as person:
        person.reads("# ")
        person.types("tty; stty size\n")
        assert person.reads("# ").splitlines()[1:] == ["/dev/pts/0", "24 80"]
        person.resize(33, 99)
        person.types("until stty size | grep 33; do :; done\n")
        person.reads("33 99")
        person.types("echo be''gun > /f; cat /f -\n")  # which has no child that an interrupt could miss
        person.reads("begun")
        person.types("\x03")
        person.reads("# ")
        person.types("echo $$ >/pid; while test ! -e /go; do sleep 0.01; done; echo la''ter\n\x10")
        person.types("\x11")
        assert person.ends() == 0

    assert containers(lab)["a"]["state"] == "running"
    lab.netfab("exec", "a", "touch", "/go")
    lab.shell(f"until {' '.join(lab.words('logs', 'a'))} | grep -q '^later'; do :; done")
    lab.netfab("kill", "a")
    lab.shell(f"while {' '.join(lab.words('wait', 'a'))}; do :; done 2>/dev/null || :")
    assert containers(lab) == {}  # nobody is there to remove it but the supervisor


def test_the_keys_that_leave_a_command_leave_it_running(lab: Lab) -> None:
    lab.netfab("run", "-d", "--name", "a", "host", "sleep", "1000")
    with at_terminal(lab, "exec", "-it", "a", "sh", "-i") as person:
        person.reads("# ")
        person.types("until test -e /go; do sleep 0.01; done; seq 100000; touch /done\n\x10\x11")
        assert person.ends() == 0

    lab.netfab("exec", "a", "touch", "/go")
    lab.shell(f"until {' '.join(lab.words('exec', 'a', 'test', '-e', '/done'))}; do :; done")


def test_a_container_that_is_not_to_stay_goes_also_when_nobody_looks(lab: Lab) -> None:
    before = lab.state()
    lab.netfab(
        "run", "-d", "--rm", "--name", "a", "host", "sh", "-c", "until test -e /go; do sleep 0.01; done"
    )
    looking = lab.start(*lab.words("run", "--rm", "--name", "b", "host", "sh", "-c", LINGERS))
    assert looking.stdout is not None
    looking.stdout.readline()
    lab.interrupt(looking, signal.SIGKILL)

    lab.netfab("exec", "a", "touch", "/go")
    lab.netfab("kill", "b")
    while containers(lab):
        continue

    lab.shell("while ip link show netfab0; do :; done 2>/dev/null")
    lab.shell("while pgrep -f '[n]etfab.imperative|[n]etfab.runtime'; do :; done")
    assert differences(before, lab.state()) == []


def test_run_is_undone_by_destroy_and_reconcile_makes_it_again_as_after_a_reboot(lab: Lab) -> None:
    before = lab.state()
    lab.netfab("run", "-d", "--name", "daemon", "--restart", "always", "host", "sleep", "1000")
    lab.netfab("run", "-d", "--name", "once", "host", "sleep", "1000")
    # What a reboot takes: processes, namespaces, links, /run.
    lab.kill(SUPERVISORS)
    lab.kill("$(pgrep -x sleep)")
    lab.shell(
        "umount -l /run/netns/*; ip link del netfab0; rm -rf /run/netns/* /run/netfab; nft flush ruleset"
    )

    lab.netfab("reconcile", "--all")

    assert {name: one["state"] for name, one in containers(lab).items()} == {
        "daemon": "running", "once": "stopped",
    }  # fmt: skip
    lab.netfab("destroy", "default")
    assert differences(before, lab.state()) == []


def test_what_a_container_is_told_in_its_variables_is_nobody_elses_to_read(lab: Lab) -> None:
    lab.netfab("run", "-d", "--name", "a", "-e", "PASSWORD=hunter2", "host", "sleep", "1000")

    told = lab.run("setpriv", "--reuid=65534", "--clear-groups", "grep", "-rs", "hunter2", "/run", "/var/lib")

    assert told.out == ""
    assert "hunter2" in lab.netfab("exec", "a", "sh", "-c", "echo $PASSWORD").out
    shown = lab.netfab("exec", "-e", "PASSWORD", "a", "env", env={"PASSWORD": "mine"})
    assert "PASSWORD=mine" in shown.out
    assert "a" in lab.shell("cat /run/netfab/default.json")


def test_names_are_made_up_and_each_is_its_own(lab: Lab) -> None:
    made = [lab.netfab("run", "-d", "--network", "none", "host", "true").out.strip() for _ in range(2)]

    assert len(set(made)) == 2
    assert (
        f"there is a container {made[0]} already"
        in lab.netfab("run", "--name", made[0], "host", "true", code=125).err
    )


def test_inspect_of_several_is_a_list_of_those_that_there_are(lab: Lab) -> None:
    for name in ("a", "b"):
        lab.netfab("run", "-d", "--name", name, "host", "sleep", "1000")

    found = lab.netfab("inspect", "a", "nobody", "default/b", code=1)

    assert [one["name"] for one in found.json] == ["a", "b"]
    assert "there is nothing called nobody" in found.err


def test_stats_and_inspect_say_how_a_container_fares(lab: Lab) -> None:
    lab.netfab("run", "-d", "--name", "busy", "-m", "64m", "host", "sh", "-c", "while :; do :; done")
    lab.netfab("run", "-d", "--name", "idle", "--restart", "unless-stopped", "host", "sleep", "1000")

    found = {one["node"]: one for one in lab.netfab("stats", "--no-stream", "-o", "json").json["nodes"]}
    program = lab.netfab("inspect", "idle").json["program"]

    assert found["busy"]["cpu_percent"] > 5 * found["idle"]["cpu_percent"]
    assert found["busy"]["memory_limit"] == 64 << 20
    assert (found["idle"]["pids"], 0 < found["idle"]["memory"] < 8 << 20) == (1, True)
    assert (program["state"], program["restart"], program["argv"]) == (
        "running", "unless-stopped", ["sleep", "1000"],
    )  # fmt: skip


def test_cp_copies_both_ways_into_directories_and_in_place(lab: Lab) -> None:
    (lab.directory / "tree/sub").mkdir(parents=True)
    (lab.directory / "tree/sub/a").write_text("hello\n")
    (lab.directory / "tree/link").symlink_to("sub/a")
    lab.netfab("run", "-d", "--name", "a", "host", "sleep", "1000")

    lab.netfab("cp", "tree", "a:/srv")
    lab.netfab("cp", "tree/.", "a:/srv/flat")
    lab.netfab("cp", "tree/sub/a", "a:/bin")  # a link to /usr/bin, which it stays

    copies = ("/srv/tree/link", "/srv/flat/sub/a", "/usr/bin/a")
    assert lab.netfab("exec", "a", "cat", *copies).out == "hello\n" * 3
    assert lab.netfab("exec", "a", "stat", "-c", "%u:%g", "/srv/tree/sub/a").out == "0:0\n"
    lab.netfab("cp", "a:/srv/tree", "back")
    lab.netfab("cp", "a:/srv/tree/sub/a", ".")
    assert (lab.directory / "back/sub/a").read_text() == (lab.directory / "a").read_text() == "hello\n"
    assert (lab.directory / "back/link").readlink() == (lab.directory / "tree/link").readlink()
    assert "No such file" in lab.netfab("cp", "a:/nothing", ".", code=1).err
    assert "docker's `-`, a tar stream, is not here\n" in lab.netfab("cp", "a:/etc/hosts", "-", code=1).err


def test_cp_is_not_led_out_of_a_container_by_its_links_nor_makes_what_is_special(lab: Lab) -> None:
    (lab.directory / "a").write_text("mine\n")
    (lab.directory / "host").mkdir()
    lab.netfab("run", "-d", "--name", "a", "--cap-add", "MKNOD", "host", "sh", "-c", f"""
        ln -s {lab.directory}/host /out; ln -s /proc/1/root/{lab.directory}/host /proc-out
        mkdir /d; mkfifo "$(printf '/d/\\033[7mpipe')"
        ln -s /etc/shadow /d/shadow; cp /bin/true /d/suid; chmod 6755 /d/suid
        exec sleep 1000""")  # fmt: skip
    lab.shell(f"until {' '.join(lab.words('exec', 'a', 'test', '-u', '/d/suid'))}; do :; done")

    for path in ("/out/", "/proc-out/", "/out/../../../../../a"):
        lab.run(*lab.words("cp", "a", f"a:{path}"))
    copied = lab.netfab("cp", "a:/d", "got")

    assert list((lab.directory / "host").iterdir()) == []  # CVE-2019-14271, and its like
    assert "\\x1b[7mpipe is not a file" in copied.err
    assert (lab.directory / "got/suid").stat().st_mode & 0o7777 == 0o755
    assert (lab.directory / "got/shadow").is_symlink()


def test_a_file_that_is_taken_for_a_name_is_pointed_out(lab: Lab) -> None:
    file = lab.write("", "root.tar")
    lab.write("nodes: {a: {image: root.tar}}")

    assert "hint: `./root.tar` is what is here" in lab.netfab("run", file, "true", code=125).err
    assert "hint: `./root.tar` is what is here" in lab.netfab("apply", code=1).err


def test_an_image_says_what_the_command_does_not(lab: Lab) -> None:
    lab.shell(
        "mkdir -p root/bin; cp /bin/busybox root/bin; ln -s busybox root/bin/sh; tar -C root -cf root.tar ."
    )
    changes = (
        'ENTRYPOINT ["/bin/sh", "-c"]',
        'CMD ["echo $COLOUR, $(pwd)"]',
        "ENV COLOUR=blue",
        "WORKDIR /bin",
    )
    lab.netfab("import", *(word for change in changes for word in ("-c", change)), "root.tar", "box:1")

    assert lab.netfab("run", "--rm", "box:1").out == "blue, /bin\n"
    assert (
        lab.netfab("run", "--rm", "-e", "COLOUR=red", "-w", "/", "box:1", "echo $COLOUR; pwd").out
        == "red\n/\n"
    )
    assert lab.netfab("run", "--rm", "--entrypoint", "/bin/busybox", "box:1", "echo", "hi").out == "hi\n"
    lab.netfab("run", "-d", "--name", "a", "box:1", "read forever")
    assert "box:1" not in lab.netfab("rmi", "box:1", code=1).out
    assert lab.netfab("ps", "-a", "-o", "json").json["nodes"][0]["image"].startswith("sha256:")
    lab.netfab("rm", "-f", "a")
    lab.netfab("rmi", "box:1")
    assert "box:1" in lab.netfab("run", "box:1", code=125).err
