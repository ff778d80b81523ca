"""The command line: `registry serve`, `ls`, `rm`, `fsck`, `config`, `health`.

Exit codes: 0 fine, 1 not found, not sound or not ready, 2 a mistake in the call or the settings.
Heavy imports are inside the commands, so that each loads only what it needs.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any, TypeVar

import click

from registry import __version__
from registry.config import SCHEMA, ConfigError, Loaded, Settings, load_from_process
from registry.kinds import SWITCH

Command = TypeVar("Command", bound=Callable[..., Any])

# Recipes for the distribution image name its built-in file, which need not exist here.
_BUILT_IN = ("/etc/distribution/config.yml", "/etc/docker/registry/config.yml")
_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Refused(click.ClickException):
    """A mistake in the settings: says what to do, exits with 2."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        click.echo(f"registry: {self.format_message()}", err=True)


class Failed(Refused):
    exit_code = 1


def settings_options(*names: str) -> Callable[[Command], Command]:
    """`--config` and the flags of these keys, made from the schema."""

    def decorate(command: Command) -> Command:
        for name in reversed(names):
            command = _option(name)(command)
        return click.option(
            "--config", "config_file", metavar="FILE", help="A TOML file with settings. [REGISTRY_CONFIG]"
        )(command)

    return decorate


def _option(name: str) -> Callable[[Command], Command]:
    key = SCHEMA[name]
    text = f"{key.help} [{key.variable}; {default_text(name)}]"
    if key.kind is SWITCH:
        return click.option(f"{key.flag}/--no-{key.flag[2:]}", name, default=None, help=text)
    return click.option(key.flag, name, metavar=key.kind.metavar, help=text)


def default_text(name: str) -> str:
    """A default as people write it."""
    if name == "root":
        return "~/.local/share/oci-registry"
    value = getattr(Settings(root="/"), name)
    return "empty" if value == "" else json.dumps(value).strip('"')


def _load(flags: dict[str, object], config_file: str | None, *, serving: bool = False) -> Loaded:
    try:
        loaded = load_from_process(flags, config_file, serving=serving)
    except ConfigError as error:
        raise Refused(str(error)) from error
    for warning in loaded.warnings:
        click.echo(f"registry: warning: {warning}", err=True)
    return loaded


@contextmanager
def _explained() -> Iterator[None]:
    """Facts of the store become messages with an exit code."""
    from registry.errors import RegistryError
    from storage.errors import InvalidDigest, StorageError, StoreUnusable

    try:
        yield
    except (StoreUnusable, InvalidDigest, RegistryError, ConfigError) as error:
        raise Refused(str(error)) from error
    except StorageError as error:
        raise Failed(str(error)) from error
    except PermissionError as error:
        raise Refused(f"{error.filename}: {error.strerror}; run it as the user who serves") from error
    except OSError as error:
        raise Failed(str(error)) from error


@click.group(context_settings=_CONTEXT)
@click.version_option(__version__, prog_name="registry", message="%(prog)s %(version)s")
def cli() -> None:
    """A minimal, durable container registry.

    \b
    Examples:
      registry serve
      registry ls
      registry rm team/app:old
    """


@cli.command()
@click.argument("file", required=False)
@settings_options(*SCHEMA)
def serve(file: str | None, config_file: str | None, **flags: object) -> None:
    """Serve until SIGTERM or Ctrl-C. FILE is another way to give --config.

    \b
    Examples:
      registry serve
      registry serve --root /srv/images --port 5001
      registry serve --host 0.0.0.0 --anonymous pull
      registry serve --ephemeral --port 0 --no-access-log
    """
    if file and config_file:
        raise click.UsageError("give the configuration file once: as FILE or with --config")
    if file in _BUILT_IN and not os.path.exists(file):
        click.echo(f"registry: {file} does not exist, going on without it", err=True)
        file = None
    loaded = _load(flags, config_file or file, serving=True)
    from registry.server.serve import serve as run

    settings = loaded.settings
    with _explained():
        code = run(settings)
    sys.exit(code)


