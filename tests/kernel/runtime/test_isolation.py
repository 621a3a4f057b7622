"""What a container's program finds itself in: Docker's defaults, or stricter."""

from __future__ import annotations

import os
import resource
import signal
import stat
import subprocess
from pathlib import Path

import pytest
from containers import PYTHON, Containers, make_image

from netfab.errors import ContainerFailed
from netfab.runtime import inherited
from netfab.runtime.layers import make_layers
from netfab.runtime.paths import Paths
from netfab.runtime.spec import CAPABILITIES, DEFAULT_CAPABILITIES
from netfab.system.process import user_namespace_is_initial

needs_users = pytest.mark.skipif(
    not user_namespace_is_initial(), reason="an ordinary user is alone in the user namespace"
)

NAMESPACES = ("mnt", "net", "uts", "pid", "ipc", "cgroup")


def mask_of(names: frozenset[str]) -> str:
    return f"{sum(1 << CAPABILITIES[name] for name in names):016x}"


def test_its_capabilities_are_dockers_without_mknod_and_nothing_is_inheritable(
    containers: Containers,
) -> None:
    text = containers.shell("grep Cap /proc/self/status")

    default = mask_of(DEFAULT_CAPABILITIES)
    assert dict(line.split() for line in text.splitlines()) == {
        "CapInh:": f"{0:016x}",
        "CapPrm:": default,
        "CapEff:": default,
        "CapBnd:": default,
        "CapAmb:": f"{0:016x}",
    }


def test_a_capability_that_is_added_is_there_and_one_that_is_dropped_is_not(containers: Containers) -> None:
    text = containers.shell("grep CapEff /proc/self/status", cap_add=("NET_ADMIN",), cap_drop=("CHOWN",))

    assert text.split()[1] == mask_of(DEFAULT_CAPABILITIES - {"CHOWN"} | {"NET_ADMIN"})


def test_no_new_privileges_and_a_filter_are_set(containers: Containers) -> None:
    text = containers.shell("grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status")

    assert text.split() == ["NoNewPrivs:", "1", "Seccomp:", "2"]


@needs_users
def test_a_user_that_is_not_root_has_no_capability(containers: Containers) -> None:
    text = containers.shell("id -u; id -g; grep CapEff /proc/self/status", user="daemon")

    assert text.split() == ["1", "1", "CapEff:", f"{0:016x}"]


def test_every_namespace_is_its_own_and_the_network_is_the_nodes(containers: Containers) -> None:
    text = containers.shell(f"cd /proc/self/ns; for ns in {' '.join(NAMESPACES)}; do readlink $ns; done")

    found = dict(zip(NAMESPACES, text.split(), strict=True))
    ours = {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in NAMESPACES}
    assert [kind for kind in NAMESPACES if found[kind] == ours[kind]] == []
    assert found["net"] == f"net:[{os.fstat(containers.netns).st_ino}]"


def test_it_is_process_1_and_sees_nobody_elses(containers: Containers) -> None:
    text = containers.shell("echo $$; ls -d /proc/[0-9]* | wc -l")

    assert text.split()[0] == "1"
    assert int(text.split()[1]) <= 4  # sh, ls, wc


def test_its_host_name_is_its_own(containers: Containers) -> None:
    assert containers.shell("hostname; cat /etc/hostname", hostname="shop-1").split() == ["shop-1", "shop-1"]
    assert os.uname().nodename != "shop-1"


def test_its_files_are_made_with_the_usual_mode(containers: Containers) -> None:
    assert containers.shell("umask") == "0022\n"


def test_only_the_three_standard_descriptors_are_open(containers: Containers) -> None:
    text = containers.python("import os; print(sorted(int(fd) for fd in os.listdir('/proc/self/fd')))")

    assert text.strip() == "[0, 1, 2, 3]"  # 3 is the listing's own


def test_devices_work_in_dev_only(containers: Containers) -> None:
    text = containers.shell(
        "awk '!/nodev/ {print $2}' /proc/self/mounts | while read p; do test -d $p && echo $p; done; :"
    )

    assert text.split() == ["/dev", "/dev/pts"]


def test_what_is_written_to_the_console_goes_nowhere(containers: Containers) -> None:
    assert (
        containers.shell("echo lost >/dev/console; cat /dev/console; ls -L /dev/console") == "/dev/console\n"
    )


