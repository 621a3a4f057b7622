"""The nft program: load a transaction, list the fabric's tables, or all tables.

Speaks JSON both ways; no nft syntax is ever assembled here. objects/firewall.py knows what a table means.
nft(8), libnftables-json(5). Whether a table exists is asked of the kernel directly, and a table is deleted
that way, too: nft takes 5 ms to start.
"""

from __future__ import annotations

import _signal as signal  # `signal` takes 0.5 ms
import fcntl
import json
import os
import select
from collections.abc import Collection, Iterator
from contextlib import suppress
from errno import EINVAL, ENOENT, EOPNOTSUPP, EPERM, EPROTONOSUPPORT, ETIMEDOUT, errorcode
from struct import Struct
from time import monotonic
from typing import Any, Self

from netfab.errors import KernelRefused, Unsupported
from netfab.kernel.netlink import NETLINK_NETFILTER, Netlink
from netfab.objects.base import HOST
from netfab.objects.firewall import MARK, table_name
from netfab.objects.wire import Body, Request, attributes, encode, no_name, parse, text
from netfab.system.descriptors import LOCKS

PROGRAMS = ("/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft")
TIMEOUT = 30.0  # seconds; nft reads a large foreign ruleset before each transaction
MOST = 64 << 20  # bytes of an answer
_AT_ONCE = 1 << 20  # bytes, the pipe size allowed to any user (pipe(7))
_ENVIRONMENT = {"LC_ALL": "C"}
_FAMILIES = {1: "inet", 7: "bridge"}  # linux/netfilter.h, NFPROTO_*
_NFGENMSG = Struct("=BBH")  # family, version, res_id
_GET_TABLES = 10 << 8 | 1  # NFNL_SUBSYS_NFTABLES, NFT_MSG_GETTABLE
_DEL_TABLE = 10 << 8 | 2  # NFT_MSG_DELTABLE
_BEGIN, _END = 16, 17  # NFNL_MSG_BATCH_*: around a transaction
_OF_NFTABLES = 10 << 8  # NFNL_SUBSYS_NFTABLES, big-endian
_TABLE_NAME, _TABLE_HANDLE = 1, 4  # NFTA_TABLE_*
_GET_CHAIN, _CHAIN_TABLE, _CHAIN_NAME, _CHAIN_HOOK = 10 << 8 | 4, 1, 3, 4
_HOOK_NUMBER, _FORWARD = 1, 2  # NFTA_HOOK_HOOKNUM; NF_INET_FORWARD, equal to NF_BR_FORWARD
_GET_GENERATION, _GENERATION_ID = 10 << 8 | 16, 1  # NFT_MSG_GETGEN, NFTA_GEN_ID
_ABSENT = {ENOENT, EOPNOTSUPP, EPROTONOSUPPORT}  # no such table, or a kernel without nftables


def program() -> str:
    """The path of nft. Raises Unsupported."""
    for path in PROGRAMS:
        if os.access(path, os.X_OK):
            return path
    raise Unsupported("a firewall is needed, and nft is missing", hint="install nftables")


def version() -> str:
    """nft's version: 1.0.6; "" if it does not start as the kernel has no nftables. Raises Unsupported."""
    status, printed, _ = _Run(program(), ("--version",)).result()
    _, _, told = printed.decode(errors="replace").partition(" v")
    return "" if status else told.partition(" ")[0].strip()


def load(*transactions: str) -> None:
    """Carry out these, in JSON, as one transaction.

    Raises OSError with nft's own words; Unsupported without nft.
    """
    text, *more = transactions
    if more:
        commands = [command for each in transactions for command in json.loads(each)["nftables"]]
        text = json.dumps({"nftables": commands})
    status, _, words = _Run(program(), ("-j", "-f", "-"), text.encode(), tuple(LOCKS)).result()
    if status:
        raise OSError(_errno_of(words), _reason_of(words) or f"nft ended with status {status}")


