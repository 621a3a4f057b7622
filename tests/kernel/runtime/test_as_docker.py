"""A program asks what it may do, run by netfab and by crun as Docker would: each answer is the same, or no.

Capabilities, masked and read-only paths are those that Docker hands to a runtime; the system call profile is
the one that comes with Podman, which began as Docker's (tests/unit/runtime/test_docker_profile.py has that).
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import managers
import probe
import pytest
from containers import PYTHON, Containers

from netfab.system import linux as system
from netfab.system.process import user_namespace_is_initial

pytestmark = pytest.mark.skipif(not user_namespace_is_initial(), reason="crun is run as root")

PROFILE = Path("/usr/share/containers/seccomp.json")
# Docker's, of moby's oci/caps; less what netfab drops.
CAPABILITIES = [
    f"CAP_{name}"
    for name in (
        "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE",
        "NET_RAW", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
    )
]  # fmt: skip
_OF_A_RULE = ("names", "action", "args", "errnoRet")
LOCKS = ("ro", "nosuid", "nodev", "noexec")
SCRIPT = Path(probe.__file__).read_text(encoding="utf-8")


def by_netfab(containers: Containers) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(containers.python(SCRIPT))
    return found


def by_crun(bundle: Path) -> dict[str, Any]:
    """The same program, on the same root file system."""
    root = bundle / "rootfs"
    root.mkdir(parents=True)
    system.mount("/", str(root), flags=system.MS_BIND)
    subprocess.run(["crun", "spec", "--bundle", bundle], check=True)
    config = json.loads((bundle / "config.json").read_text())
    config["process"] |= {"terminal": False, "args": [PYTHON, "-c", SCRIPT], "rlimits": []}
    config["process"]["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted"), CAPABILITIES)
    config["root"] = {"path": str(root), "readonly": True}
    linux = config["linux"] | {"seccomp": profile(), "cgroupsPath": f"/netfab-tests-{os.getpid()}/probe"}
    linux["maskedPaths"] = list(probe.MASKED)
    linux["readonlyPaths"] = [path for path in probe.READ_ONLY if path.startswith("/proc/")]
    config["linux"] = linux
    (bundle / "config.json").write_text(json.dumps(config))
    with managers.cgroups("cgroup"):
        ran = subprocess.run(
            ["crun", "run", "--bundle", bundle, f"netfab-probe-{os.getpid()}"], capture_output=True, text=True
        )
    system.umount(str(root))
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def profile() -> dict[str, Any]:
    """The profile for these capabilities and this machine, as a runtime takes it."""
    whole = json.loads(PROFILE.read_text())
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    rules = []
    for rule in whole["syscalls"]:
        includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
        wanted = set(includes.get("caps", ())) <= set(CAPABILITIES)
        wanted = wanted and machine in includes.get("arches", [machine])
        if wanted and set(excludes.get("caps", ())).isdisjoint(CAPABILITIES):
            rules.append({key: rule[key] for key in _OF_A_RULE if rule.get(key) is not None})
    return {"defaultAction": whole["defaultAction"], "defaultErrnoRet": 38, "syscalls": rules}


def test_what_a_program_may_do_it_may_under_docker_too(containers: Containers, tmp_path: Path) -> None:
    ours, theirs = by_netfab(containers), by_crun(tmp_path / "bundle")

    assert weaker(ours, theirs) == []
    own = {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in probe.NAMESPACES}
    assert [kind for kind in own if ours["namespaces"][kind] == own[kind]] == []


def weaker(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """Every row in which ours permits what theirs does not."""
    found = []
    for key, theirs_is in theirs["status"].items():
        ours_is = ours["status"][key]
        more = key.startswith("Cap") and int(ours_is, 16) & ~int(theirs_is, 16)
        if more or (key in ("NoNewPrivs", "Seccomp") and int(ours_is) < int(theirs_is)):
            found.append(f"{key} {ours_is}, not {theirs_is}")
    for point, options in ours["mounts"].items():
        locks = [lock for lock in LOCKS if lock in theirs["mounts"].get(point, ()) and lock not in options]
        if locks and point != "/":
            found.append(f"{point} is not {locks}")
    found += [f"{path} shows something" for path, seen in ours["masked"].items() if seen]
    found += [f"{path} is writable" for path in ours["writable"]]
    found += [f"/dev/{name}" for name in ours["dev"] if name not in theirs["dev"]]
    found += [f"descriptor {name}" for name in ours["descriptors"] if name not in theirs["descriptors"]]
    for name, (soft, hard) in theirs["limits"].items():
        if ours["limits"][name][0] > soft or ours["limits"][name][1] > hard:
            found.append(f"{name} {ours['limits'][name]}, not {soft, hard}")
    for name, errno in theirs["calls"].items():
        if errno in (1, 38) and ours["calls"][name] not in (1, 38):
            found.append(f"{name} answers {ours['calls'][name]}, not {errno}")
    return found
