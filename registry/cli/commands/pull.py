"""`registry pull`."""

import sys
from collections.abc import Sequence

import click

from registry.auth.addresses import is_loopback
from registry.cli import text
from registry.cli.failures import Failed, Refused, explained
from registry.cli.options import json_option
from registry.cli.output import say, show
from registry.cli.pull.images import parse_image
from registry.cli.pull.login import Login
from registry.cli.pull.platforms import Platform, PlatformInvalid, own_platform, parse_platform
from registry.cli.pull.pulling import Progress, Pull, Pulled
from registry.cli.pull.server import Server
from registry.upstream.origins import read_origin


def _platforms(_context: click.Context, _option: click.Parameter, given: Sequence[str]) -> list[Platform]:
    try:
        return [parse_platform(each) for each in given]
    except PlatformInvalid as error:
        raise click.BadParameter(str(error)) from None


def _url(_context: click.Context, _option: click.Parameter, given: str) -> str:
    try:
        origin = read_origin(given)
    except ValueError:
        origin = None
    if origin is None or given.rstrip("/").count("/") != 2 or "?" in given:
        raise click.BadParameter(f"{given!r}: expected a URL without a path, such as http://127.0.0.1:5000")
    return str(origin)


@click.command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option(
    "--server",
    "url",
    default="http://127.0.0.1:5000",
    show_default=True,
    metavar="URL",
    callback=_url,
    help="The running registry.",
)
@click.option(
    "--platform",
    "platforms",
    multiple=True,
    metavar="OS/ARCH[/VARIANT]",
    callback=_platforms,
    help="Of an image for many platforms, take this one; may be given several times. Else this machine's.",
)
@click.option("--all-platforms", is_flag=True, help="Take all of them.")
@click.option("--username", metavar="NAME", help="Log in as this user.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@click.option("--ca-file", metavar="FILE", help="A PEM file with whom to trust, for https.")
@click.option(
    "--jobs",
    type=click.IntRange(1, 64),
    default=4,
    show_default=True,
    help="How many manifests and layers are fetched at once.",
)
@json_option()
def pull(
    images: tuple[str, ...],
    url: str,
    platforms: list[Platform],
    all_platforms: bool,
    username: str | None,
    password_stdin: bool,
    ca_file: str | None,
    jobs: int,
    as_json: bool,
) -> None:
    """Let a running registry fetch images from its upstreams, so that it has them when they are needed.

    Every manifest, config and layer is pulled through the server, verified, and thrown away here. IMAGE is as
    docker takes it: alpine is docker.io/library/alpine:latest.

    \b
    Examples:
      registry pull alpine:3.20 ghcr.io/owner/app:v1
      registry pull --platform linux/amd64 --platform linux/arm64 docker.io/library/python:3.12
      registry pull --server https://registry.example --username ci --password-stdin alpine < password
      registry pull --all-platforms --json quay.io/owner/app:v2
    """
    if all_platforms and platforms:
        raise Refused("--platform and --all-platforms: give one of them, not both")
    login = _read_login(url, username, stdin=password_stdin)
    with explained():
        wanted = [parse_image(each) for each in images]
        server = Server(url, login=login, ca_file=ca_file or "")
    chosen = [] if all_platforms else platforms or [own_platform()]
    with text.Counter(sys.stderr) as counter:
        progress = Progress(counter.expect, counter.add)
        pulled: list[Pulled] = []
        for each in Pull(server, chosen, progress).run(list(dict.fromkeys(wanted)), jobs):
            pulled.append(each)
            counter.clear()
            _tell(each, as_json=as_json)
    if as_json:
        show(lambda: [_object(each) for each in pulled], str, as_json=True)
    failed = [each.image for each in pulled if each.error]
    if failed:
        raise Failed(f"{len(failed)} of {len(pulled)} images could not be pulled")


def _read_login(url: str, username: str | None, *, stdin: bool) -> Login | None:
    if (username is None) is stdin:
        raise Refused("--username NAME and --password-stdin: give both or neither")
    if username is None:
        return None
    origin = read_origin(url)
    if origin.scheme == "http" and not is_loopback(origin.host):
        raise Refused(f"{url} is not https: the password could be read by anyone on the way")
    password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise Refused("standard input has no password: write it there, on one line")
    return Login(username, password)


def _tell(pulled: Pulled, *, as_json: bool) -> None:
    if pulled.error:
        say(f"{pulled.image}: {pulled.error}")
    elif not as_json:
        click.echo(_line(pulled))


def _line(pulled: Pulled) -> str:
    size = text.size(pulled.size)
    here = "" if pulled.here is None else f", {text.size(pulled.here)} of it was there"
    return f"{pulled.image}  {pulled.digest}  {size}{here}, {pulled.seconds:.1f} s"


def _object(pulled: Pulled) -> dict[str, object]:
    return {
        "image": str(pulled.image),
        "digest": str(pulled.digest) if pulled.digest else None,
        "bytes": pulled.size,
        "bytes_there": pulled.here,
        "seconds": round(pulled.seconds, 3),
        "error": pulled.error or None,
    }