def delete_tables(*tables: tuple[str, str]) -> None:
    """Delete these, (family, name), with their contents, as one transaction.

    Raises OSError.
    """
    numbers = {family: number for number, family in _FAMILIES.items()}
    ends = [
        (_DEL_TABLE, Body(_NFGENMSG, (numbers[family], 0, 0), ((_TABLE_NAME, table),)))
        for family, table in tables
    ]
    around = Body(_NFGENMSG, (0, 0, _OF_NFTABLES), ())
    netlink = Netlink(NETLINK_NETFILTER)
    try:
        batch = [
            (number := netlink.next_sequence(), encode(Request(HOST, kind, 0, body), no_name, number))
            for kind, body in ((_BEGIN, around), *ends, (_END, around))
        ]
        for errno, words in netlink.batch(batch).values():
            raise OSError(errno, words or os.strerror(errno))
    finally:
        netlink.close()


class Listing:
    """The tables of a fabric, read in the background: nft starts at once, and `tables` reads its output.

    If there is no table, it does not start at all.
    """

    def __init__(self, fabric: str) -> None:
        self._table, self._generation = table_name(fabric), _generation()
        own, self.foreign = _own_and_foreign(self._table)
        self._runs: dict[str, _Run] = {}
        try:
            for family in own:
                self._runs[family] = _Run(program(), ("-j", "list", "table", family, self._table))
        except Unsupported:  # no nft, no tables of ours; `load` will report it
            pass
        except BaseException:
            self.end()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """End the nft processes that were not read."""
        for run in self._runs.values():
            run.end()

    @property
    def is_current(self) -> bool:
        """Whether no table has changed since it began."""
        return bool(self._generation) and self._generation == _generation()

    def tables(self) -> list[Any]:
        """nft's listing of each existing table. Raises KernelRefused."""
        return list(self._tables())

    def _tables(self) -> Iterator[Any]:
        for family, run in self._runs.items():
            try:
                status, printed, words = run.result()
            except OSError as error:
                raise KernelRefused("list nft tables", error.errno or EINVAL, error.strerror or "") from error
            listing = _parsed(printed)
            if status <= 0 and listing is None:
                yield _unreadable(family, self._table)
            elif status == 0:
                yield listing
            elif (errno := _errno_of(words)) not in _ABSENT:
                raise KernelRefused("list nft tables", errno, _reason_of(words))


def glimpse(fabric: str) -> tuple[list[Any], list[tuple[str, str]]]:
    """The tables of a fabric, without their contents; and the foreign ones of that name.

    Enough to delete them, and doesn't run nft.
    """
    table = table_name(fabric)
    own, foreign = _own_and_foreign(table)
    return [_unreadable(family, table) for family in own], foreign


def _own_and_foreign(table: str) -> tuple[list[str], list[tuple[str, str]]]:
    """Families in which that table exists and is ours; (family, name) of those that are foreign."""
    own, foreign = list[str](), list[tuple[str, str]]()
    for family, handle in _families_with(table).items():
        if _is_foreign(family, table, handle):
            foreign.append((family, table))
        else:
            own.append(family)
    return own, foreign


def _families_with(table: str) -> dict[str, bytes]:
    """The families that have that table, and its handles; both families if the kernel does not tell."""
    try:
        return {family: handle for (family, name), handle in _handles().items() if name == table}
    except KernelRefused:
        return dict.fromkeys(_FAMILIES.values(), b"")


def _is_foreign(family: str, table: str, handle: bytes) -> bool:
    """Whether the table with that handle, or one that replaced it by now, exists and is not ours.

    Ours has its mark as long as it exists; so if the mark is missing, check that the table still exists.
    """
    found: bytes | None = handle
    while found is not None and not is_marked(family, table):
        before, found = found, _families_with(table).get(family)
        if found == before:
            return True
    return False


def tables_there() -> Collection[tuple[str, str]]:
    """Every table of the families that fabrics use, (family, name).

    Raises KernelRefused if the kernel does not tell.
    """
    return _handles().keys()


