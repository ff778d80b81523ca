"""The command line: each command with its options; what it does is in registry/cli.

Exit codes: 0 fine, 1 not found, not sound or not ready, 2 a mistake in the call or the settings, 128 and
more: a signal.
Heavy imports are inside the commands, so that each loads only what it needs.
"""

import json
import math
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
    return "empty" if value in ("", ()) else json.dumps(value).strip('"')


def _load(flags: dict[str, object], config_file: str | None, *, serving: bool = False) -> Loaded:
    try:
        loaded = load_from_process(flags, config_file, serving=serving)
    except ConfigError as error:
        raise Refused(str(error)) from error
    for warning in loaded.warnings:
        click.echo(f"registry: warning: {warning}", err=True)
    return loaded


def _say(text: str) -> None:
    click.echo(f"registry: {text}", err=True)


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
@click.argument("repository", required=False, metavar="[REPO]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: sizes in bytes.")
@settings_options("root", "untagged", "retention")
def du(repository: str | None, as_json: bool, config_file: str | None, **flags: object) -> None:
    """Show the space that repositories take, or the tags of REPO. Works beside a running server.

    \b
    LOGICAL      every image by itself, as if nothing was shared
    STORED       each content once: ONLY HERE and SHARED with other repositories
    RECLAIMABLE  of it, what nothing needs: garbage collection deletes it within twice the grace
    ONLY         freed if this tag and its manifest go; the rest is SHARED with other tags or repositories

    \b
    Examples:
      registry du
      registry du team/app
      registry du --root /srv/images --json
    """
    settings = _load(flags, config_file).settings
    from registry.cli import usage
    from registry.names import RepositoryName

    with _explained():
        if repository is None:
            found = usage.repositories(settings)
            click.echo(json.dumps(usage.as_object(*found), indent=2) if as_json else usage.table(*found))
            return
        tags = usage.tags(settings, RepositoryName(repository))
    if as_json:
        click.echo(json.dumps({"name": repository, "tags": usage.tags_as_objects(tags)}, indent=2))
    else:
        click.echo(usage.tag_table(tags))


@cli.group()
def retention() -> None:
    """See which tags the rules of [[retention]] would remove, and remove them. Works beside a running server.

    The server does the same by itself before each garbage collection. Give the same --config as to it.

    \b
    Examples:
      registry retention plan --config registry.toml
      registry retention apply --config registry.toml --dry-run
    """


@retention.command("plan")
@click.argument("repository", required=False, metavar="[REPO]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: times in seconds.")
@settings_options("root", "immutable_tags", "retention")
def retention_plan(repository: str | None, as_json: bool, config_file: str | None, **flags: object) -> None:
    """Say of each tag whether it would be removed or kept, and why. Changes nothing.

    Without REPO, of all repositories that a rule may take tags of.

    \b
    Examples:
      registry retention plan --config registry.toml
      registry retention plan ci/app --config registry.toml --json
      registry retention plan ci/app --retention '[{repositories = ["ci/*"], keep_last = 10}]'
    """
    settings = _load(flags, config_file).settings
    _show_plan(settings, repository, as_json)


