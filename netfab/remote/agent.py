"""The agent: answers a controller about the host that it runs on, and changes it on request.

docs/architecture.rst has the verbs and their answers. At any time it has one transaction, or none.
"""

from __future__ import annotations

import json
import os
import re
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

from netfab import __version__
from netfab.engine import apply as engine
from netfab.engine.diff import describe
from netfab.errors import ApplyFailed, NetfabError
from netfab.facts.gathering import facts_of
from netfab.facts.shared_bridges import networks_of
from netfab.kernel.drops import input_drops
from netfab.objects.base import Fabric
from netfab.objects.decode import decoder, plain
from netfab.objects.kinds import KINDS
from netfab.objects.vxlan import Vxlan
from netfab.plan.facts import Asked
from netfab.remote.functions import FUNCTIONS
from netfab.remote.messages import PROTOCOL, BadMessage, Message, failure, field
from netfab.remote.probe import Peer, Probe
from netfab.remote.transaction import STEPS, Transaction, decide, order_of
from netfab.store.store import Record
from netfab.topology import grammar
from netfab.topology.image import ID
from netfab.where import Where, last_applied, locked_fabric, opened_host, opened_store

if TYPE_CHECKING:
    from netfab.remote.asking import Traced
    from netfab.runtime.parts import Writer

LOCK_TTL = 30.0  # seconds that a prepared agent waits for the next message before it releases the lock
_BOOT_ID = "/proc/sys/kernel/random/boot_id"