def _handles() -> dict[tuple[str, str], bytes]:
    """Handles by (family, name): they tell a table from a later one of that name. Raises KernelRefused."""
    return {
        (_FAMILIES[family], text(attrs.get(_TABLE_NAME, b""))): attrs.get(_TABLE_HANDLE, b"")
        for family, attrs in _dumped(_GET_TABLES)
        if family in _FAMILIES
    }


def others_see_what_is_forwarded() -> bool:
    """Whether any chain but fabrics' is at a forward hook; True if the kernel does not tell."""
    try:
        chains = _dumped(_GET_CHAIN)
    except KernelRefused:
        return True
    return any(
        int.from_bytes(parse(hook, 0, len(hook)).get(_HOOK_NUMBER, b"")) == _FORWARD
        and not text(attrs.get(_CHAIN_TABLE, b"")).startswith(table_name(""))
        for _, attrs in chains
        if (hook := attrs.get(_CHAIN_HOOK))
    )


def _generation() -> bytes:
    """The ruleset's generation, new after each change to any table; b"" if the kernel does not tell."""
    try:
        netlink = Netlink(NETLINK_NETFILTER)
    except OSError:
        return b""
    try:
        data, start, end = netlink.get(_GET_GENERATION, bytes(_NFGENMSG.size))
        return parse(data, start + _NFGENMSG.size, end).get(_GENERATION_ID, b"")
    except OSError:
        return b""
    finally:
        netlink.close()


def _dumped(kind: int) -> list[tuple[int, dict[int, bytes]]]:
    """(family, attributes) of every table, or chain; none without nftables. linux/nfnetlink.h"""
    try:
        netlink = Netlink(NETLINK_NETFILTER)
    except OSError as error:
        if error.errno not in _ABSENT:
            raise
        return []
    try:
        answers = netlink.dump(kind, bytes(_NFGENMSG.size))
        return [(data[start], parse(data, start + _NFGENMSG.size, end)) for data, start, end in answers]
    finally:
        netlink.close()


def is_marked(family: str, table: str) -> bool:
    """Whether the table has the chain that marks ours; True if the kernel does not tell."""
    number = next(number for number, name in _FAMILIES.items() if name == family)
    netlink = Netlink(NETLINK_NETFILTER)
    try:
        named = attributes(((_CHAIN_TABLE, table), (_CHAIN_NAME, MARK)), no_name)
        netlink.get(_GET_CHAIN, _NFGENMSG.pack(number, 0, 0) + named)
    except OSError as error:
        return error.errno != ENOENT
    finally:
        netlink.close()
    return True


def _parsed(printed: bytes) -> Any:
    """nft's answer; None if it is not JSON: 1.0.6 prints uninitialized memory for a table's flags."""
    try:
        return json.loads(printed)
    except ValueError:
        return None


def _unreadable(family: str, table: str) -> Any:
    """A stand-in for a table with flags, unreadable otherwise: it differs from any that we want."""
    return {"nftables": [{"table": {"family": family, "name": table, "flags": "unreadable"}}]}


def rules_of(family: str, table: str, chain: str) -> list[Any] | None:
    """The rules of a chain, as nft prints them; None if there is no such chain. Raises KernelRefused."""
    doing = f"list {family} {table} {chain}"
    printed = _listed(doing, "-a", "list", "chain", family, table, chain)
    if printed is None:
        return None
    if (listing := _parsed(printed)) is None:
        raise KernelRefused(doing, EINVAL, "nft's answer can't be read")
    return [item["rule"] for item in listing["nftables"] if "rule" in item]


def ruleset() -> list[Any]:
    """The whole ruleset of this host, as nft prints it. Raises KernelRefused.

    Empty if its answer can't be read, as when 1.0.6 lists somebody's table with flags.
    """
    listing = _parsed(_listed("list the nft ruleset", "list", "ruleset") or b"")
    return [] if listing is None else list(listing["nftables"])


