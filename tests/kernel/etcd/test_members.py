"""Members that die, hang, or are cut off, and what is no etcd as it should be: one error that says which."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from certificates import make_authority
from etcd_cluster import Cluster, Place, cluster, wait_until_it_answers
from far import Far, far_hosts, lone_host

from netfab.errors import LeaseConflict, StoreError, StoreUnreachable
from netfab.plan.leases import Lease
from netfab.store import etcd, etcd_lock
from netfab.store.book import Book, Entry
from netfab.store.etcd import Client, put, read
from netfab.store.etcd_wire import Refused, Wire
from netfab.store.shared import SharedBook
from netfab.topology.schema import Etcd

KEY = "/netfab/x"


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A member that hangs is soon passed over."""
    monkeypatch.setattr(etcd, "ATTEMPT", 0.5)


@pytest.fixture
def impatient(hasty: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what can't be had is soon given up."""
    monkeypatch.setattr(etcd, "PATIENCE", 2.0)


@pytest.fixture
def net(sandbox: None) -> Iterator[Far]:
    with lone_host() as made, made.inside():
        yield made


@pytest.fixture
def three(net: Far) -> Iterator[Cluster]:
    with cluster(*(Place(f"127.0.0.{number}", net.enter) for number in (1, 2, 3))) as made:
        wait_until_it_answers(Client(made.store), made)
        yield made


def test_one_member_that_is_dead_and_one_that_hangs_are_passed_over(three: Cluster, hasty: None) -> None:
    client = Client(three.store)
    client.transact((), [put(KEY, "before")])
    three.kill(1)
    client.transact((), [put(KEY, "one is dead")])
    three.start(1)
    three.wait_for(1)

    three.signal(2, signal.SIGSTOP)
    client.transact((), [put(KEY, "one hangs")])

    assert client.transact((), [read(KEY)]).found[0].value == "one hangs"
    three.signal(2, signal.SIGCONT)


def test_without_most_of_its_members_each_is_named_with_what_it_says(three: Cluster, impatient: None) -> None:
    three.kill(1)
    three.kill(2)

    with pytest.raises(StoreUnreachable) as caught:
        Client(three.store).transact((), [read(KEY)])

    told = caught.value.message
    assert "127.0.0.1:2379: Connection refused; 127.0.0.2:2379: Connection refused; 127.0.0.3:2379: " in told
    assert "more than half of the members" in caught.value.hint


def test_where_nobody_listens_it_is_told_at_once(net: Far) -> None:
    began = monotonic()

    with pytest.raises(StoreUnreachable, match=r"127\.0\.0\.1:2379: Connection refused"):
        Client(Etcd(("127.0.0.1:2379",))).transact((), [read(KEY)])

    assert monotonic() - began < etcd.ATTEMPT


def test_a_cut_network_that_heals_leaves_no_lease_doubled(
    sandbox: None, hasty: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The controller that is cut off, with one member, wants the same subnet as one with the other two."""
    lan = Lease("subnet", "lan/4", "10.1.0.0/24")

    def claim(store: Etcd, fabric: str) -> None:
        client = Client(store)
        with etcd_lock.held(client, f"/netfab/locks/{fabric}", 10, lambda _: None) as lock:
            book = SharedBook(client, Book(f"{tmp_path}/{fabric}"), lock)
            before = book.entry(fabric)
            book.begin(Entry(fabric, "", 0, {"h": ""}, 1, "t", {"nodes": {}}, frozenset({lan})), before)

    with (
        far_hosts("m1", "m2", "m3") as fars,
        cluster(*(Place(far.address, far.enter) for far in fars.values())) as made,
    ):
        wait_until_it_answers(Client(made.store), made)
        alone = made.store._replace(endpoints=(f"{fars['m3'].address}:2379",))
        subprocess.run(["ip", "link", "set", "to-m3", "nomaster"], check=True)

        with monkeypatch.context() as patched:
            patched.setattr(etcd, "PATIENCE", 2.0)
            cut_off = fars["m3"].call(lambda: outcome(lambda: claim(alone, "cut")))
        claim(made.store, "free")
        subprocess.run(["ip", "link", "set", "to-m3", "master", "wire"], check=True)
        made.wait_for(3)
        healed = fars["m3"].call(lambda: outcome(lambda: claim(alone, "cut")))

    assert (cut_off, healed) == (StoreUnreachable.__name__, LeaseConflict.__name__)


def outcome(job: Callable[[], object]) -> str:
    try:
        job()
    except StoreError as error:
        return type(error).__name__
    return "done"


def test_what_is_no_etcd_is_told_with_the_version_that_is_needed(net: Far, tmp_path: Path) -> None:
    server = subprocess.Popen(
        [sys.executable, "-m", "http.server", "2379", "--directory", str(tmp_path)],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        end = monotonic() + 30
        while True:
            try:
                Client(Etcd(("127.0.0.1:2379",))).transact((), [read(KEY)])
            except StoreUnreachable:
                assert monotonic() < end
            except StoreError as error:
                told = error.message
                break
    finally:
        server.kill()
        server.wait()

    assert "127.0.0.1:2379 refuses: it is not an etcd of version 3.4 or newer, and answers 501" in told


def test_members_that_all_hang_up_as_they_lose_their_leader_are_asked_again(
    three: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, asked = Wire.ask, []

    def ask(wire: Wire, *said: Any) -> Any:
        asked.append(wire.endpoint)
        if len(asked) <= 3:
            raise ConnectionResetError("Connection reset by peer")
        return real(wire, *said)

    monkeypatch.setattr(Wire, "ask", ask)

    assert Client(three.store).transact((), [put(KEY, "after")]).done

    assert len(set(asked[:3])) == 3
    assert len(asked) == 4


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    return make_authority(tmp_path, "127.0.0.1")


def test_tls_with_certificates_of_both_ends_and_what_is_said_where_they_are_wrong(
    net: Far, authority: Path, impatient: None
) -> None:
    paths = {name: str(authority / f"{name}.pem") for name in ("ca", "other", "server", "client")}
    more = ("--cert-file", paths["server"], "--key-file", str(authority / "server.key"),
            "--trusted-ca-file", paths["ca"], "--client-cert-auth")  # fmt: skip
    with cluster(Place("127.0.0.1", net.enter), scheme="https", more=more) as made:
        right = made.store._replace(
            tls=True, ca=paths["ca"], cert=paths["client"], key=str(authority / "client.key")
        )
        wait_until_it_answers(Client(right), made)
        wrong = {
            "plain": made.store,
            "another authority": right._replace(ca=paths["other"]),
            "no certificate": right._replace(cert="", key=""),
            "no file": right._replace(ca="/nowhere.pem"),
        }

        told = {name: refusal(store) for name, store in wrong.items()}

    assert "127.0.0.1:2379: it closed the connection without an answer; one that speaks TLS" in told["plain"]
    assert "127.0.0.1:2379: its certificate is not trusted: " in told["another authority"]
    assert "127.0.0.1:2379: TLS failed: " in told["no certificate"]
    assert "the store's certificates (/nowhere.pem, " in told["no file"]


def test_tls_with_who_speaks_none_is_told(three: Cluster, impatient: None) -> None:
    said = refusal(three.store._replace(tls=True))

    assert re.search("127.0.0.1:2379: (TLS failed: |Connection reset by peer)", said)  # whichever comes first


def test_who_speaks_no_http_is_told_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet_once() -> None:
            with server.accept()[0] as caller:
                caller.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
                caller.recv(1 << 16)

        greeter = threading.Thread(target=greet_once)
        greeter.start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        said = refusal(Etcd((address,)))  # a second attempt would not be answered
        greeter.join()

    assert f"{address}: its answer is not HTTP; one that speaks TLS" in said


def test_an_answer_that_is_cut_as_its_member_dies_is_asked_for_again() -> None:
    whole = b'{"header": {"revision": "7"}, "succeeded": true}'
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(whole)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer_twice() -> None:
            for body in (whole[:20], whole):
                with server.accept()[0] as caller:
                    caller.recv(1 << 16)
                    caller.sendall(head + body)

        member = threading.Thread(target=answer_twice, daemon=True)
        member.start()
        client = Client(Etcd((f"127.0.0.1:{server.getsockname()[1]}",)))
        reply = client.transact((), [read(KEY)])
        client.close()
        member.join()

    assert (reply.done, reply.revision) == (True, 7)


def refusal(store: Etcd) -> str:
    with pytest.raises(StoreError) as caught:
        Client(store).transact((), [read(KEY)])
    return f"{caught.value.message}\n{caught.value.hint}"


def test_a_user_with_a_password_reads_and_writes_what_its_role_has(net: Far, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("secret\n")
    with cluster(Place("127.0.0.1", net.enter)) as made:
        anybody = Client(made.store)
        wait_until_it_answers(anybody, made)
        _enable_users(anybody)
        bob = made.store._replace(user="bob", password_file=str(password))

        client = Client(bob)
        client.transact((), [put(KEY, "bob's")])
        client._token = "gone.1"  # as one is after five minutes
        assert client.transact((), [read(KEY)]).found[0].value == "bob's"

        assert "write who you are" in refusal(made.store)
        with pytest.raises(StoreError, match="permission denied"):
            client.transact((), [put("/elsewhere", "")])
        password.write_text("wrong\n")
        assert "invalid user ID or password" in refusal(bob)
        assert f"password of etcd://bob@127.0.0.1:2379?password-file={os.fspath(tmp_path)}/none" in refusal(
            bob._replace(password_file=f"{tmp_path}/none")
        )


def _enable_users(client: Client) -> None:
    """bob may do all below /netfab/."""
    for verb, words in (
        ("user/add", {"name": "root", "password": "root"}),
        ("role/add", {"name": "root"}),
        ("user/grant", {"user": "root", "role": "root"}),
        ("user/add", {"name": "bob", "password": "secret"}),
        ("role/add", {"name": "netfab"}),
        ("role/grant", {"name": "netfab", "perm": {
            "permType": "READWRITE", "key": etcd._bytes("/netfab/"), "range_end": etcd._bytes("/netfab0")}}),
        ("user/grant", {"user": "bob", "role": "netfab"}),
        ("enable", {}),
    ):  # fmt: skip
        client._call(f"auth/{verb}", words)


def test_a_member_that_was_started_anew_is_asked_over_a_new_connection(net: Far) -> None:
    with cluster(Place("127.0.0.1", net.enter)) as made:
        client = Client(made.store)
        wait_until_it_answers(client, made)
        client.transact((), [put(KEY, "kept")])
        made.kill(1)
        made.start(1)
        made.wait_for(1)

        assert client.transact((), [read(KEY)]).found[0].value == "kept"


def test_members_that_have_no_leader_are_asked_until_there_is_one(
    three: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, asked = Wire.ask, []

    def ask(wire: Wire, *said: Any) -> Any:
        asked.append(wire.endpoint)
        if len(asked) <= 6:
            raise Refused(wire.endpoint, "etcdserver: no leader", 14)
        return real(wire, *said)

    monkeypatch.setattr(Wire, "ask", ask)
    Client(three.store).transact((), [put(KEY, "written")])

    assert asked[:3] == asked[3:6] == list(three.store.endpoints)
