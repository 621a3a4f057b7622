"""start, stop, restart, kill, pause and unpause of nodes, and what the other commands say of it then."""

from __future__ import annotations

import json

import pytest
from lab import SUPERVISORS, Lab
from machine import differences
from traffic import answer

SERVER = (
    "import signal, socket, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); "
    "s = socket.create_server(('', 80)); [s.accept()[0].send(b'hello') for _ in iter(int, 1)]"
)
FILE = f"""\
name: shop
networks: {{lan: {{subnet: 10.1.0.0/24}}}}
nodes:
  web:
    networks: {{lan: {{ip: 10.1.0.10}}}}
    command: [python3, -c, "{SERVER}"]
    ready: tcp/80
    restart: always
  nap: {{networks: {{lan: {{ip: 10.1.0.11}}}}, command: [sleep, '1000']}}
  client: {{networks: [lan]}}
"""


@pytest.fixture
def shop(lab: Lab) -> Lab:
    lab.write(FILE)
    lab.netfab("apply")
    return lab


def program(lab: Lab, node: str) -> tuple[str, int | None]:
    """State and exit code, by `ps -a`."""
    (found,) = (
        one for one in json.loads(lab.netfab("ps", "-a", "-o", "json").out)["nodes"] if one["node"] == node
    )
    return found["state"], found["exit_code"]


def test_a_stopped_node_stays_stopped_whatever_its_policy_and_its_network_stays(shop: Lab) -> None:
    assert shop.netfab("stop", "web", "shop/nap").out == "web\nshop/nap\n"

    assert (program(shop, "web"), program(shop, "nap")) == (("stopped", 7), ("stopped", 137))
    assert shop.netfab("ps", "-o", "json").json["nodes"] == []
    status = shop.netfab("status", "-o", "json").json["nodes"]["web"]
    assert (status["state"], status["ready"], status["pid"]) == ("stopped", False, None)
    assert shop.netfab("stop", "web").out == "web\n"
    assert "10.1.0.10/24" in shop.shell("ip -n shop.web address show eth0")


def test_a_stop_is_no_drift_and_outlives_the_supervisor_and_reconcile(shop: Lab) -> None:
    shop.netfab("stop", "web")
    shop.kill(SUPERVISORS)

    shop.netfab("reconcile")

    drift = shop.netfab("drift")
    assert program(shop, "web") == ("stopped", 7)
    assert drift.out.startswith("No changes.")
    assert drift.err == "warning: web is stopped and stays so until `netfab start shop/web`\n"


def test_a_node_that_is_made_anew_while_it_is_stopped_stays_stopped(shop: Lab) -> None:
    shop.netfab("stop", "web")
    shop.shell("umount -l /run/netns/shop.web; rm /run/netns/shop.web")

    shop.netfab("reconcile")

    assert program(shop, "web")[0] == "stopped"
    assert shop.netfab("drift").out.startswith("No changes.")
    shop.netfab("start", "web")
    assert answer(shop, "shop.client", "10.1.0.10") == "hello"


@pytest.mark.parametrize(("verb", "state"), [("stop", "stopped"), ("pause", "paused")])
def test_apply_puts_back_what_was_stopped_or_paused_and_says_so(shop: Lab, verb: str, state: str) -> None:
    shop.netfab(verb, "web")

    assert f"~ container web: state {state} -> running" in shop.netfab("diff", code=2).out
    (change,) = shop.netfab("apply", "-o", "json").json["changes"]

    assert (change["name"], change["why"]) == ("web", f"state {state} -> running")
    assert answer(shop, "shop.client", "10.1.0.10") == "hello"
    assert shop.netfab("diff").out.startswith("No changes.")


def test_an_apply_that_fails_leaves_stopped_and_paused_nodes_as_they_were(shop: Lab) -> None:
    shop.netfab("stop", "web")
    shop.netfab("pause", "nap")
    shop.write(FILE + "  bad: {mode: none, command: 'exit 3', ready: tcp/1, depends_on: [web]}\n")

    shop.netfab("apply", code=1)

    assert (program(shop, "web")[0], program(shop, "nap")[0]) == ("stopped", "paused")


