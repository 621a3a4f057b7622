"""The commands for images, and topologies with images, in front of a real registry."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lab import COMMAND, Lab
from machine import differences
from made_images import busybox, directory, file, image, layer, symlink, write_docker_archive

from netfab.images.blobs import digest_of

BUSYBOX = Path("/bin/busybox").read_bytes()
HTTPD = ["/bin/busybox", "httpd", "-f", "-p", "80", "-h", "/srv"]
CONFIG = """
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: /var/lib/registry}}
http: {addr: 127.0.0.1:5000}
"""
WEB = """
name: shop
networks: {lan: {}}
nodes:
  web: {image: "IMAGE", networks: [lan], env: {B: file}, ready: tcp/80}
  client: {networks: [lan]}
"""


@pytest.fixture
def registry(lab: Lab) -> Iterator[str]:
    """Debian's docker-registry in the lab; HOST:PORT."""
    lab.write(CONFIG, "registry.yml")
    process = lab.start("docker-registry", "serve", "registry.yml")
    lab.shell("until curl -s http://127.0.0.1:5000/v2/; do sleep 0.05; done")
    yield "127.0.0.1:5000"
    lab.interrupt(process, signal.SIGKILL)


def web(text: bytes = b"hello") -> object:
    root = layer(
        directory("bin"),
        file("bin/busybox", BUSYBOX, mode=0o755),
        symlink("bin/sh", "busybox"),
        directory("srv"),
        file("srv/index.html", text),
    )
    return image(root, Cmd=HTTPD[1:], Entrypoint=HTTPD[:1], Env=["A=image", "B=image"], WorkingDir="/srv")


def archive(lab: Lab, name: str, made: Any, file_name: str = "web.tar") -> str:
    write_docker_archive(lab.directory / file_name, [(name, made)])
    return file_name


def test_what_is_pushed_is_pulled_and_runs_as_its_config_says(lab: Lab, registry: str) -> None:
    name = f"{registry}/shop/web:1"
    assert lab.netfab("load", "-i", archive(lab, name, web())).out == f"Loaded image: {name}\n"
    pushed = lab.netfab("push", name).out
    lab.netfab("rmi", name)
    assert lab.netfab("images", "-o", "json").json["images"] == []
    lab.write(WEB.replace("IMAGE", name))

    planned = lab.netfab("plan")
    assert planned.err == f"warning: image {name} is not here: `apply` brings it\n"
    assert "+ container web" in planned.out
    lab.netfab("apply")

    assert lab.netfab("exec", "client", "curl", "-s", "http://web/").out == "hello"
    seen = lab.netfab("exec", "web", "/bin/busybox", "env").out.splitlines()
    assert {"A=image", "B=file"} < set(seen)
    assert lab.netfab("apply").out.startswith("No changes.")
    assert lab.netfab("plan").out.startswith("No changes.")
    (line,) = lab.netfab("images", "-o", "json").json["images"]
    assert (line["repository"], line["tag"]) == (f"{registry}/shop/web", "1")
    assert line["digest"] in pushed
    assert lab.netfab("search", f"{registry}/web").out == f"NAME\n{registry}/shop/web\n"


def test_a_tag_that_moved_changes_a_node_when_it_is_pulled_and_not_before(lab: Lab, registry: str) -> None:
    name = f"{registry}/web:1"
    lab.netfab("load", "-i", archive(lab, name, web()))
    lab.netfab("push", name)
    lab.write(WEB.replace("IMAGE", name))
    lab.netfab("apply")
    lab.shell(
        f"skopeo copy --dest-tls-verify=false docker-archive:{archive(lab, name, web(b'new'))} docker://{name}"
    )

    assert lab.netfab("apply").out.startswith("No changes.")
    assert "Downloaded newer image" in lab.netfab("pull", name).out
    assert "(restarts its program)" in lab.netfab("plan").out
    lab.netfab("apply")
    assert lab.netfab("exec", "client", "curl", "-s", "http://web/").out == "new"


def test_a_container_has_the_image_that_is_here_or_as_the_registry_has_it(lab: Lab, registry: str) -> None:
    name = f"{registry}/web:1"
    lab.netfab("load", "-i", archive(lab, name, web()))
    lab.netfab("push", name)
    read = ("--rm", "--entrypoint", "/bin/busybox", name, "cat", "/srv/index.html")
    lab.shell(
        f"skopeo copy --dest-tls-verify=false docker-archive:{archive(lab, name, web(b'new'))} docker://{name}"
    )

    assert lab.netfab("run", *read).out == "hello"
    assert lab.netfab("run", "--pull", "never", *read).out == "hello"
    assert "no image box on this host" in lab.netfab("run", "--pull", "never", "box", code=125).err
    assert lab.netfab("run", "-q", "--pull", "always", *read).out == "new"
    (old,) = lab.netfab("images", "-f", "dangling=true", "-q", "--no-trunc").out.split()
    assert old in lab.netfab("prune", "-f").out
    (kept,) = lab.netfab("images", "-f", "dangling=false", "-o", "json").json["images"]
    assert kept["tag"] == "1"


def test_an_image_that_cant_be_had_is_named_and_nothing_is_changed(lab: Lab, registry: str) -> None:
    lab.write(WEB.replace("IMAGE", f"{registry}/nix") + "  b: {image: ./no.tar.d/x, command: none}\n")
    before = lab.state()

    failed = lab.netfab("apply", code=1)

    assert failed.err.startswith(
        f"netfab: error: topology.yaml:5:16: nodes.web.image: {registry}/nix:latest: {registry}: manifest"
    )
    after = lab.state()
    assert {key: after[key] for key in before if key != "/var/lib/netfab"} == {
        key: before[key] for key in before if key != "/var/lib/netfab"
    }


