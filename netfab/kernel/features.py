"""What this kernel and host support: each feature is tried in a throw-away namespace, no version parsed."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from errno import EINVAL
from ipaddress import ip_address
from typing import Any

from netfab.errors import NetfabError, Unsupported
from netfab.kernel import openvswitch
from netfab.kernel.dumps import links
from netfab.kernel.facts import frr
from netfab.kernel.netlink import Netlink
from netfab.kernel.nft import PROGRAMS
from netfab.kernel.rights import is_filtered, lacking, set_a_filter
from netfab.kernel.userns import become_root
from netfab.objects.base import HOST, Name
from netfab.objects.filtering import FEATURE as FILTERING
from netfab.objects.filtering import VLAN_FILTERING
from netfab.objects.link import IFNAME, INFO_DATA, INFO_KIND, LINK, LINKINFO
from netfab.objects.ovsdb import FEATURE as OPEN_VSWITCH
from netfab.objects.qdisc import TC_H_ROOT, TCA_KIND
from netfab.objects.vlan import FEATURE as TAGGING
from netfab.objects.vlan import VLAN_ID
from netfab.objects.wire import (
    IFINFO,
    NEW,
    RTM_NEWLINK,
    RTM_NEWQDISC,
    TCMSG,
    Body,
    Request,
    Value,
    encode,
    u8,
    u16,
    u32,
)
from netfab.objects.xfrm import FEATURE as ESP
from netfab.objects.xfrm_state import KEY, XfrmState
from netfab.system import linux
from netfab.tuples import NamedTuple


class Feature(NamedTuple):
    """A feature that was tried."""

    name: str
    works: bool
    needed: str  # for what
    cure: str  # what to load, install or pass; "" when it works


def examine() -> list[Feature]:
    """Try everything, in a child process whose end removes what it made. Raises NetfabError."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            with os.fdopen(writing, "w") as answer:
                json.dump(_tried(), answer)
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    found = json.loads(text or '"it was killed"')
    if isinstance(found, str):
        raise NetfabError(f"the process that tests what this host can do failed: {found}")
    return [Feature(*feature) for feature in found]


def _tried() -> list[list[Any]] | str:
    """Runs in the child; a reason if something other than the features tried went wrong."""
    try:
        return [list(feature) for feature in _try_all()]
    except (OSError, ValueError, LookupError, NetfabError) as error:
        return f"{type(error).__name__}: {error}"


def refuse_without(feature: str, what: str) -> None:
    """Raises Unsupported without that feature, given as the `feature` of a kind of objects names it."""
    if feature == OPEN_VSWITCH:
        openvswitch.refuse_absent(what)
        return
    if feature == ESP:
        if not has_esp():
            raise Unsupported(
                f"{what}: this kernel lacks {ESP}",
                hint="`modprobe -a esp4 esp6`, where these are modules (CONFIG_INET_ESP and _INET6_ESP)",
            )
        return
    kind, data, cure = _OPTIONAL[feature]
    if not _can_make(kind, data):
        raise Unsupported(f"{what}: this kernel lacks {feature}", hint=cure)


def has_esp() -> bool:
    """Whether the kernel takes an ESP state of both families; tried in a child process."""
    return _in_child(_makes_states)


def _makes_states() -> bool:
    from netfab.kernel import xfrm

    for address in ("192.0.2.1", "2001:db8::1"):
        end = ip_address(address)
        try:
            xfrm.send(XfrmState(end, end, 0x1000, 1, "00" * KEY).request())
        except OSError:
            return False
    return True


def _in_child(attempt: Callable[[], bool]) -> bool:
    """The result of the attempt in a network namespace of its own."""
    child = os.fork()
    if child == 0:
        try:
            linux.unshare(linux.CLONE_NEWNET)
            os._exit(int(not attempt()))
        finally:
            os._exit(1)
    return os.waitpid(child, 0)[1] == 0