@cli.command()
@click.argument("repository", required=False, metavar="[REPO]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@settings_options("root")
def ls(repository: str | None, as_json: bool, config_file: str | None, **flags: object) -> None:
    """List the repositories, or the tags of REPO. Works beside a running server.

    Sizes are those stored: compressed, all platforms, shared layers once.

    \b
    Examples:
      registry ls
      registry ls team/app
      registry ls --root /srv/images --json
    """
    settings = _load(flags, config_file).settings
    from registry.cli import content, text
    from registry.names import RepositoryName

    with _explained():
        if repository is None:
            found = content.repositories(settings)
            if as_json:
                click.echo(json.dumps([asdict(each) for each in found], indent=2))
                return
            rows = [(each.name, str(each.tags), str(each.manifests), text.size(each.size)) for each in found]
            click.echo(text.table(("REPOSITORY", "TAGS", "MANIFESTS", "SIZE"), rows))
            return
        tags = content.tags(settings, RepositoryName(repository))
    if as_json:
        listed = [{**asdict(each), "digest": str(each.digest)} for each in tags]
        click.echo(json.dumps({"name": repository, "tags": listed}, indent=2))
        return
    cells = [(each.name, str(each.digest), text.size(each.size), each.media_type) for each in tags]
    click.echo(text.table(("TAG", "DIGEST", "SIZE", "MEDIA TYPE"), cells))


@cli.command()
@click.argument("target", metavar="REPO[:TAG|@DIGEST]")
@click.option("--yes", is_flag=True, help="Remove a whole repository without asking.")
@settings_options("root", "sparse")
def rm(target: str, yes: bool, config_file: str | None, **flags: object) -> None:
    """Remove a tag, a manifest with its tags, or a whole repository. Works beside a running server.

    A manifest that another one names is kept, unless --sparse.

    \b
    Examples:
      registry rm team/app:old
      registry rm team/app@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
      registry rm --yes team/app
    """
    settings = _load(flags, config_file).settings
    from registry.cli import content

    with _explained():
        wanted = content.parse_target(target)
        if wanted.reference is None and not yes:
            click.confirm(f"Remove everything in {wanted.repository}?", abort=True, err=True)
        click.echo(content.remove(settings, wanted))


@cli.command()
@click.option("--repair", is_flag=True, help="Take bad bytes out of the way, so that a push heals them.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@settings_options("root")
def fsck(repair: bool, as_json: bool, config_file: str | None, **flags: object) -> None:
    """Check every byte and every name of the root. Works beside a running server.

    The exit code is 0 only if nothing was found, repaired or not: check again after a repair.

    \b
    Examples:
      registry fsck
      registry fsck --root /srv/images --json
      registry fsck --repair
    """
    settings = _load(flags, config_file).settings
    from registry.cli.fsck import fsck as check
    from registry.cli.fsck import summary
    from registry.cli.text import Counter

    with _explained(), Counter(sys.stderr) as counter:
        report = check(settings, repair=repair, progress=counter.add)
    as_object = {"sound": report.sound, **asdict(report)}
    click.echo(json.dumps(as_object, indent=2) if as_json else summary(report))
    sys.exit(0 if report.sound else 1)


@cli.command("gc")
@click.option("--grace", metavar="TIME", help="Take this grace instead of gc_grace: seconds, or 30m, 2h.")
@click.option("--now", is_flag=True, help="Without any grace, and only where no server runs.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option("--verbose", "-v", is_flag=True, help="Print every manifest and blob that goes, and why.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@settings_options("root")
def collect_garbage(
    grace: str | None,
    now: bool,
    dry_run: bool,
    verbose: bool,
    as_json: bool,
    config_file: str | None,
    **flags: object,
) -> None:
    """Delete what nothing names any more. Works beside a running server, which does the same by itself.

    One pass marks what has become garbage, and deletes what an earlier pass has marked a grace ago; --now
    does both at once.

    \b
    Examples:
      registry gc
      registry gc --dry-run --json
      registry gc --grace 600 --verbose
      registry gc --now
    """
    settings = _load({**flags, "gc_grace": grace}, config_file).settings
    from registry.cli import gc, text
    from registry.gc import rules_of
    from storage.garbage import Item

    rules = replace(rules_of(grace=settings.gc_grace), at_once=now)

    def tell(item: Item) -> None:
        items.append(item)
        if verbose and not as_json:
            click.echo(f"{item.kind} {item.repository} {item.name}: {item.why}")

    items: list[Item] = []
    with _explained():
        if dry_run:
            first, later, report = gc.look_ahead(settings, rules)
            for item in (*first, *later) if verbose and not as_json else ():
                click.echo(f"{item.kind} {item.repository} {item.name}: {item.why}")
            if as_json:
                found = {"now": [asdict(each) for each in first], "later": [asdict(each) for each in later]}
                click.echo(json.dumps({**asdict(report), **found}, indent=2))
            else:
                click.echo("\n".join([gc.listing(first, later), gc.summary(report, would=True)]))
            return
        with text.Counter(sys.stderr) as counter:
            report = gc.run(settings, rules, tell=tell, counter=counter)
    if as_json:
        click.echo(json.dumps({**asdict(report), "items": [asdict(each) for each in items]}, indent=2))
    else:
        click.echo(gc.summary(report))


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@settings_options(*SCHEMA)
def config(as_json: bool, config_file: str | None, **flags: object) -> None:
    """Print the settings in force and where each came from. Takes the flags of serve.

    \b
    Examples:
      registry config
      registry config --config registry.toml --json
    """
    loaded = _load(flags, config_file, serving=True)
    values = asdict(loaded.settings)
    if as_json:
        listed = {name: {"value": values[name], "source": loaded.sources[name]} for name in SCHEMA}
        click.echo(json.dumps(listed, indent=2))
        return
    from registry.cli.text import table

    rows = [(name, json.dumps(values[name]), loaded.sources[name]) for name in SCHEMA]
    click.echo(table(("KEY", "VALUE", "FROM"), rows))


@cli.command()
@settings_options("host", "port", "tls_cert")
def health(config_file: str | None, **flags: object) -> None:
    """Ask the running server whether it is ready; exit code 0 if it is.

    \b
    Examples:
      registry health
      registry health --port 5001
      registry health --tls-cert /etc/registry/registry.pem
    """
    settings = _load(flags, config_file).settings
    from registry.cli.health import ask

    answer = ask(settings.host, settings.port, tls=bool(settings.tls_cert))
    if answer:
        raise Failed(answer)
    click.echo("ready")


def main() -> None:
    """The console script."""
    cli(prog_name="registry")


if __name__ == "__main__":
    main()
