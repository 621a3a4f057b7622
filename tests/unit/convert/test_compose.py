"""compose files become topologies that load and plan, and what is not in them is named with its line."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from converted import left, loaded, planned
from damage import damaged
from hypothesis import given
from hypothesis import strategies as st

from netfab.convert.compose import compose
from netfab.convert.draft import Converted
from netfab.errors import NetfabError
from netfab.topology.schema import ContainerMode, HostGateway, Ready

VOTING = """\
version: "3.8"
name: Voting_App
x-logging: &logging
  driver: json-file
services:
  vote_web:
    build: ./vote
    image: dockersamples/examplevotingapp_vote:${TAG}
    command: python app.py --bind "0.0.0.0:80"
    depends_on:
      redis: {condition: service_healthy}
    healthcheck:
      test: ["CMD", "curl", "-f", "http://localhost"]
      interval: 15s
    volumes: ["./vote:/usr/local/app", "cache:/cache"]
    ports: ["5000-5001:80", "9229"]
    networks: [front-tier, back-tier]
    logging: *logging
    deploy: {replicas: 2, resources: {limits: {memory: 64m, cpus: "0.5"}, reservations: {memory: 20M}}}
  redis:
    image: redis:alpine
    healthcheck: {test: redis-cli ping}
    networks: {back-tier: {ipv4_address: 172.30.0.9, aliases: [cache]}}
    environment: [A=1, FOO]
    restart: unless-stopped
    user: "1000:1000"
    mem_limit: 1k
  db:
    image: postgres:15-alpine
    environment: {POSTGRES_USER: postgres, POSTGRES_PASSWORD: "pa$$word"}
    ports: [{target: 5432, published: "5432", host_ip: 127.0.0.1, protocol: tcp, mode: host}]
  sidecar: {image: busybox, network_mode: "service:redis", read_only: true, init: true}
networks:
  front-tier: {}
  back-tier:
    internal: true
    driver: bridge
    ipam: {driver: default, config: [{subnet: 172.30.0.0/24, gateway: 172.30.0.1}]}
volumes: {cache: {}}
"""
WORDPRESS = """\
services:
  db:
    image: mariadb:10.6.4-focal
    command: '--default-authentication-plugin=mysql_native_password'
    volumes: [db_data:/var/lib/mysql]
    restart: always
    environment: [MYSQL_ROOT_PASSWORD=somewordpress, MYSQL_DATABASE=wordpress]
    expose: [3306, 33060]
  wordpress:
    image: wordpress:latest
    ports: [80:80]
    restart: always
    environment: [WORDPRESS_DB_HOST=db]
volumes:
  db_data:
