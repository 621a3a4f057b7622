"""The first words to a far host: a program that python3 there runs, whatever its version, and what it says.

It looks for netfab's modules in a directory that is named by their sha256, takes them from its standard input
when they are not there, and becomes the agent. While it lives it shares the lock of the directory that all of
them are in: who has it alone may remove some (former.py). This file travels as text and imports nothing of
netfab before it is there; it is written so that Python 3.6, too, can read it and say that it is too old.
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
    """Say so, and end."""
    say(verb="unfit", why=why, hint=hint)
    os._exit(1)


def become_root() -> None:
    """Begin again by sudo(8), which must not ask for a password: there is nobody to type it."""
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
    """That many bytes of standard input; an end before is the controller's."""
    parts = []
    while size > 0:
        part = os.read(0, min(size, 1 << 20))
        if not part:
            os._exit(1)
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def install(place: str, sha: str) -> None:
    """Take the modules, see whether they are what was announced, and put them there, whole or not at all."""
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
    """The lock of all copies, held with others until this process ends."""
    import fcntl

    lock = os.open(CACHE, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_SH)
    return lock


def go(sha: str, arguments: object) -> None:
    """Become the agent. An agent is told by its standard input which modules it has to have."""
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