def test_the_kernels_file_systems_are_locked_down(containers: Containers) -> None:
    text = containers.shell("cat /proc/self/mounts")

    options = {line.split()[1]: set(line.split()[3].split(",")) for line in text.splitlines()}
    assert {"nosuid", "nodev", "noexec"} <= options["/proc"] & options["/sys"]
    assert "ro" in options["/sys"]
    assert options["/dev/pts"] >= {"ptmxmode=666", "mode=620"}


@pytest.mark.parametrize(
    "path", ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/interrupts", "/proc/sched_debug"]
)
def test_masked_files_read_as_empty(containers: Containers, path: str) -> None:
    assert containers.shell(f"test ! -e {path} || cat {path}") == ""


@pytest.mark.parametrize(
    "path", ["/proc/acpi", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"]
)
def test_masked_directories_are_empty(containers: Containers, path: str) -> None:
    assert containers.shell(f"test ! -e {path} || ls -A {path}") == ""


@pytest.mark.parametrize(
    "path", ["/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/sys/kernel/uevent_helper"]
)
def test_the_kernels_switches_are_read_only(containers: Containers, path: str) -> None:
    text = containers.shell(f"test -e {path} || echo Read-only; (echo b > {path}) 2>&1 || true")

    assert "Read-only" in text


def test_the_hosts_secrets_are_hidden(containers: Containers) -> None:
    paths = "/etc/shadow /etc/gshadow /etc/ssh/ssh_host_ed25519_key /etc/ssh/ssh_host_rsa_key"
    text = containers.shell(
        f"ls -A /root /run /var/tmp; for path in {paths}; do test ! -e $path || echo $path; done"
    )

    assert text.split() == ["/root:", "/run:", "/var/tmp:"]


def test_netfabs_own_directories_are_whiteouts_above_the_hosts(tmp_path: Path) -> None:
    make_layers(Paths("shop", "/srv/run", "/srv/state"), str(tmp_path), user_namespace_is_initial())

    found = [os.stat(f"{tmp_path}/host/srv/{name}") for name in ("run", "state")]

    assert [(stat.S_ISCHR(one.st_mode), one.st_rdev) for one in found] == [(True, 0), (True, 0)]


def test_what_it_writes_stays_its_own(containers: Containers) -> None:
    assert containers.shell("echo mine > /etc/netfab-test; rm /etc/passwd; cat /etc/netfab-test") == "mine\n"
    assert not os.path.exists("/etc/netfab-test")
    assert os.path.exists("/etc/passwd")


def test_a_directory_as_image_is_its_root_and_is_not_written_to(
    containers: Containers, tmp_path: Path
) -> None:
    image = make_image(tmp_path / "image")
    before = sorted(path.name for path in image.iterdir())

    text = containers.shell("echo x > /new; echo /*", image=str(image))

    assert set(text.split()) == {"/dev", "/etc", "/new", "/proc", "/sys", *(f"/{name}" for name in before)}
    assert sorted(path.name for path in image.iterdir()) == before


def test_a_mount_is_shown_and_read_only_when_it_says_so(containers: Containers, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "a").write_text("of the host\n")

    text = containers.shell(
        "cat /data/a; (echo x > /data/b) 2>&1 || true; echo y > /more/c",
        mounts=((str(shared), "/data", True), (str(shared), "/more", False)),
    )

    assert text.startswith("of the host\n")
    assert "Read-only" in text
    assert (shared / "c").read_text() == "y\n"


@pytest.mark.parametrize("target", ["/proc", "/proc/sys/kernel", "/sys/fs"])
def test_a_mount_onto_the_kernels_file_systems_is_refused(
    containers: Containers, tmp_path: Path, target: str
) -> None:
    with pytest.raises(ContainerFailed, match="mount") as failure:
        containers.start("true", mounts=((str(tmp_path), target, False),))

    assert failure.value.path == target


@needs_users
def test_files_are_written_inside_with_their_mode_and_owner(containers: Containers) -> None:
    files = (("/etc/app/a.conf", "addr\n", 0o640, "daemon"), ("/var/run/app.pid", "1\n", 0o644, ""))
    text = containers.shell("cat /etc/app/a.conf /run/app.pid; stat -c '%a %U' /etc/app/a.conf", files=files)

    assert text == "addr\n1\n640 daemon\n"


def test_names_resolve_by_the_nodes_own_files(containers: Containers, tmp_path: Path) -> None:
    hosts, resolver = tmp_path / "hosts", tmp_path / "resolv.conf"
    hosts.write_text("10.1.2.3 db\n")
    resolver.write_text("nameserver 10.1.2.1\n")

    text = containers.shell(
        "getent hosts db; cat /etc/resolv.conf", hosts_file=str(hosts), resolv_conf=str(resolver)
    )

    assert text.split() == ["10.1.2.3", "db", "nameserver", "10.1.2.1"]


def test_a_container_cant_change_the_names_that_others_see(containers: Containers, tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("10.1.2.3 db\n")

    code, _ = containers.run("sh", "-c", "echo 6.6.6.6 db >> /etc/hosts", hosts_file=str(hosts))

    assert code != 0
    assert hosts.read_text() == "10.1.2.3 db\n"


def test_nothing_of_the_callers_environment_reaches_it(
    containers: Containers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "hunter2")

    text = containers.shell("env", env=(("COLOUR", "blue"),))

    names = {line.partition("=")[0] for line in text.splitlines()}
    assert names - {"PWD", "SHLVL", "_", "OLDPWD"} == {"PATH", "HOSTNAME", "HOME", "COLOUR"}


_LIMITS = resource.RLIMIT_CORE, resource.RLIMIT_SIGPENDING, resource.RLIMIT_MSGQUEUE
_STANDING = f"""
import os, resource
for number in {_LIMITS}:
    print(resource.prlimit(PID, number)[0])
niceness, policy = os.getpriority(os.PRIO_PROCESS, PID), os.sched_getscheduler(PID)
if PID == 1 and policy & os.SCHED_RESET_ON_FORK:  # it has these for itself alone
    niceness, policy = max(niceness, 0), policy & ~os.SCHED_RESET_ON_FORK
print(niceness, policy, os.sched_getaffinity(PID))
print(open("/proc/PID/oom_score_adj").read())
"""


def standing(process: int) -> str:
    """Its soft limits, niceness, scheduling policy, processors, and place before the out-of-memory killer."""
    argv = [PYTHON, "-c", _STANDING.replace("PID", str(process))]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def burden() -> None:
    """Have everything otherwise than the host's first process has."""
    for number in _LIMITS:
        resource.setrlimit(number, (4096, resource.getrlimit(number)[1]))
    os.nice(5)
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    Path("/proc/self/oom_score_adj").write_text("500")


@needs_users
def test_it_has_nothing_of_how_its_caller_stands_with_the_kernel_and_neither_has_what_joins_it(
    containers: Containers,
) -> None:
    child = os.fork()
    if child == 0:
        burden()
        containers.start("sleep", "60")
        code, said = containers.exec(PYTHON, "-c", _STANDING.replace("PID", "0").replace("/0/", "/self/"))
        os._exit(code or said != standing(1))

    assert os.waitpid(child, 0)[1] == 0
    assert standing(containers.status().pid or 0) == standing(1)
    assert standing(containers.supervisor()) == standing(1)


@needs_users
@pytest.mark.parametrize("policy", [os.SCHED_OTHER, os.SCHED_BATCH, os.SCHED_RR])
def test_what_the_first_process_has_for_itself_alone_nobody_has(
    policy: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SCHED_RESET_ON_FORK: the kernel itself says what its children have."""

    def scheduling() -> tuple[int, int]:
        return os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0)

    told, tell = os.pipe()
    first = os.fork()
    if first == 0:
        priority = os.sched_param(1 if policy == os.SCHED_RR else 0)
        os.setpriority(os.PRIO_PROCESS, 0, -5)
        os.sched_setscheduler(0, policy | os.SCHED_RESET_ON_FORK, priority)
        if os.fork() == 0:
            os.write(tell, repr(scheduling()).encode())
        else:
            os.wait()
            signal.pause()
        os._exit(0)
    expected = os.read(told, 100).decode()
    monkeypatch.setattr(inherited, "_FIRST", first)
    child = os.fork()
    if child == 0:
        inherited.let_go()
        os.write(tell, repr(scheduling()).encode())
        os._exit(0)
    got = os.read(told, 100).decode()
    os.kill(first, signal.SIGKILL)
    for process in (first, child):
        os.waitpid(process, 0)
    os.close(told)
    os.close(tell)

    assert got == expected


def test_a_first_process_that_may_not_be_looked_at_keeps_nobody_from_starting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As by SELinux; one that is gone says as little."""
    first = os.fork()
    if first == 0:
        os._exit(0)
    os.waitpid(first, 0)
    monkeypatch.setattr(inherited, "_FIRST", first)

    inherited.let_go()


def test_it_may_open_as_many_files_as_a_service_of_systemd(containers: Containers) -> None:
    first = resource.prlimit(1, resource.RLIMIT_NOFILE)[0]

    assert containers.shell("ulimit -n") == f"{min(first, 1024)}\n"
