"""What the tests of topology/ share: a file with every key, and how to load and compare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from netfab.errors import Location
from netfab.topology.load import load
from netfab.topology.schema import Places, Topology

TOPOLOGIES = Path(__file__).parents[3] / "topologies"

EVERY_KEY = """\
name: shop
pools: [10.0.0.0/8, {prefix: 172.16.0.0/12, size: 26}]
avoid: [10.8.0.0/16]
defaults: {image: host, mtu: auto, ipv6: false}
kinds:
  server: {command: [python3, -m, http.server, "80"], env: {LANG: C}}
store: "etcd://h1:2379,h2:2379,h3:2379"
include: [base.yaml]
networks:
  front: {}
  back:
    bridge: br0
    subnet: 192.168.115.0/24
    ipv6: false
    gateway: host
    range: 192.168.115.64/26
    internal: true
    isolated: true
    masquerade: false
    mtu: auto
    external: true
    uplink: {h1: eth0, h2: enp3s0}
    hosts: [h1, h2]
    vxlan: {vni: 42, port: 4789, control: static}
    encrypt: true
    spoof: deny
    delay: 5ms
  far: {external: other/net}
  six: {ipv6: only, gateway: hub}
  outside: {subnet: 10.77.0.0/24, gateway: {external: 10.77.0.254}}
nodes:
  web:
    kind: server
    image: host
    entrypoint: []
    mode: bridge
    networks:
      front: {ip: 10.1.2.3, rate: 100mbit}
    publish: ["8080:80", "127.0.0.1:5353:53/udp", "[::]:7000-7001:7000-7001"]
    routes: ["10.9.0.0/16 via hub", "default via 10.0.0.1 dev eth1 metric 50", blackhole 10.99.0.0/16]
    forward: true
    loopback: true
    env: {A: b, x-y: c}
    mounts: ["./a:/b:ro"]
    devices: [/dev/net/tun]
    hostname: web
    user: root
    workdir: /srv
    read_only: true
    init: true
    sysctls: {net.ipv4.ip_forward: 1}
    cap_add: [NET_ADMIN]
    cap_drop: [cap_chown]
    memory: 64m
    cpus: 0.5
    pids: 100
    restart: on-failure:3
    dns: [db, 10.0.0.53]
    files:
      /etc/app.conf: {content: "addr={ip:front} peer={peer:eth0}\\n"}
      /etc/b: {source: ./app.conf, mode: 0600, owner: "1:2"}
    exec: [["ip", "route"], "ip link | cat"]
    ready: [{http: ":80/health", within: 5s}, {exec: [test, -e, /x]}, {log: "^up"}]
    depends_on: [db]
    runs_on: h1
  hub:
    image: ./hub-root
    networks:
      - back: {ip: 192.168.115.7/24, mac: "02:00:00:00:00:01", allow: [10.0.0.9, "02:00:00:00:00:09"]}
      - front
      - front
    routes: none
  db:
    networks: {back: {ip: dhcp}, front: {name: eth0.7, mtu: 1400, gateway: true}}
    ready: tcp/80
    loopback: [10.255.0.1, "fd00::1"]
  w:
    scale: 3
    networks: [front]
    hostname: "w{n}"
    publish: ["9000-9002:80", "9100-9105:80-81"]
    depends_on: db
    restart: always
  leaf1..4: {networks: [front], env: {N: "{n}"}}
  legacy: {attach: "docker:legacy-db", networks: {back: {ip: 192.168.115.9}}}
  side: {mode: container:db, command: "echo $$HOME", image: registry.example/side:1}
  alone: {mode: none, command: none}
  hosted: {mode: host, command: [sleep, infinity]}
links:
  - [web:eth5, db:eth5]
  - {endpoints: [hub, {node: db, name: eth1, ip: 10.0.0.1/31}], delay: 20ms, loss: 1%, cost: 10}
  - {between: [leaf1..2, leaf3..4], subnet: none}
  - [hub, host:eth9]
hosts:
  h1: {address: 192.0.2.11, ssh: root@192.0.2.11, reflector: true}
  h2: {}
checks:
  - web reaches db on tcp/5432 within 2s
  - legacy does not reach w
"""


def load_text(
    text: str | bytes, environ: dict[str, str] | None = None, name: str | None = None, file: str = "t.yaml"
) -> Topology:
    """The Topology of a text, as if it were the file t.yaml in /lab."""
    raw = text.encode() if isinstance(text, str) else text
    return load(raw, file, "/lab", environ or {}, name, lambda _: b"{}")


def without_places(value: Any) -> Any:
    """A topology to be compared with another's: types and values, and not where they are written."""
    if isinstance(value, Topology):
        value = value._replace(reserved=tuple(sorted({each.key for each in value.reserved})))
    if isinstance(value, Places | Location):
        return None
    if isinstance(value, dict):
        return {key: without_places(each) for key, each in value.items()}
    if isinstance(value, tuple):
        return type(value).__name__, [without_places(each) for each in value]
    return value