"""
LARGE = "services:\n" + "".join(
    f"  svc{n}:\n    image: busybox\n    networks: [tier{n % 7}]\n    ports: ['{9000 + n}:80']\n"
    f"    depends_on: [svc{n - 1}]\n"
    if n
    else "  svc0: {image: busybox, networks: [tier0]}\n"
    for n in range(120)
)


def converted(text: str, **environ: str) -> Converted:
    return compose(text.encode(), "compose.yaml", "shop", environ)


def test_services_become_nodes() -> None:
    found = planned(converted(VOTING, TAG="v2"))

    assert list(found.nodes) == ["vote-web-1", "vote-web-2", "redis", "db", "sidecar"]
    assert list(found.networks) == ["front-tier", "back-tier", "default"]
    web, redis, db = (found.nodes[name] for name in ("vote-web-1", "redis", "db"))
    assert web.image.endswith(":v2")
    assert web.command == ("python", "app.py", "--bind", "0.0.0.0:80")
    assert web.depends_on == ("redis",)
    assert web.memory == 64 << 20
    assert web.mounts[0].source == "/lab/vote"
    assert [each.host_port for each in found.nodes["vote-web-2"].publish] == [5001]
    assert isinstance(web.ready[0], Ready)
    assert str(redis.attachments[0].port.addresses[0].ip) == "172.30.0.9"
    assert dict(db.env)["POSTGRES_PASSWORD"] == "pa$word"
    assert str(db.publish[0].host_address) == "127.0.0.1"
    assert found.nodes["sidecar"].mode == ContainerMode("redis")
    assert found.nodes["sidecar"].read_only
    assert found.nodes["sidecar"].init
    assert found.networks["back-tier"].internal
    assert found.networks["back-tier"].gateway == HostGateway((IPv4Address("172.30.0.1"),))


def test_what_is_not_carried_over_is_named_with_its_line() -> None:
    assert left(converted(VOTING)) == {
        "name": "2: the fabric is called voting-app here",
        "services.vote_web": "6: the node is called vote-web here",
        "services.vote_web.build": "7: not carried over: build the image, and name it in `image`",
        "": "8: ${TAG} is not set, and empty here",
        "services.vote_web.image": "8: not carried over: "
        "`dockersamples/examplevotingapp_vote:`: `` is not a tag",
        "services.vote_web.healthcheck.interval": "14: not carried over: "
        "`ready` is tried until it holds, `within` a time",
        "services.vote_web.volumes[1]": "15: not carried over: "
        "mounts are of paths of the host: `./data:/data`",
        "services.vote_web.ports[1]": "16: not carried over: write the host's port: `8080:9229`",
        "services.vote_web.logging": "18: not carried over: `netfab logs` shows the output",
        "services.vote_web.deploy.resources.reservations": "19: not carried over",
        "services.redis.networks.back-tier.aliases": "23: not carried over: "
        "a node is found by its own name only",
        "services.redis.environment[1]": "24: not carried over: its value is the shell's; write `${NAME}`",
        "services.redis.mem_limit": "27: not carried over: "
        "`1k` is too little to start a program; write `6m` or more",
        "networks.back-tier.ipam.driver": "38: not carried over",
        "volumes": "39: not carried over",
    }


def test_a_file_without_networks_has_one_that_all_are_on() -> None:
    found = planned(converted(WORDPRESS))

    assert list(found.networks) == ["default"]
    assert all(len(node.attachments) == 1 for node in found.nodes.values())


def test_a_file_of_many_services_is_converted_whole() -> None:
    result = converted(LARGE)

    assert len(planned(result).nodes) == 120
    assert result.left == ()


@pytest.mark.parametrize(
    ("service", "path", "reason"),
    [
        ("{ports: ['80:80', '1:99999']}", "services.a.ports[1]", "`99999` is not a number from 1 to 65535"),
        ("{depends_on: [nobody]}", "services.a.depends_on[0]", "there is no node `nobody`"),
        ("{network_mode: bridge}", "services.a.network_mode", ""),
        ("{network_mode: host}", "services.a.network_mode", ""),
        ("{command: 'echo \"'}", "services.a.command", "No closing quotation"),
        ("{ports: {a: b}}", "services.a.ports", "a list is expected here"),
        ("[]", "services.a", "a map is expected here"),
        ("{sysctls: {kernel.panic: 1}}", "services.a.sysctls.kernel.panic", "is not a node's own"),
        ("{hostname: a_b}", "services.a.hostname", "is not a hostname"),
    ],
)
def test_what_netfab_refuses_is_left_out_with_the_reason(service: str, path: str, reason: str) -> None:
    found = converted(f"services:\n  a: {service}\n  b: {{image: x}}\n")

    assert {"b"} <= set(planned(found).nodes)
    assert reason in left(found)[path]
    assert left(found)[path].startswith("2: ")


def test_names_that_would_become_one_stay_two() -> None:
    found = planned(converted("services: {a_b: {}, a-b: {}, host: {}, web: {networks: [web]}}"))

    assert list(found.nodes) == ["a-b", "a-b-2", "host-2", "web"]
    assert "web" not in found.networks


@pytest.mark.parametrize("text", ["[]", "a", "", "services: {", "\xff"])
def test_what_is_no_such_file_is_said(text: str) -> None:
    with pytest.raises(NetfabError):
        compose(text.encode("latin-1"), "compose.yaml", "x", {})


@given(st.integers(), st.sampled_from([VOTING, WORDPRESS, LARGE[:900]]))
def test_a_damaged_file_gives_no_traceback_and_what_it_gives_loads(seed: int, text: str) -> None:
    said = ""
    found = None
    try:
        found = compose(damaged(text, seed), "compose.yaml", "shop", {})
    except NetfabError as error:
        said = str(error)

    assert found is None or loaded(found)
    assert said == "" or said.replace("\n", "").isprintable()
