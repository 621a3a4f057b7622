"""The bootstrap of a remote host: a program that any version of python3 there can run, and its messages.

It looks for netfab's modules in a directory named by their sha256, reads them from its standard input
if they are not there, and becomes the agent. While it lives it holds a shared lock on the directory of all
copies: whoever has it exclusively may remove some (former.py). This file is sent as text and imports no
netfab module before they are there; Python 3.6 can still parse it, to report that it is too old.
"""

import json
import os
import sys

CACHE = "/var/cache/netfab"
OLDEST = (3, 11)


def say(**words: object) -> None:
    """One line of JSON; `greet` in ssh.py reads it."""
    os.write(1, (json.dumps(words) + "\n").encode())


def unfit(why: str, hint: str) -> None:
    """Report why this host can't be used, and exit."""
    say(verb="unfit", why=why, hint=hint)
    os._exit(1)


def become_root() -> None:
    """Start again through sudo(8), which must not ask for a password: nobody could type it."""
    import subprocess

    me = os.environ.get("USER") or str(os.geteuid())
    try:
        code = subprocess.call(["sudo", "-n", "true"], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except OSError:
        unfit(f"user {me} is not root there, and there is no sudo", "log in as root: root@ADDRESS")
    if code != 0:
        unfit(f"user {me} is not root there, and sudo asks for a password", "log in as root, or NOPASSWD")
    os.execvp("sudo", ["sudo", "-n", sys.executable, *sys.orig_argv[1:]])


def receive(size: int) -> bytes:
    """Read that many bytes of standard input; an early end means that the controller is gone."""
    parts = []
    while size > 0:
        part = os.read(0, min(size, 1 << 20))
        if not part:
            os._exit(1)
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def install(place: str, sha: str) -> None:
    """Receive the modules, verify that they are what was announced, and install them atomically."""
    import hashlib
    import shutil
    import tempfile
    import zlib

    data = zlib.decompress(receive(int(receive(8))))
    if hashlib.sha256(data).hexdigest() != sha:
        unfit("what arrived is not what was sent", "try again")
    made = tempfile.mkdtemp(dir=CACHE)
    try:
        for path, text in json.loads(data.decode()).items():
            name = os.path.join(made, path)
            os.makedirs(os.path.dirname(name), exist_ok=True)
            with open(name, "w", encoding="utf-8") as file:
                file.write(text)
        os.sync()
        os.rename(made, place)
    except OSError:
        shutil.rmtree(made)
        if not os.path.isdir(place):  # else another command was first
            raise


def share() -> int:
    """Take the shared lock of all copies, held until this process ends."""
    import fcntl

    lock = os.open(CACHE, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_SH)
    return lock


def go(sha: str, arguments: object) -> None:
    """Become the agent. It learns on its standard input which modules it must have."""
    if sys.version_info < OLDEST:
        found = ".".join(str(number) for number in sys.version_info[:3])
        unfit(f"python3 is {found} there, and netfab needs 3.11", "install a newer Python there")
    if os.geteuid() != 0:
        become_root()
    sha = sha or receive(64).decode()
    place = os.path.join(CACHE, sha)
    try:
        os.umask(0o022)
        os.makedirs(CACHE, 0o700, exist_ok=True)
        found_there = os.stat(CACHE)
        if found_there.st_uid != 0 or found_there.st_mode & 0o022:
            unfit(f"{CACHE} is not safe there: others may write to it", "remove it")
        shared = share()
        is_new = not os.path.isdir(place)
        if is_new:
            say(verb="need", sha=sha)
            install(place, sha)
    except (OSError, ValueError) as error:
        unfit(f"can't keep netfab in {CACHE} there: {error}", "make room, or it writable")
    sys.path.insert(0, place)
    sys.argv = ["netfab", "agent"]
    if is_new:
        from netfab.remote.former import remove_former

        remove_former(CACHE, sha, shared)
    from netfab.remote.__main__ import main

    main(arguments)