class Agent:
    """One host's end of a conversation."""

    def __init__(self, where: Where) -> None:
        self._where = where
        self.transaction: Transaction | None = None
        self._probed: Probe | None = None
        self._traces: Traced | None = None
        self._copy: tuple[ExitStack, Writer] | None = None  # the writer in progress, and what closes it
        self._handed: tuple[ExitStack, set[str]] | None = None  # images to transfer, and what keeps them
        self._verbs: dict[str, Callable[[Message], Iterator[Message]]] = {
            "hello": self._hello,
            "compare": self._compare,
            "observe": self._observe,
            "prepare": self._prepare,
            "listen": self._listen,
            "probe": self._probe,
            "apply": self._apply,
            "commit": self._commit,
            "rollback": self._rollback,
            "hold": self._hold,
            "ready": self._ready,
            "call": self._call,
            "lack": self._lack,
            "take": self._take,
            "unpack": self._unpack,
            "logs": self._logs,
            "copy_out": self._copy_out,
            "copy_in": self._copy_in,
            "parts": self._parts,
            "capture": self._capture,
            "trace": self._trace,
            "traced": self._traced,
        }

    def answers(self, message: Message) -> Iterator[Message]:
        """The answers to a message: one, or several, the last of which marks the end."""
        try:
            verb = self._verbs.get(message["verb"])
            if verb is None:
                raise BadMessage(f"there is no verb {message['verb'][:40]!r}")
            if message["verb"] not in _WHILE_PROBED:
                self._end_probe()
            yield from verb(message)
        except NetfabError as error:
            yield failure(error)
        except Exception as error:  # shown by the controller: nobody would look for it here
            yield failure(NetfabError(f"a mistake in netfab's agent: {type(error).__name__}: {error}"))

    def let_go(self) -> None:
        """The controller is gone: release what is prepared; what is applied stays, undecided."""
        self._end_probe()
        self._end_trace()
        self._end_copy()
        self._end_handing()
        if self.transaction is not None:
            transaction, self.transaction = self.transaction, None
            transaction.abandon()

    def _hello(self, message: Message) -> Iterator[Message]:
        """The host's identity, what it knows of the fabric, and the facts for planning it."""
        name = _name_in(message)
        asked = decoder(Asked)(field(message, "asked", list))
        with opened_store(self._where) as store, opened_host(name, self._where) as host:
            record, part = store.record(name), store.part(name)
            leases = store.leases(name)
            last = last_applied(store, name, KINDS.of({"Guest"}))
            facts, unfound = facts_of(asked, host, store, leases, last, self._where)
            undecided = json.loads(part.undecided)["transaction"] if part and part.undecided else ""
            yield {
                "verb": "hello",
                "protocol": PROTOCOL,
                "version": __version__,
                "host": os.uname().nodename,
                "kernel": os.uname().release,
                "boot_id": _read(_BOOT_ID),
                "run": self._where.run,
                "file": record.file if record else "",
                "generation": part.generation if part else 0,
                "transaction": part.transaction if part else "",
                "undecided": undecided,
                "summary": json.loads(record.summary) if record else {},
                "commands": json.loads(record.commands) if record else {},
                "leases": plain(leases),
                "facts": plain(facts),
                "unfound": {word: [error.message, error.hint] for word, error in unfound.items()},
                "networks": networks_of(store),
                "mtus": _tunnel_mtus(record),
            }

    def _compare(self, message: Message) -> Iterator[Message]:
        """What an apply of that fabric would change. Takes no lock."""
        desired = Fabric.from_json(json.dumps(field(message, "fabric", dict)), KINDS)
        with opened_store(self._where) as store, opened_host(desired.name, self._where) as host:
            observed = host.observe(desired.name, (desired, last_applied(store, desired.name, KINDS)))
            yield {"verb": "compared", "changes": describe(engine.changes_for(desired, observed))}

    def _observe(self, message: Message) -> Iterator[Message]:
        """The observed fabric, read as an apply of the given one would. Takes no lock."""
        desired = Fabric.from_json(json.dumps(field(message, "fabric", dict)), KINDS)
        with opened_store(self._where) as store, opened_host(desired.name, self._where) as host:
            observed = host.observe(desired.name, (desired, last_applied(store, desired.name, KINDS)))
            yield {"verb": "observed", "fabric": json.loads(observed.own.to_json())}

    def _prepare(self, message: Message) -> Iterator[Message]:
        if self.transaction is not None:
            raise BadMessage(f"transaction {self.transaction.order.transaction} is not decided yet")
        made = Transaction(order_of(message), self._where)
        self.transaction = made
        told = {"changes": describe(made.changes), "steps": made.count(), "confirm": made.confirm}
        yield {"verb": "prepared", **told, "lock_ttl": LOCK_TTL}

    def _listen(self, message: Message) -> Iterator[Message]:
        """Open the sockets for the datagrams of a `probe`; on the requested port, if it is free."""
        self._end_probe()
        address, port = field(message, "address", str), field(message, "port", int)
        try:
            self._probed = Probe(address, port, field(message, "token", str))
        except (OSError, ValueError, OverflowError) as error:
            raise NetfabError(f"can't listen at {address} port {port}: {error}") from error
        yield {"verb": "listening", "port": self._probed.port}

    def _probe(self, message: Message) -> Iterator[Message]:
        """What arrived from each peer, and if nothing did, what would drop it here."""
        if self._probed is None:
            raise BadMessage("nobody listens here")
        try:
            said = field(message, "peers", dict)
            peers = {name: _PEER([each[key] for key in Peer._fields]) for name, each in said.items()}
            got = self._probed.exchange(field(message, "me", str), peers, field(message, "seconds", float))
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise BadMessage(f"this is not a probe: {error!r}") from error
        silent = any(peer.wanted and not got[name] for name, peer in peers.items())
        drops = [f"chain {one.chain} of {one.table}: {one.why}" for one in (input_drops() if silent else ())]
        yield {"verb": "probed", "got": got, "drops": drops}

    def _end_probe(self) -> None:
        if self._probed is not None:
            self._probed.close()
            self._probed = None

    def _apply(self, message: Message) -> Iterator[Message]:
        step = field(message, "step", str)
        if step not in STEPS:
            raise BadMessage(f"there is no step {step[:40]!r}")
        try:
            count = self._current(message).apply(step)
        except BaseException:
            self.transaction = None
            raise
        yield {"verb": "applied", "step": step, "n": count}

    def _commit(self, message: Message) -> Iterator[Message]:
        """Commit; also what an earlier agent applied that ended before the decision."""
        if self.transaction is not None:
            transaction, self.transaction = self._current(message), None
            transaction.commit()
            yield {"verb": "committed", "generation": transaction.order.generation}
            return
        name = _name_in(message)
        with locked_fabric(name, self._where), opened_store(self._where) as store:
            part = store.part(name)
            if part is None or part.transaction != field(message, "transaction", str):
                undecided = json.loads(part.undecided) if part and part.undecided else {}
                if undecided.get("transaction") != message["transaction"]:
                    raise NetfabError("this was never applied here: its lock ran out", hint="apply again")
                decide(order_of(undecided), store, self._where)
        yield {"verb": "committed"}

    def _rollback(self, message: Message) -> Iterator[Message]:
        """Roll back. No transaction is fine: a failed step or a lock timeout has rolled it back already."""
        if self.transaction is not None:
            transaction, self.transaction = self._current(message), None
            transaction.rollback(ApplyFailed(field(message, "why", str)))
        yield {"verb": "rolled_back"}

    def _current(self, message: Message) -> Transaction:
        wanted = field(message, "transaction", str)
        if self.transaction is None or self.transaction.order.transaction != wanted:
            raise BadMessage(f"transaction {wanted[:40]!r} is not prepared here, or its lock ran out")
        return self.transaction

    def _hold(self, _: Message) -> Iterator[Message]:
        """Keep-alive: the controller is waiting for other hosts. No answer."""
        return iter(())

    def _ready(self, message: Message) -> Iterator[Message]:
        """Answer once every program of the fabric on this host is ready."""
        name = _name_in(message)
        with opened_store(self._where) as store, opened_host(name, self._where) as host:
            record = store.record(name)
            if record is not None:
                host.wait_ready(Fabric.from_json(record.desired, KINDS))
        yield {"verb": "ready"}

    def _call(self, message: Message) -> Iterator[Message]:
        """Call a function of the API that concerns one host only."""
        function = FUNCTIONS.get(field(message, "function", str))
        if function is None:
            raise BadMessage(f"there is no function {message['function'][:40]!r}")
        yield {"verb": "returned", "value": function(field(message, "arguments", dict), self._where)}

    def _lack(self, message: Message) -> Iterator[Message]:
        """Which images are missing here; nothing is pruned until they are unpacked."""
        from netfab.images.locks import using
        from netfab.images.receive import lacking

        self._end_handing()
        images = [_digest(one) for one in field(message, "images", list)]
        with ExitStack() as closing:
            closing.enter_context(using(self._where))
            lacks = lacking(self._where, images)
            if lacks:
                self._handed = closing.pop_all(), set(lacks)
        yield {"verb": "lacks", "images": lacks}

    def _take(self, message: Message) -> Iterator[Message]:
        """Store a piece of a blob."""
        from netfab.images.manifests import Descriptor
        from netfab.images.receive import receive

        blob = Descriptor(_digest(message.get("digest")), field(message, "size", int))
        try:
            data = b64decode(field(message, "data", str), validate=True)
        except ValueError as error:
            raise BadMessage("this is not a piece of a blob") from error
        yield {"verb": "has", "have": receive(self._where, blob, field(message, "start", int), data)}

    def _unpack(self, message: Message) -> Iterator[Message]:
        """Unpack an image whose blobs have all arrived."""
        from netfab.images.receive import unpack_received

        names = [name for name in field(message, "names", list) if isinstance(name, str)]
        image = unpack_received(self._where, _digest(message.get("manifest")), names)
        if self._handed is not None:
            self._handed[1].discard(image)
            if not self._handed[1]:
                self._end_handing()
        yield {"verb": "unpacked", "image": image}

    def _end_handing(self) -> None:
        if self._handed is not None:
            (closing, _), self._handed = self._handed, None
            closing.close()

    def _logs(self, message: Message) -> Iterator[Message]:
        from netfab.nodes.by_name import logs

        nodes, follow = map(str, field(message, "nodes", list)), field(message, "follow", bool)
        for node, line in logs(nodes, self._where, message.get("lines"), follow):
            yield {"verb": "line", "node": node, "text": line.decode("utf-8", "surrogateescape")}
        yield {"verb": "ended"}

    def _trace(self, message: Message) -> Iterator[Message]:
        """Trace which rules drop matching packets, from the answer on until `traced`."""
        from netfab.remote.asking import Traced

        self._end_trace()
        self._traces = Traced(_name_in(message), message, self._where)
        yield {"verb": "tracing"}

    def _traced(self, message: Message) -> Iterator[Message]:
        """The drops that the trace saw."""
        if self._traces is None:
            raise BadMessage("nothing is traced here")
        ends = self._traces.ends()
        self._end_trace()
        yield {"verb": "traced", "ends": ends}

    def _end_trace(self) -> None:
        if self._traces is not None:
            self._traces.close()
            self._traces = None

    def _copy_out(self, message: Message) -> Iterator[Message]:
        """Send what is copied from a node, part by part."""
        from netfab.nodes.copying import read_in_node
        from netfab.remote.copies import said

        for part in read_in_node(field(message, "node", str), field(message, "path", str), self._where):
            yield {"verb": "line", "part": said(part)}
        yield {"verb": "ended"}

    def _copy_in(self, message: Message) -> Iterator[Message]:
        """Open the destination in a node for the `parts` that follow."""
        from netfab.nodes.copying import writer_in_node

        self._end_copy()
        node, path, name = (field(message, key, str) for key in ("node", "path", "name"))
        with ExitStack() as closing:
            writer = closing.enter_context(writer_in_node(node, path, name, self._where))
            self._copy = closing.pop_all(), writer
        yield {"verb": "writes"}

    def _parts(self, message: Message) -> Iterator[Message]:
        """Write them; the answer to the last ones lists what was left out."""
        from netfab.remote.copies import part_of

        if self._copy is None:
            raise BadMessage("nothing is copied here")
        last = message.get("last") is True
        (closing, writer), self._copy = self._copy, None
        with closing:
            for words in field(message, "parts", list):
                writer.take(part_of(words))
            left_out = writer.finish() if last else []
            if not last:
                self._copy = closing.pop_all(), writer
        yield {"verb": "written", "left_out": left_out}

    def _end_copy(self) -> None:
        if self._copy is not None:
            (closing, _), self._copy = self._copy, None
            closing.close()

    def _capture(self, message: Message) -> Iterator[Message]:
        """Send frames as they are captured, until the controller disconnects."""
        from netfab.nodes.by_name import capture

        node, interface, filter = (field(message, key, str) for key in ("node", "interface", "filter"))
        for heard in capture(node, interface, filter, self._where):
            frames = [[*each[:-1], each.data.hex()] for each in heard.frames]
            yield {"verb": "line", "frames": frames, "lost": heard.lost}
        yield {"verb": "ended"}


_WHILE_PROBED = ("listen", "probe", "hold")
_PEER = decoder(Peer)


def _name_in(message: Message) -> str:
    """The fabric's name, validated since it becomes part of paths. Raises BadMessage."""
    try:
        return grammar.name(field(message, "fabric", str))
    except grammar.Wrong as wrong:
        raise BadMessage(f"this is not a fabric's name: {wrong}") from wrong


def _digest(found: object) -> str:
    """A digest of an image or blob, validated since it becomes part of paths. Raises BadMessage."""
    if not isinstance(found, str) or not re.fullmatch(ID, found):
        raise BadMessage(f"this is not a digest: {repr(found)[:80]}")
    return found


def _tunnel_mtus(record: Record | None) -> dict[str, int]:
    """MTUs of tunnels by device, as last applied."""
    if record is None or not Fabric.mentioned(record.desired, Vxlan.__name__):
        return {}
    tunnels = Fabric.from_json(record.desired, [Vxlan]).values()
    return {thing.end.link.text: thing.end.mtu for thing in tunnels}


def _read(path: str) -> str:
    with open(path) as file:
        return file.read().strip()