def _can_make(kind: str, data: tuple[tuple[int, Value], ...]) -> bool:
    """Whether the kernel makes such a link; tried in a child process."""

    def makes() -> bool:
        netlink = Netlink()
        return not any((_make(netlink, "veth", ()), _make(netlink, kind, data)))

    return _in_child(makes)


def _try_all() -> Iterator[Feature]:
    limit = _read("/proc/sys/net/ipv4/neigh/default/gc_thresh3")  # visible in the first namespace only
    if limit:
        yield _feature(
            f"neighbour table of {limit}",
            int(limit) > 1024,
            "more than a thousand neighbours in all namespaces together",
            "sysctl net.ipv4.neigh.default.gc_thresh3=8192",
        )
    if os.geteuid() == 0:
        yield from _rights()
    userns = _works(become_root)
    yield _feature(
        "user namespaces",
        userns,
        "lab without root",
        "sysctl user.max_user_namespaces=1000, and AppArmor's switch",
    )
    namespaces = _works(lambda: linux.unshare(linux.CLONE_NEWNET | linux.CLONE_NEWNS))
    yield _feature(
        "network namespaces", namespaces, "everything", "run as root; in a container --cap-add SYS_ADMIN"
    )
    if not namespaces:
        return
    linux.mount("", "/", flags=linux.MS_REC | linux.MS_PRIVATE)
    netlink = Netlink()
    for kind, needed, data in _KINDS:
        errno = _make(netlink, kind, data)
        yield _feature(kind, errno == 0, needed, f"modprobe {_MODULES.get(kind, kind)}")
    yield from _qdiscs(netlink)
    errno = _make(netlink, "bridge", ((VLAN_FILTERING, u8(1)),), "brv")
    yield _feature(
        "bridge vlan_filtering", errno == 0, "VLANs on a bridge", "a kernel with BRIDGE_VLAN_FILTERING"
    )
    yield _feature(ESP, _makes_states(), "`encrypt: true`", "modprobe -a esp4 esp6")
    yield _feature(
        "Open vSwitch", openvswitch.lives(), "bridges named ovs*", "install and start openvswitch-switch"
    )
    yield _feature("FRR", frr() is not None, "`control: evpn`", "apt install frr")
    yield from _nft()
    yield _feature("overlayfs", _overlay(), "containers (image: host)", "modprobe overlay")
    yield from _cgroups()
    yield _feature("seccomp", _works(set_a_filter), "containers", "a kernel with CONFIG_SECCOMP_FILTER")


def _rights() -> Iterator[Feature]:
    missing = lacking()
    given = " ".join(f"--cap-add {name}" for name in missing)
    cure = f"{given}, or --privileged, or run netfab on the host itself"
    yield _feature("capabilities", not missing, "all that fails below", cure)
    if os.path.exists("/.dockerenv") or os.path.exists("/run/.containerenv"):
        yield _feature(
            "no seccomp filter around netfab",
            not is_filtered(),
            "calls that the engine's filter forbids",
            "--security-opt seccomp=unconfined, or --privileged",
        )


def _qdiscs(netlink: Netlink) -> Iterator[Feature]:
    """Told by the kernel's error for one without options: ENOENT if it doesn't have that kind."""
    for kind, needed in _QDISCS.items():
        body = Body(TCMSG, (0, Name(HOST, "veth"), 0, TC_H_ROOT, 0), ((TCA_KIND, kind),))
        errno = _refused(netlink, Request(HOST, RTM_NEWQDISC, NEW, body))
        yield _feature(kind, errno in (0, EINVAL), needed, f"modprobe sch_{kind}")