def _listed(doing: str, *arguments: str) -> bytes | None:
    """nft's JSON output; None if the object does not exist. Raises KernelRefused."""
    try:
        status, printed, words = _Run(program(), ("-j", *arguments)).result()
    except OSError as error:
        raise KernelRefused(doing, error.errno or EINVAL, error.strerror or "") from error
    if not status:
        return printed
    if (errno := _errno_of(words)) in _ABSENT:
        return None
    raise KernelRefused(doing, errno, _reason_of(words))


def drop_rules(family: str, table: str, chain: str, comment: str) -> None:
    """Delete the rules of a foreign chain that carry the comment, if there are any.

    Raises OSError.
    """
    where = {"family": family, "table": table, "chain": chain}
    gone = [rule["handle"] for rule in rules_of(family, table, chain) or () if rule.get("comment") == comment]
    if gone:
        load(json.dumps({"nftables": [{"delete": {"rule": {**where, "handle": handle}}} for handle in gone]}))


class _Run:
    """One nft process. Its input is a file in memory, so that it never waits for us."""

    def __init__(
        self, path: str, arguments: tuple[str, ...], text: bytes = b"", holds: tuple[int, ...] = ()
    ) -> None:
        """`holds`: descriptors of locks that it keeps until it ends, in case we are killed before."""
        source = os.memfd_create("nft", os.MFD_CLOEXEC)
        (self._out, out), (self._err, err) = os.pipe(), os.pipe()
        with suppress(OSError):  # room for a thousand nodes' tables, however late they are read
            fcntl.fcntl(out, fcntl.F_SETPIPE_SZ, _AT_ONCE)
        given = source, out, err
        actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(given)]
        # Onto itself: clears close-on-exec (posix_spawn_file_actions_adddup2(3), glibc since 2.29).
        actions += [(os.POSIX_SPAWN_DUP2, fd, fd) for fd in holds]
        self._pipes = {self._out: bytearray(), self._err: bytearray()}
        self._pid = 0
        try:
            with open(source, "wb", closefd=False) as file:
                file.write(text)
            os.lseek(source, 0, os.SEEK_SET)
            self._pid = os.posix_spawn(
                path,
                (path, *arguments),
                _ENVIRONMENT,
                file_actions=actions,
                setsigdef=(signal.SIGPIPE,),
            )
        except BaseException:
            self.end()
            raise
        finally:
            for fd in given:
                os.close(fd)

    def result(self) -> tuple[int, bytes, str]:
        """(exit status, stdout, stderr). Raises OSError: a timeout, or too much output."""
        deadline = monotonic() + TIMEOUT
        poll = select.poll()  # not select(2), which takes no descriptor above 1023
        for fd in self._pipes:
            poll.register(fd, select.POLLIN)
        left = len(self._pipes)
        try:
            while left:
                ready = poll.poll(max(0.0, deadline - monotonic()) * 1000)
                if not ready:
                    raise OSError(ETIMEDOUT, f"nft gave no answer within {TIMEOUT:.0f} s")
                for fd, _ in ready:
                    data = os.read(fd, 1 << 20)
                    self._pipes[fd] += data
                    if not data:
                        poll.unregister(fd)
                        left -= 1
                    if len(self._pipes[fd]) > MOST:
                        raise OSError(EINVAL, f"nft printed more than {MOST >> 20} MiB")
            printed, words = bytes(self._pipes[self._out]), self._pipes[self._err].decode(errors="replace")
            pid, self._pid = self._pid, 0
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), printed, words
        finally:
            self.end()

    def end(self) -> None:
        """End the process and close everything, whatever happened."""
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._pid = 0
        while self._pipes:
            os.close(self._pipes.popitem()[0])


def _errno_of(words: str) -> int:
    """The errno whose message ends nft's complaint; nft gives no number."""
    if "Operation not permitted" in words:
        return EPERM
    first = words.partition("\n")[0].rstrip()
    return next((errno for errno in errorcode if first.endswith(os.strerror(errno))), EINVAL)


def _reason_of(words: str) -> str:
    """nft's complaint without its location in the input."""
    first = words.partition("\n")[0]
    return first.partition("Error: ")[2] or first