@retention.command("apply")
@click.option("--dry-run", is_flag=True, help="Only say what would go, as plan does.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@settings_options("root", "immutable_tags", "retention")
def retention_apply(dry_run: bool, as_json: bool, config_file: str | None, **flags: object) -> None:
    """Remove the tags that no rule keeps, now.

    What they name can still be pulled by digest, as long as `untagged` says.

    \b
    Examples:
      registry retention apply --config registry.toml --dry-run
      registry retention apply --config registry.toml
    """
    settings = _load(flags, config_file).settings
    if dry_run:
        _show_plan(settings, None, as_json)
        return
    from registry.cli import retention

    with _explained():
        applied = retention.apply(settings)
    if as_json:
        click.echo(json.dumps(retention.applied_as_object(applied), indent=2))
    else:
        click.echo(retention.applied_text(applied))


def _show_plan(settings: Settings, repository: str | None, as_json: bool) -> None:
    from registry.cli import retention
    from registry.names import RepositoryName

    with _explained():
        plans = retention.plan(settings, RepositoryName(repository) if repository else None)
    if as_json:
        click.echo(json.dumps(retention.plans_as_object(plans), indent=2))
    else:
        click.echo(retention.plans_text(plans))


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


@cli.group()
def tag() -> None:
    """See how tags moved, and move one back. Works beside a running server.

    \b
    Examples:
      registry tag history team/app:latest
      registry tag restore team/app:latest
    """


@tag.command("history")
@click.argument("target", metavar="REPO[:TAG]")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="The most to show.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@settings_options("root")
def tag_history(target: str, limit: int, as_json: bool, config_file: str | None, **flags: object) -> None:
    """List how a tag moved, or all tags of REPO, the latest first: when, from what, to what, and who did it.

    The last hundred moves of each tag are kept, also when tag and repository are gone. Times are UTC.

    \b
    Examples:
      registry tag history team/app:latest
      registry tag history team/app --limit 100
      registry tag history team/app --json
    """
    settings = _load(flags, config_file).settings
    from registry.cli import content, tags, text

    with _explained():
        moves = tags.history(settings, content.parse_target(target), limit)
    if as_json:
        click.echo(json.dumps([tags.as_object(move) for move in moves], indent=2))
        return
    click.echo(text.table(("WHEN", "TAG", "FROM", "TO", "WHO"), tags.rows(moves)))


@tag.command("restore")
@click.argument("target", metavar="REPO:TAG")
@click.option("--to", metavar="DIGEST", help="To this digest, or to the one of the history that begins so.")
@settings_options("root")
def tag_restore(target: str, to: str | None, config_file: str | None, **flags: object) -> None:
    """Move a tag back to what it named before its last move, also after it was deleted.

    The manifest must still be in the repository. The move is noted in the history like any other, so that the
    same command takes it back. Immutable tags move, too: the rule is for clients.

    \b
    Examples:
      registry tag restore team/app:latest
      registry tag restore team/app:latest --to sha256:9f86d081884c
    """
    settings = _load(flags, config_file).settings
    from registry.cli import content, tags

    with _explained():
        click.echo(tags.restore(settings, content.parse_target(target), to))


@cli.command()
@click.option("--repair", is_flag=True, help="Take bad bytes out of the way, so that a push heals them.")
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    metavar="MB/S",
    default=math.inf,
    help="Read so many megabytes a second at most; a small file counts as 64 kB.",
)
@click.option("--resume", is_flag=True, help="Go on where a check was interrupted.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@settings_options("root")
def fsck(
    repair: bool, rate: float, resume: bool, as_json: bool, config_file: str | None, **flags: object
) -> None:
    """Check every byte and every name of the root. Works beside a running server.

    The exit code is 0 only if nothing was found, repaired or not: check again after a repair. Ctrl-C and
    SIGTERM interrupt it (130, 143); --resume goes on there, or begins one if none was interrupted.

    \b
    Examples:
      registry fsck
      registry fsck --root /srv/images --json
      registry fsck --repair
      registry fsck --rate 50 --resume
    """
    settings = _load(flags, config_file).settings
    from registry.cli.fsck import Stopped, summary
    from registry.cli.fsck import fsck as check

    try:
        with _explained():
            report = check(
                settings, repair=repair, resume=resume, rate=rate * 10**6, say=_say, terminal=sys.stderr
            )
    except Stopped as reason:
        _say(str(reason))
        sys.exit(reason.code)
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
    from registry.retention_rules import untagged_of
    from storage.garbage import Item

    untagged = untagged_of(settings.retention, settings.untagged)
    rules = replace(rules_of(grace=settings.gc_grace, untagged=untagged), at_once=now)

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
@click.argument("folder", metavar="DIR")
@click.option("--copy", is_flag=True, help="Copy every blob: without it, DIR shares files with the root.")
@click.option("--verify", is_flag=True, help="Read what DIR holds, and take what is bad anew.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@settings_options("root")
def backup(
    folder: str, copy: bool, verify: bool, as_json: bool, config_file: str | None, **flags: object
) -> None:
    """Make DIR a whole copy of the root, or bring it up to date. Works beside a running server.

    On the file system of the root, blobs get a second name in DIR: that takes no room and almost no time,
    but a bad sector hits both. --copy, or a DIR on another disk, makes bytes of its own, verified on the
    way. What DIR has already with the right size is left; only --verify reads it.

    The exit code is 1 if bytes were missing or bad; DIR has everything else then.

    \b
    Examples:
      registry backup /backup/images
      registry backup --root /srv/images --copy --verify /mnt/disk2/images
      registry serve --root /backup/images --port 5001
    """
    settings = _load(flags, config_file).settings
    from registry.cli.backup import backup as run
    from registry.cli.backup import summary
    from registry.cli.text import Counter

    with _explained(), Counter(sys.stderr) as counter:
        report = run(settings, folder, copy=copy, verify=verify, counter=counter)
    click.echo(json.dumps(asdict(report), indent=2) if as_json else summary(report, "backed up to", folder))
    sys.exit(1 if report.lost else 0)


@cli.command()
@click.argument("folder", metavar="DIR")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@settings_options("root")
def restore(folder: str, as_json: bool, config_file: str | None, **flags: object) -> None:
    """Make a new root from DIR, a backup or another root; every byte is copied and verified.

    The root must be absent or empty. An interrupted restore goes on when it is repeated; until it has ended,
    no server starts there. The exit code is 1 if bytes were missing or bad; the root has everything else
    then.

    \b
    Examples:
      registry restore /backup/images
      registry restore /backup/images --root /srv/images
    """
    settings = _load(flags, config_file).settings
    from registry.cli.backup import restore as run
    from registry.cli.backup import summary
    from registry.cli.text import Counter

    with _explained(), Counter(sys.stderr) as counter:
        report = run(settings, folder, counter=counter)
    root = settings.root
    click.echo(json.dumps(asdict(report), indent=2) if as_json else summary(report, "restored to", root))
    sys.exit(1 if report.lost else 0)


@cli.command()
@click.option("--into", default="recovered", metavar="REPO", show_default=True, help="Where images are put.")
@click.option("--dry-run", is_flag=True, help="Say what would be found, and change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@settings_options("root")
def reindex(into: str, dry_run: bool, as_json: bool, config_file: str | None, **flags: object) -> None:
    """Find the images among the blobs and list them again, as far as bytes can tell.

    For a root whose index is lost or damaged, once no server has it open: a new one is made, and the old
    one put aside. In a sound index, also beside a running server, it adds the manifests that no repository
    lists, and mends what disagrees with their bytes. Names are not in the bytes: all goes into one
    repository, by digest. An image that lacks content is listed too; a push of the rest completes it.

    \b
    Examples:
      registry reindex --dry-run
      registry reindex --root /srv/images --into lost/found --json
    """
    settings = _load(flags, config_file).settings
    from registry.cli.reindex import UNKNOWN, summary
    from registry.cli.reindex import reindex as run
    from registry.cli.text import Counter

    with _explained(), Counter(sys.stderr) as counter:
        report = run(settings, into, dry_run=dry_run, progress=counter.add)
    as_object = {**asdict(report), "unknown": UNKNOWN}
    click.echo(json.dumps(as_object, indent=2) if as_json else summary(report, into, dry_run=dry_run))


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
