"""Far hosts over a real OpenSSH: nothing is there but sshd and python3; the installed command does it all."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from far import Far, far_hosts, ssh_command, start_sshd
from far_shop import TEXT, one_more

from netfab.remote import ssh
from netfab.remote.bundle import bundle, packed

COMMAND = Path(sys.executable).with_name("netfab")
TWO_HOSTS = Path(__file__).parents[3] / "topologies" / "two-hosts.yaml"
ONE = """
name: shop
networks:
  lan: {}
nodes:
  web: {networks: [lan], command: [sh, -c, "echo hello; exec sleep 1000"], ready: {log: hello}}
  db: {networks: [lan]}
"""
THERE = "root@192.0.2.1"
Netfab = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def netfab(fars: dict[str, Far], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Netfab:
    """The installed command, in a directory with topology.yaml, where ssh finds both hosts."""
    for far in fars.values():
        start_sshd(far, tmp_path)
    monkeypatch.setenv("NETFAB_SSH_COMMAND", ssh_command(tmp_path))
    (tmp_path / "topology.yaml").write_text(ONE)

    def run(*words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        ran = subprocess.run([COMMAND, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert ran.returncode == code, (
            f"netfab {' '.join(words)}: exit {ran.returncode}\n{ran.stdout}{ran.stderr}"
        )
        return ran

    return run


def test_a_fabric_is_made_and_looked_at_and_destroyed_on_a_far_host(
    netfab: Netfab, fars: dict[str, Far]
) -> None:
    assert "Applied: " in netfab("apply", "--ssh", THERE).stdout
    assert fars["h1"].nodes() == {"shop.web", "shop.db"}
    assert "No changes" in netfab("apply", "--ssh", THERE).stdout
    assert json.loads(netfab("status", "-o", "json").stdout)["nodes"]["web"]["state"] == "running"
    netfab("diff", "--ssh", THERE)
    netfab("drift")
    netfab("destroy")
    assert fars["h1"].left() == []


def test_a_fabric_that_is_on_a_far_host_is_not_made_here_by_an_apply_that_forgets_to_say_where(
    netfab: Netfab, fars: dict[str, Far]
) -> None:
    netfab("apply", "--ssh", THERE)

    said = netfab("apply", code=1).stderr

    assert "fabric shop is on root@192.0.2.1, and would be here a second time" in said
    assert "`--ssh root@192.0.2.1` goes on there" in said
    netfab("destroy")
    assert "Applied: " in netfab("apply").stdout
    netfab("destroy")


def test_what_was_saved_is_applied_there_and_stays_when_it_is_confirmed(
    netfab: Netfab, fars: dict[str, Far]
) -> None:
    netfab("plan", "--ssh", THERE, "--save", "p.json")

    applied = netfab("apply", "--plan", "p.json", "--confirm", "60s")

    assert "Applied: " in applied.stdout
    assert "`netfab confirm shop`, within 60 s, keeps it." in applied.stderr
    assert netfab("confirm", "shop").stderr == "Confirmed shop.\n"
    assert fars["h1"].nodes() == {"shop.web", "shop.db"}
    assert "changed since this plan was saved" in netfab("apply", "--plan", "p.json", code=1).stderr
    assert "no change of fabric shop waits" in netfab("confirm", "shop", code=1).stderr


def test_what_others_change_there_is_named_and_repaired(netfab: Netfab, fars: dict[str, Far]) -> None:
    netfab("apply", "--ssh", THERE)
    fars["h1"].run("ip", "-n", "shop.web", "link", "set", "eth0", "down")

    assert f"veth eth0 of web: down -> up on {THERE}" in netfab("drift", code=2).stdout
    netfab("reconcile")
    netfab("drift")


def test_a_command_runs_in_a_node_there_and_files_are_copied(netfab: Netfab, tmp_path: Path) -> None:
    netfab("apply", "--ssh", THERE)

    assert netfab("exec", "db", "hostname").stdout == "db\n"
    assert netfab("exec", "web", "sh", "-c", "exit 7", code=7).stdout == ""
    assert "no such" in netfab("exec", "web", "no such", code=127).stderr
    (tmp_path / "tree/sub").mkdir(parents=True)
    (tmp_path / "tree/sub/a").write_bytes(os.urandom(3 << 20))
    (tmp_path / "tree/link").symlink_to("sub/a")

    netfab("cp", "tree", "web:/srv")
    netfab("cp", "web:/srv/tree", "back")

    assert (tmp_path / "back/sub/a").read_bytes() == (tmp_path / "tree/sub/a").read_bytes()
    assert (tmp_path / "back/link").readlink() == Path("sub/a")


def test_what_a_node_there_writes_is_printed(netfab: Netfab) -> None:
    netfab("apply", "--ssh", THERE)

    assert netfab("logs", "web").stdout == "hello\n"
    assert netfab("logs").stdout == "hello\n"


def test_a_program_there_is_stopped_and_started(netfab: Netfab) -> None:
    netfab("apply", "--ssh", THERE)

    netfab("stop", "web")
    assert json.loads(netfab("ps", "-a", "-o", "json").stdout)["nodes"][0]["state"] == "stopped"
    netfab("start", "web")
    assert json.loads(netfab("ps", "-o", "json").stdout)["nodes"][0]["state"] == "running"


def test_a_far_host_keeps_what_it_was_sent_by_its_digest(netfab: Netfab, fars: dict[str, Far]) -> None:
    netfab("plan", "--ssh", THERE)

    kept = fars["h1"].call(lambda: {
        name: {
            str(path.relative_to(f"/var/cache/netfab/{name}")): path.read_text()
            for path in sorted(Path(f"/var/cache/netfab/{name}").rglob("*.py"))
        }
        for name in os.listdir("/var/cache/netfab")
    })  # fmt: skip
    assert list(kept) == [bundle().sha]
    (modules,) = kept.values()
    ordered = {name: modules[name] for name in json.loads(bundle().data)}
    assert hashlib.sha256(json.dumps(ordered).encode()).hexdigest() == bundle().sha


OLD, RUN = "a" * 64, "b" * 64
LEFT_BEHIND = ["python3", "-I", "-S", "-c", "import base64;exec(base64.b64decode('aW5wdXQoKQ=='))"]  # input()


@pytest.mark.parametrize(
    ("runs", "left"),
    [
        (
            ["sh", "-c", "read end", f"/var/cache/netfab/{RUN}"],
            {RUN},
        ),  # as a supervisor's command line has it
        (LEFT_BEHIND, {OLD, RUN, "tmp1"}),
    ],
    ids=["a supervisor", "what an agent left behind"],
)
def test_the_first_agent_of_a_new_copy_removes_those_that_nobody_runs(
    netfab: Netfab, fars: dict[str, Far], runs: list[str], left: set[str]
) -> None:
    fars["h1"].run("mkdir", "-p", *(f"/var/cache/netfab/{name}/netfab" for name in (OLD, RUN, "tmp1")))
    with subprocess.Popen(runs, stdin=subprocess.PIPE, preexec_fn=fars["h1"].enter) as process:
        netfab("plan", "--ssh", THERE)
        process.communicate(b"\n", timeout=20)

    assert set(fars["h1"].run("ls", "/var/cache/netfab").split()) == {bundle().sha, *left}


def test_a_far_shell_that_only_closes_its_output_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell = tmp_path / "ssh"
    shell.write_text("#!/bin/sh\nexec >&-; exec sleep 1000\n")
    shell.chmod(0o755)
    monkeypatch.setenv("NETFAB_SSH_COMMAND", str(shell))
    monkeypatch.setattr(ssh, "CONNECT", 0.1)
    way = ssh.Ssh("there")

    assert os.read(way.reading, 1) == b""
    assert way.last_words().message == "ssh ended with -9"
    way.hang_up()
    way.wait()


def test_what_a_far_host_is_sent_is_less_than_a_megabyte() -> None:
    assert len(packed(bundle())) < 1 << 20


def test_both_hosts_of_a_file_are_reached(netfab: Netfab, fars: dict[str, Far], tmp_path: Path) -> None:
    (tmp_path / "topology.yaml").write_text(TEXT)

    netfab("apply")

    assert fars["h1"].nodes() == {"shop.web"}
    assert fars["h2"].nodes() == {"shop.db"}
    assert netfab("exec", "db", "hostname").stdout == "db\n"
    assert netfab("status", "-o", "topology").stdout == netfab("config").stdout
    assert "lan: 10.0.0.0/24, leased to it before" in netfab("plan", "--why").stdout


PARTLY = {  # what commands show of h1 while h2 is down
    "ls": "\nshop    1      1",
    "drift": "~ veth eth0 of web: down -> up",
    "reconcile": "Applied: 1 added, 1 changed, 0 destroyed.",
    "ps -o json": '"nodes": []',
}


def test_a_host_that_is_down_is_left_out_and_completed_once_it_is_back(
    netfab: Netfab, fars: dict[str, Far], tmp_path: Path
) -> None:
    (tmp_path / "topology.yaml").write_text(TEXT)
    assert fars["h2"].sshd is not None
    fars["h2"].sshd.kill()
    fars["h2"].sshd.wait()

    refused = netfab("apply", code=1).stderr
    assert "192.0.2.2 port 22: Connection refused\nhint: `--skip-unreachable` leaves it as it is" in refused
    assert fars["h1"].left() == []
    assert "warning: h2 was left out" in netfab("apply", "--skip-unreachable").stderr
    assert fars["h1"].nodes() == {"shop.web"}
    fars["h1"].run("ip", "-n", "shop.web", "link", "set", "eth0", "down")
    for command, shown in PARTLY.items():
        said = netfab(*command.split(), code=1)
        assert shown in said.stdout
        assert "error: not reached: h2, of fabric shop; what is there is not known" in said.stderr
    restart(fars["h2"], tmp_path)
    netfab("apply")
    assert fars["h2"].nodes() == {"shop.db"}


def test_a_host_that_never_comes_back_is_forgotten_by_its_name(
    netfab: Netfab, fars: dict[str, Far], tmp_path: Path
) -> None:
    file = tmp_path / "topology.yaml"
    talks = "log: {command: [sh, -c, 'echo I am log; exec sleep 1000'], ready: {log: I am}, "
    text = one_more(TEXT).replace("log: {", talks)
    file.write_text(text)
    netfab("apply")
    assert fars["h2"].sshd is not None
    fars["h2"].sshd.kill()
    fars["h2"].sshd.wait()
    checked = netfab("check", "--pairs", code=1)
    between = netfab("why", "web", "log").stdout
    away = netfab("why", "web", "db", code=1).stderr
    written = netfab("logs", code=1)
    file.write_text("".join(line for line in text.splitlines(keepends=True) if "h2" not in line))

    refused = netfab("apply", code=1).stderr
    said = netfab("apply", "--forget", "h2").stderr

    assert "error: not reached: h2, of fabric shop" in checked.stderr
    matrix = [line.split() for line in checked.stdout.splitlines()[1:]]
    assert matrix == [["web", ".", "yes", "yes"], ["log", "yes", ".", "yes"], ["db", "?", "?", "."]]
    assert between.startswith("web reaches log\n")
    assert "error: h2: ssh: connect to host" in away
    assert written.stdout == "I am log\n"
    assert "error: not reached: h2, of fabric shop" in written.stderr
    assert (
        "refused\nhint: `--skip-unreachable` where it comes back, `--forget h2` where it never does\n"
        in refused
    )
    assert said.startswith("warning: h2 is forgotten, unreached: what it has of shop stays there; should it")
    assert "fabric shop is on no host h2" in netfab("destroy", "--forget", "h2", code=1).stderr


@pytest.fixture
def pair(sandbox: None) -> Iterator[dict[str, Far]]:
    """The two hosts of two-hosts.yaml."""
    with far_hosts("h1", "h2", first=11) as made:
        yield made


def test_the_file_of_the_readme_is_applied_unchanged_on_this_machine_and_one_behind_ssh(
    pair: dict[str, Far], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_sshd(pair["h2"], tmp_path)
    monkeypatch.setenv("NETFAB_SSH_COMMAND", ssh_command(tmp_path))

    pair["h1"].run(str(COMMAND), "apply", str(TWO_HOSTS))

    assert pair["h1"].nodes() == {"two-hosts.client"}
    assert pair["h2"].nodes() == {"two-hosts.web"}
    said = pair["h1"].run(str(COMMAND), "exec", "client", "curl", "-s", "http://web/")
    assert said == "hello from web\n"
    alone = pair["h1"].run(str(COMMAND), "apply", "--host", "h1", str(TWO_HOSTS))
    assert "No changes" in alone
    pair["h1"].run(str(COMMAND), "destroy", "two-hosts")
    assert pair["h1"].left() == pair["h2"].left() == []


def test_a_host_key_that_is_another_stops_all(netfab: Netfab, tmp_path: Path, fars: dict[str, Far]) -> None:
    known = tmp_path / "known_hosts"
    (tmp_path / "other").mkdir()
    subprocess.run(["ssh-keygen", "-qt", "ed25519", "-N", "", "-f", str(tmp_path / "other/key")], check=True)
    known.write_text(f"192.0.2.1 {(tmp_path / 'other/key.pub').read_text()}")

    failed = netfab("apply", "--ssh", THERE, code=1)

    assert "Host key verification failed" in failed.stderr
    assert fars["h1"].left() == []


def test_a_login_that_is_refused_is_told_in_sshs_words(netfab: Netfab, tmp_path: Path) -> None:
    (tmp_path / "user.pub").write_text("")

    assert "Permission denied (publickey)" in netfab("apply", "--ssh", THERE, code=1).stderr


def test_a_host_that_is_not_there_is_told_in_sshs_words(netfab: Netfab, tmp_path: Path) -> None:
    failed = netfab("apply", "--ssh", "root@127.0.0.1", code=1)

    assert (
        "netfab: error: root@127.0.0.1: ssh: connect to host 127.0.0.1 port 22: Connection refused"
        in failed.stderr
    )


def test_a_destination_is_no_option_of_ssh(netfab: Netfab) -> None:
    assert "not a destination for ssh" in netfab("apply", "--ssh=-oProxyCommand=id", code=1).stderr


@pytest.mark.parametrize(
    ("python", "said"),
    [
        ("", "there is no python3"),
        ("import sys; sys.version_info = (3, 9, 2)", "python3 is 3.9.2 there, and netfab needs 3.11"),
        ("import os; os.geteuid = lambda: 1000", "sudo"),
    ],
)
def test_a_far_python_that_can_not_do_it_is_told(
    netfab: Netfab, fars: dict[str, Far], tmp_path: Path, python: str, said: str
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    if python:
        script = f'#!/bin/sh\nshift 3\nexec /usr/bin/python3 -I -S -c "{python}; $1"\n'
        (programs / "python3").write_text(script)
        (programs / "python3").chmod(0o755)
    restart_with(fars["h1"], tmp_path, f"SetEnv PATH={programs}")

    assert said in netfab("apply", "--ssh", THERE, code=1).stderr


def test_what_a_far_shell_prints_is_passed_over(netfab: Netfab, fars: dict[str, Far], tmp_path: Path) -> None:
    restart_with(fars["h1"], tmp_path, 'ForceCommand echo welcome; eval "$SSH_ORIGINAL_COMMAND"')

    netfab("apply", "--ssh", THERE)

    assert fars["h1"].nodes() == {"shop.web", "shop.db"}


def restart_with(far: Far, directory: Path, line: str) -> None:
    """Start its sshd again with one more line of configuration."""
    assert far.sshd is not None
    far.sshd.kill()
    far.sshd.wait()
    restart(far, directory, line)


def restart(far: Far, directory: Path, *lines: str) -> None:
    """Start its sshd again, with another key, which is known."""
    (directory / f"{far.name}.key").unlink()
    (directory / f"{far.name}.key.pub").unlink()
    others = (directory / "known_hosts").read_text().splitlines(keepends=True)
    (directory / "known_hosts").write_text("".join(one for one in others if far.address not in one.split()))
    start_sshd(far, directory, *lines)