@pytest.mark.parametrize("form", ["docker-archive:web.tar:a/web:1", "./web.tar"])
def test_an_archive_runs_without_a_registry(lab: Lab, form: str) -> None:
    archive(lab, "a/web:1", web())
    lab.write(WEB.replace("IMAGE", form))

    lab.netfab("apply")

    assert lab.netfab("exec", "client", "curl", "-s", "http://web/").out == "hello"
    (line,) = lab.netfab("images", "-a", "-o", "json").json["images"]
    used = lab.netfab("rmi", line["id"][7:19], code=1)
    assert "is used by a fabric" in used.err
    lab.netfab("tag", line["id"][7:19], "localhost:5000/a/web:1")
    assert lab.netfab("ps").out.splitlines()[1].split()[:3] == ["shop", "web", "localhost:5000/a/web:1"]
    assert line["id"] in lab.netfab("ps", "--no-trunc").out
    lab.netfab("prune", "-a", "--force")
    lab.netfab("destroy", "shop")
    assert line["id"] in lab.netfab("prune", "-a", "--force").out
    assert os.listdir(f"/proc/{lab.pid}/root/var/lib/netfab/images/blobs") == []


def test_the_file_says_otherwise_than_the_image(lab: Lab) -> None:
    archive(lab, "a:1", busybox(Cmd=["image"], Entrypoint=["/bin/busybox", "echo"], User="1:1"))
    lab.write("""
name: shop
defaults: {image: "docker-archive:web.tar"}
nodes:
  both: {}
  command: {command: [file]}
  entrypoint: {entrypoint: [/bin/busybox, id, -u]}
  user: {entrypoint: [/bin/busybox, id, -u], user: "0"}
  nothing: {command: none}
""")

    lab.netfab("apply")

    logs = {node: lab.netfab("logs", "-f", node).out for node in ("both", "command", "entrypoint", "user")}
    assert logs == {"both": "image\n", "command": "file\n", "entrypoint": "1\n", "user": "0\n"}
    assert lab.netfab("status", "-o", "json").json["nodes"]["nothing"]["state"] == "up"


def test_an_image_without_a_program_wants_a_command(lab: Lab) -> None:
    archive(lab, "a:1", image(layer(file("a"))))
    lab.write('nodes: {a: {image: "docker-archive:web.tar"}}\n')

    failed = lab.netfab("apply", code=1)

    assert "nodes.a.image: image docker-archive:" in failed.err
    assert "does not say what to run" in failed.err


def test_an_image_that_was_removed_by_hand_is_missed_before_anything_is_changed(lab: Lab) -> None:
    archive(lab, "a/web:1", web())
    lab.write(WEB.replace("IMAGE", "docker-archive:web.tar"))
    lab.netfab("apply")
    lab.netfab("stop", "web")
    lab.shell(r"""while pgrep -f '[n]etfab.runtime'; do :; done  # it ends with its last program
        rm -r /var/lib/netfab/images
        end=$(ip -o link | sed -n 's/^[0-9]*: \([^@]*\)@.*netfab:shop.web.*/\1/p')
        test -e /proc/sys/net/ipv4/conf/$end && ip netns delete shop.web
        while ip link show $end 2>/dev/null || test -e /proc/sys/net/ipv4/conf/$end; do :; done""")
    before = lab.state()

    failed = lab.netfab("reconcile", "shop", code=1)

    assert "of node web is not on this host" in failed.err
    assert differences(before, lab.state()) == []


def test_import_makes_an_image_with_what_change_says(lab: Lab) -> None:
    root = layer(directory("bin"), file("bin/busybox", BUSYBOX, mode=0o755))
    (lab.directory / "root.tar").write_bytes(root)

    made = lab.netfab("import", "-c", 'CMD ["/bin/busybox", "echo", "hi"]', "root.tar", "rooty").out
    lab.write("nodes: {a: {image: rooty}}")
    lab.netfab("apply", "--name", "t")

    assert made.startswith("sha256:")
    told = lab.netfab("inspect", "rooty").json
    assert (told["kind"], told["id"], told["names"]) == ("image", made.strip(), ["rooty:latest"])
    assert told["config"]["config"] == {"Cmd": ["/bin/busybox", "echo", "hi"]}
    assert made.strip() != digest_of(root)
    assert lab.netfab("logs", "-f", "a").out == "hi\n"
    shown = lab.netfab("images").out.splitlines()
    assert shown[0].split() == ["REPOSITORY", "TAG", "IMAGE", "ID", "CREATED", "SIZE"]
    assert shown[1].split()[:4] == ["rooty", "latest", made[7:19], "N/A"]


def test_a_far_host_is_given_the_image_that_was_meant_here(lab: Lab) -> None:
    archive(lab, "a/web:1", web())
    hosts = "hosts: {h1: {address: 192.0.2.11}, h2: {address: 192.0.2.12, ssh: root@h2}}"
    text = WEB.replace("name: shop", hosts).replace("env:", "runs_on: h2, env:")
    lab.write(text.replace("IMAGE", "docker-archive:web.tar"), "shop.yaml")
    script = "netfab exec client curl -s http://web/; netfab plan shop.yaml"

    path = f"{COMMAND.parent}:/usr/sbin:/usr/bin:/sbin:/bin"
    said = lab.netfab("lab", "shop.yaml", "--", "sh", "-ec", script, env={"PATH": path})

    assert said.out == "helloNo changes. The kernel matches shop.yaml.\n"
