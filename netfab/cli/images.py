"""Images of this host, with docker's words: images, pull, push, tag, rmi, search, import, load."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from netfab.cli.context import output_json, where_of
from netfab.errors import NetfabError

if TYPE_CHECKING:
    from netfab.images.naming import Listed

_SHORT = 12  # hex digits of an id, as in docker
_AGES = (
    ("year", 31_536_000),
    ("month", 2_592_000),
    ("week", 604_800),
    ("day", 86_400),
    ("hour", 3_600),
    ("minute", 60),
)


def _is_nameless(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> bool | None:
    """The value of the filter `dangling`; None if not given. Raises BadParameter."""
    if not texts:
        return None
    if texts[-1] not in ("dangling=true", "dangling=false"):
        raise click.BadParameter(f"`{texts[-1]}`: write dangling=true or dangling=false; NAME finds by name")
    return texts[-1] == "dangling=true"


@click.command("images")
@click.option("-a", "--all", "everything", is_flag=True, help="Also those without a name.")
@click.option("-q", "--quiet", is_flag=True, help="Only ids.")
@click.option(
    "-f", "--filter", "filters", multiple=True, callback=_is_nameless, metavar="dangling=true|false",
    help="Only those without a name, or with one.",
)  # fmt: skip
@click.option("--digests", is_flag=True, help="Also the digest that the registry has.")
@click.option("--no-trunc", is_flag=True, help="Ids in full.")
@click.argument("name", required=False)
@output_json
@click.pass_context
def images_command(
    ctx: click.Context,
    name: str | None,
    everything: bool,
    quiet: bool,
    filters: bool | None,
    digests: bool,
    no_trunc: bool,
    output: str,
) -> None:
    """List the images of this host; with NAME those of that name, with or without a tag."""
    from netfab.cli import show
    from netfab.images.naming import images
    from netfab.where import need_root

    need_root("images")
    found = [one for one in images(where_of(ctx)) if _is_shown(one, name, everything or filters is not None)]
    if filters is not None:
        found = [one for one in found if bool(one.repository) is not filters]
    if quiet:
        for image in dict.fromkeys(one.id for one in found):
            click.echo(image if no_trunc else _short(image))
        return
    data = {"version": 1, "images": [one._asdict() for one in found]}
    show.show_data(data, output, lambda: _rows(found, digests, no_trunc))


def _is_shown(one: Listed, name: str | None, everything: bool) -> bool:
    if name is None:
        return everything or bool(one.repository)
    return name in (one.repository, f"{one.repository}:{one.tag}")


def _rows(found: Sequence[Listed], digests: bool, full: bool) -> Iterator[Sequence[str]]:
    extra = ["DIGEST"] if digests else []
    yield ["REPOSITORY", "TAG", *extra, "IMAGE ID", "CREATED", "SIZE"]
    for one in found:
        extra = [one.digest or "<none>"] if digests else []
        names = [one.repository or "<none>", one.tag or "<none>"]
        yield [*names, *extra, one.id if full else _short(one.id), _age(one.created), size(one.size)]


def _short(image: str) -> str:
    return image.removeprefix("sha256:")[:_SHORT]


def size(count: int) -> str:
    """Bytes in docker's notation: three digits, decimal units."""
    power = min((len(str(count)) - 1) // 3, 4)
    return f"{count / 1000**power:.3g}{('B', 'kB', 'MB', 'GB', 'TB')[power]}"


def _age(created: str) -> str:
    """The age of an RFC 3339 time; reproducible images have none, or 1970."""
    try:
        seconds = (datetime.now(UTC) - datetime.fromisoformat(created)).total_seconds()
    except (ValueError, TypeError):
        return "N/A"
    for unit, worth in _AGES:
        if seconds >= 2 * worth:
            return f"{int(seconds // worth)} {unit}s ago"
    return "Less than 2 minutes ago"


@click.command("pull")
@click.option("-q", "--quiet", is_flag=True, help="Only the name at the end.")
@click.argument("names", nargs=-1, required=True, metavar="NAME[:TAG|@DIGEST]…")
@click.pass_context
def pull_command(ctx: click.Context, quiet: bool, names: tuple[str, ...]) -> None:
    """Bring images of registries here, as the registries have them now."""
    from netfab.images.exchange import pull
    from netfab.where import need_root

    need_root("pull")
    where = where_of(ctx)
    for name in names:
        found = pull(where, name)
        if not quiet:
            new = "Downloaded newer image" if found.new else "Image is up to date"
            click.echo(f"Digest: {found.digest}\nStatus: {new} for {found.name}")
        click.echo(found.name)


@click.command("push")
@click.option("-q", "--quiet", is_flag=True, help="Only the name at the end.")
@click.argument("name", metavar="NAME[:TAG]")
@click.pass_context
def push_command(ctx: click.Context, quiet: bool, name: str) -> None:
    """Give an image to the registry that is in its name."""
    from netfab.images.exchange import push
    from netfab.where import need_root

    def told(blob: Any, there: bool) -> None:
        if not quiet:
            click.echo(f"{_short(blob.digest)}: {'Already exists' if there else 'Pushed'}", err=True)

    need_root("push")
    pushed = push(where_of(ctx), name, told)
    click.echo(pushed.name if quiet else f"{pushed.name.tag}: digest: {pushed.digest} size: {pushed.size}")


@click.command("tag")
@click.argument("source", metavar="IMAGE")
@click.argument("target", metavar="NAME[:TAG]")
@click.pass_context
def tag_command(ctx: click.Context, source: str, target: str) -> None:
    """Give an image another name; whatever had that name loses it."""
    from netfab.images.naming import tag
    from netfab.where import need_root

    need_root("tag")
    tag(where_of(ctx), source, target)


@click.command("rmi")
@click.option("-f", "--force", is_flag=True, help="Also an id that has several names.")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE…")
@click.pass_context
def rmi_command(ctx: click.Context, force: bool, images: tuple[str, ...]) -> None:
    """Take names from images; an image goes with its last one, unless a fabric uses it."""
    from netfab.applying.pulling import used
    from netfab.images.removal import remove
    from netfab.where import need_root

    need_root("rmi")
    where = where_of(ctx)
    say_removed(remove(where, images, lambda: used(where), force))


def say_removed(removed: Any) -> None:
    """A line for each name and each image, as in docker."""
    for name in removed.untagged:
        click.echo(f"Untagged: {name}")
    for image in removed.deleted:
        click.echo(f"Deleted: {image}")


@click.command("search")
@click.option(
    "--limit", type=click.IntRange(min=1), default=100, show_default=True, help="At most this many."
)
@click.argument("term", metavar="HOST[:PORT][/TERM]")
@output_json
@click.pass_context
def search_command(ctx: click.Context, term: str, limit: int, output: str) -> None:
    """List the images of a registry that have TERM in their names."""
    from itertools import islice

    from netfab.cli import show
    from netfab.images.registry import search
    from netfab.images.settings import settings

    head, slash, rest = term.partition("/")
    hosted = slash or head == "localhost" or "." in head or ":" in head
    registry, words = (head, rest) if hosted else ("docker.io", head)
    found = [f"{registry}/{name}" for name in islice(search(registry, words, settings()), limit)]
    data = {"version": 1, "images": found}
    show.show_data(data, output, lambda: [("NAME",), *((name,) for name in found)])


@click.command("import")
@click.option("-c", "--change", "changes", multiple=True, help="As a Dockerfile has it: CMD, ENV …")
@click.argument("file", metavar="FILE|-")
@click.argument("name", required=False, default="", metavar="[NAME[:TAG]]")
@click.pass_context
def import_command(ctx: click.Context, changes: tuple[str, ...], file: str, name: str) -> None:
    """Make an image of one layer from the tar of a root file system; `-`: from standard input."""
    from netfab.images.loading import import_root
    from netfab.where import need_root

    need_root("import")
    click.echo(import_root(where_of(ctx), file, name, _config(changes)))


def _config(changes: Sequence[str]) -> dict[str, Any]:
    """Instructions of a Dockerfile as in an image's config."""
    config: dict[str, Any] = {}
    for change in changes:
        word, _, rest = change.strip().partition(" ")
        word, rest = word.upper(), rest.strip()
        if word in ("CMD", "ENTRYPOINT"):
            config["Cmd" if word == "CMD" else "Entrypoint"] = _arguments(rest)
        elif word == "ENV" and "=" in rest:
            config.setdefault("Env", []).append(rest)
        elif word in ("USER", "WORKDIR", "STOPSIGNAL"):
            config[{"USER": "User", "WORKDIR": "WorkingDir", "STOPSIGNAL": "StopSignal"}[word]] = rest
        else:
            raise click.BadParameter(f'{change!r}: write CMD ["sh"], ENV A=b, USER u, WORKDIR /d …')
    return config


def _arguments(text: str) -> list[str]:
    """JSON, or a text for the shell."""
    if text.startswith("["):
        try:
            return [str(word) for word in json.loads(text)]
        except ValueError as error:
            raise click.BadParameter(f"{text!r} is not a list in JSON: {error}") from error
    return ["/bin/sh", "-c", text]


@click.command("load")
@click.option("-i", "--input", "file", default="-", metavar="FILE", help="Instead of standard input.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing.")
@click.argument("directory", required=False, metavar="[FILE|DIR]")
@click.pass_context
def load_command(ctx: click.Context, file: str, quiet: bool, directory: str | None) -> None:
    """Bring the images of an archive here: of `docker save`, `podman save`, skopeo; or of an OCI layout."""
    from netfab.images.loading import load_all
    from netfab.where import need_root

    need_root("load")
    if directory is not None and file != "-":
        raise click.UsageError("one file at a time")
    loaded = load_all(where_of(ctx), directory or file)
    if not loaded:
        raise NetfabError(f"{directory or file} has no images in it")
    for image, names in loaded if not quiet else ():
        for name in names:
            click.echo(f"Loaded image: {name}")
        if not names:
            click.echo(f"Loaded image ID: {image}")