def test_a_program_that_crashed_is_started_by_apply_and_an_apply_that_fails_is_undone(lab: Lab) -> None:
    crashed = (
        "name: x\nnodes:\n  a: {mode: none, command: 'test -e /again && sleep 1000; touch /again; exit 3'}\n"
    )
    lab.write(crashed)
    lab.netfab("apply")
    lab.run(*lab.words("logs", "-f", "a"))

    lab.write(crashed + "  b: {mode: none, command: 'exit 3', ready: tcp/1}\n")
    failed = lab.netfab("apply", code=1)
    lab.write(crashed)
    lab.netfab("apply")

    assert "undoing it failed" not in failed.err
    assert program(lab, "a") == ("running", None)


def test_start_returns_when_the_node_is_ready_and_keeps_what_it_wrote(shop: Lab) -> None:
    shop.netfab("exec", "web", "touch", "/kept")
    shop.netfab("stop", "web")

    assert shop.netfab("start", "web").out == "web\n"

    assert answer(shop, "shop.client", "10.1.0.10") == "hello"
    shop.netfab("exec", "web", "test", "-e", "/kept")
    assert shop.netfab("diff").out.startswith("No changes.")


def test_restart_makes_a_new_process_in_the_same_namespace(shop: Lab) -> None:
    before, namespace = shop.pid_of("web"), shop.shell("stat -c %i /run/netns/shop.web")

    shop.netfab("restart", "web")

    assert shop.pid_of("web") != before
    assert shop.shell("stat -c %i /run/netns/shop.web") == namespace
    assert answer(shop, "shop.client", "10.1.0.10") == "hello"
    assert shop.netfab("drift").out.startswith("No changes.")


def test_kill_ends_a_program_for_good_and_then_says_that_it_does_not_run(shop: Lab) -> None:
    shop.netfab("kill", "web")
    while program(shop, "web")[0] == "running":
        continue

    assert program(shop, "web") == ("stopped", 137)
    assert "web does not run: it is stopped" in shop.netfab("kill", "web", code=1).err


def test_kill_sends_the_signal_that_is_named(shop: Lab) -> None:
    shop.netfab("kill", "-s", "sigterm", "web")
    while program(shop, "web")[0] == "running":
        continue

    assert program(shop, "web") == ("stopped", 7)
    assert "there is no signal NONE" in shop.netfab("kill", "-s", "NONE", "nap", code=2).err


def test_a_paused_node_is_shown_and_is_unpaused_by_name(shop: Lab) -> None:
    shop.netfab("pause", "web", "nap")

    assert program(shop, "web") == ("paused", None)
    assert shop.netfab("status", "-o", "json").json["nodes"]["web"]["ready"] is False
    assert "netfab unpause web" in shop.netfab("exec", "web", "true", code=1).err
    assert "netfab unpause web" in shop.netfab("start", "web", code=1).err
    assert shop.netfab("drift").out.startswith("No changes.")
    shop.netfab("unpause", "web")
    assert answer(shop, "shop.client", "10.1.0.10") == "hello"


def test_destroy_ends_what_is_paused_and_what_is_stopped(lab: Lab) -> None:
    before = lab.state()
    lab.write(FILE)
    lab.netfab("apply")
    lab.netfab("pause", "web")
    lab.netfab("stop", "nap")

    lab.netfab("destroy")

    assert differences(before, lab.state()) == []


def test_what_can_not_be_done_to_one_node_is_done_to_the_others_which_are_named(shop: Lab) -> None:
    refused = shop.netfab("stop", "web", "client", "nobody", code=1)

    assert refused.out == "web\n"
    assert "client runs no program" in refused.err
    assert "there is no node nobody" in refused.err
    assert program(shop, "web")[0] == "stopped"
    assert shop.netfab("kill", "web", "nap", code=1).out == "nap\n"