_QDISCS = {"tbf": "`rate` of ports", "htb": "classes of traffic", "netem": "impairments"}
_KINDS: tuple[tuple[str, str, tuple[tuple[int, Value], ...]], ...] = (
    ("bridge", "networks", ()),
    ("veth", "interfaces", ()),
    ("vxlan", "networks over hosts", ((1, u32(42)), (15, b"\x12\xb5"))),  # IFLA_VXLAN_ID, IFLA_VXLAN_PORT
    ("macvlan", "attach to a NIC", ((1, u32(4)),)),  # IFLA_MACVLAN_MODE: bridge
    ("ifb", "impairments", ()),
    ("dummy", "nothing that netfab needs", ()),
    ("vlan", "interfaces named BASE.N", ((VLAN_ID, u16(10)),)),
)
_MODULES = {"vlan": "8021q"}
# What few need and not every kernel has: how to try it, and the cure.
_OPTIONAL: dict[str, tuple[str, tuple[tuple[int, Value], ...], str]] = {
    FILTERING: (
        "bridge",
        ((VLAN_FILTERING, u8(1)),),
        "a kernel with CONFIG_BRIDGE_VLAN_FILTERING; or a bridge of its own for each VLAN",
    ),
    TAGGING: ("vlan", ((VLAN_ID, u16(10)),), "`modprobe 8021q`, where it is a module"),
}


def _make(netlink: Netlink, kind: str, data: tuple[tuple[int, Value], ...], name: str = "") -> int:
    """0, or the errno with which the kernel refused a link of that kind."""
    below: tuple[tuple[int, Value], ...] = (
        ((LINK, Name(HOST, "veth")),) if kind in ("macvlan", "vlan") else ()
    )
    info: Value = ((INFO_KIND, kind.encode()), *(((INFO_DATA, data),) if data else ()))
    attrs: tuple[tuple[int, Value], ...] = ((IFNAME, name or kind), *below, (LINKINFO, info))
    return _refused(netlink, Request(HOST, RTM_NEWLINK, NEW, Body(IFINFO, (0, 0, 0, 0, 0), attrs)))


def _refused(netlink: Netlink, request: Request) -> int:
    """0, or the errno with which the kernel refused the request."""
    sequence = netlink.next_sequence()

    def index(link: Name) -> int:
        return next((found.ifindex for found in links(netlink) if found.name == link.text), 0)

    refused = netlink.batch([(sequence, encode(request, index, sequence))])
    return refused[sequence][0] if refused else 0


def _nft() -> Iterator[Feature]:
    path = next((path for path in PROGRAMS if os.path.exists(path)), "")
    yield _feature("nft", bool(path), "firewall, masquerade, published ports", "apt install nftables")
    if path:
        for family, hook in (("inet", "forward"), ("bridge", "prerouting")):
            rules = f"table {family} t {{ chain c {{ type filter hook {hook} priority 0; counter; }}; }}"
            ran = subprocess.run([path, "-f", "-"], input=rules, text=True, capture_output=True, check=False)
            cure = "modprobe nf_tables nft_ct" + (" nf_conntrack_bridge" if family == "bridge" else "")
            yield _feature(f"nft {family}", ran.returncode == 0, "firewall", cure)


def _overlay() -> bool:
    def mount() -> None:
        linux.mount("tmpfs", "/mnt", "tmpfs")
        for name in ("lower", "upper", "work", "merged"):
            os.mkdir(f"/mnt/{name}")
        options = "lowerdir=/mnt/lower,upperdir=/mnt/upper,workdir=/mnt/work"
        linux.mount("overlay", "/mnt/merged", "overlay", data=options)

    return _works(mount)


def _cgroups() -> Iterator[Feature]:
    with open("/proc/self/mounts") as file:
        kinds = {line.split()[2] for line in file if line.split()[2] in ("cgroup", "cgroup2")}
    found = {frozenset(): "none", frozenset({"cgroup"}): "v1", frozenset({"cgroup2"}): "v2"}.get(
        frozenset(kinds), "hybrid"
    )
    yield _feature(
        f"cgroups ({found})", bool(kinds), "limits of containers", "mount -t cgroup2 none /sys/fs/cgroup"
    )


def _feature(name: str, works: bool, needed: str, cure: str) -> Feature:
    return Feature(name, works, needed, "" if works else f"for {needed}: {cure}")


def _works(attempt: Callable[[], None]) -> bool:
    try:
        attempt()
    except (OSError, Unsupported):
        return False
    return True


def _read(path: str) -> str:
    with suppress(OSError), open(path) as file:
        return file.read().strip()
    return ""
