"""`registry snippet`."""

from dataclasses import asdict

import click

from registry.cli.failures import Refused
from registry.cli.options import json_option, settings_options
from registry.cli.output import say, show
from registry.cli.snippets import SNIPPETS, Place, shown
from registry.cli.text import address, reachable
from registry.kinds import URL, Misfit
from registry.settings import Settings
from registry.upstream.settings import HUB, Upstream, read_name


def _url(_context: click.Context, _option: click.Parameter, text: str | None) -> str:
    try:
        return "" if text is None else str(URL.check(text or None))
    except ValueError:
        raise click.BadParameter(f"{text!r}: expected {URL.expected}") from None


def _names(_context: click.Context, _option: click.Parameter, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_name(name) for name in names))


def _name(text: str) -> str:
    try:
        return read_name(text)
    except ValueError:
        raise click.BadParameter(f"{text!r}: expected a registry such as docker.io or ghcr.io") from None


@click.command()
@click.argument("client", type=click.Choice(list(SNIPPETS)), metavar="CLIENT")
@click.option("--url", metavar="URL", callback=_url, help="Where clients find the server.")
@click.option(
    "--upstream",
    "names",
    multiple=True,
    metavar="NAME",
    callback=_names,
    help="A registry that the server fetches from. May be given several times.",
)
@json_option("Print JSON: a list of files with path, form and text.")
@settings_options("host", "port", "external_url", "tls_cert", "tls_self_signed")
def snippet(client: str, url: str, names: tuple[str, ...], as_json: bool, settings: Settings) -> None:
    """Print what CLIENT needs in its own files to pull through this server, and to push to it.

    Its address and the upstreams are those of the settings, unless they are given here.

    CLIENT is docker-mirror, containerd, podman, buildkit, kind, k3d, github-actions or gitlab. The text is
    printed below the path of its file; JSON has no comments, and comes without.

    \b
    Examples:
      registry snippet docker-mirror --url http://registry.lan:5000
      registry snippet podman --upstream docker.io --upstream ghcr.io
      registry snippet containerd --config registry.toml
      registry snippet github-actions --url https://registry.example > .github/workflows/image.yml
    """
    wanted = SNIPPETS[client]
    place = Place(url or _own_url(settings), _for(client, wanted.only, names or _upstreams(settings)))
    files = wanted.write(place)
    if wanted.inside and place.is_loopback:
        say(
            f"warning: {place.url} is this machine, which {client} does not reach by that: give --url with "
            "an address that it reaches, and serve there"
        )
    if wanted.only and not names and not _is_default(settings, wanted.only):
        say(f"warning: {wanted.only} is not the default upstream by these settings, which {client} needs")
    say(wanted.after)
    show(lambda: [asdict(file) for file in files], lambda: shown(files).rstrip("\n"), as_json=as_json)


def _own_url(settings: Settings) -> str:
    scheme = "https" if settings.serves_https else "http"
    return settings.external_url or f"{scheme}://{address(reachable(settings.host), settings.port)}"


def _upstreams(settings: Settings) -> tuple[str, ...]:
    return tuple(upstream.name for upstream in _all(settings)) or (HUB,)


def _all(settings: Settings) -> tuple[Upstream, ...]:
    try:
        return settings.upstreams
    except Misfit as error:
        raise Refused(f"upstream and mirror, {error.where}: expected {error.expected}") from None


def _is_default(settings: Settings, name: str) -> bool:
    return any(upstream.default for upstream in _all(settings) if upstream.name == name)


def _for(client: str, only: str, names: tuple[str, ...]) -> tuple[str, ...]:
    if only and only not in names:
        raise Refused(f"{client} is for {only} alone, which is no upstream here: {', '.join(names)}")
    return (only,) if only else names
