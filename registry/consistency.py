"""What settings mean together: what must not start, what does nothing, and who may come in by them."""

import os
from collections.abc import Iterator, Mapping
from functools import partial

from registry.auth.addresses import is_loopback
from registry.auth.public_keys import is_installed
from registry.auth.rules import UNCLAIMED, Rules
from registry.kinds import Misfit
from registry.settings import AUTO, SCHEMA, ConfigError, Settings
from registry.upstream import transport
from storage.layout import Layout


def has_accounts(settings: Settings) -> bool:
    """Whether anything says who may come in, as the files are now."""
    layout = Layout(settings.root)
    return _names_accounts(settings) or any(map(_is_there, (layout.htpasswd, layout.robots)))


def _names_accounts(settings: Settings) -> bool:
    # A file that was asked for by name may come later: nobody is to come in before it.
    return bool(settings.access or settings.issuers or settings.htpasswd or settings.tls_client_ca)


def _is_there(path: str) -> bool:
    """A link that leads nowhere is, too, and what lies behind a closed folder: only a plain no is one."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def access_rules_of(settings: Settings) -> Rules:
    """Who may do what by these settings."""
    anonymous = settings.anonymous
    if anonymous == AUTO:
        anonymous = UNCLAIMED if is_loopback(settings.host) else "none"
    return Rules(settings.access, dict(settings.groups), anonymous, partial(has_accounts, settings))


def check_together(settings: Settings, sources: Mapping[str, str]) -> None:
    # A temporary root has nobody's account, whatever lies in the one that it stands for.
    known = _names_accounts(settings) if settings.ephemeral else has_accounts(settings)
    if settings.anonymous == AUTO and not known and not is_loopback(settings.host):
        raise ConfigError(
            f"host = {settings.host} ({sources['host']}) is reachable from other machines, and there is no "
            "account to log in to: make one with `registry user add NAME`, or say what anyone may do: "
            "--anonymous pull, --anonymous push (pull, push and delete), --anonymous unclaimed (all until "
            "there is an account), --anonymous none; or listen on 127.0.0.1"
        )
    _check_tls(settings, sources)
    if settings.anonymous == "push" and settings.htpasswd:
        raise ConfigError(
            f"htpasswd ({sources['htpasswd']}) asks for logins; anonymous = push ({sources['anonymous']}) "
            "makes them worth nothing: leave out one, or give --anonymous pull or none"
        )
    if settings.issuers and not is_installed():
        raise ConfigError(
            f"issuers ({sources['issuers']}) needs a library that verifies their tokens: "
            "run pip install 'oci-registry[oidc]'"
        )
    for name in ("profile", "faults"):
        if getattr(settings, name) and settings.workers > 1:
            raise ConfigError(
                f"{name} ({sources[name]}) counts requests in one process: "
                f"leave out workers = {settings.workers} ({sources['workers']})"
            )
    _check_upstreams(settings, sources)
    if settings.ephemeral and sources["root"].startswith("flag") and sources["ephemeral"].startswith("flag"):
        raise ConfigError("--ephemeral makes its own temporary root: give it or --root, not both")


def find_idle(settings: Settings, sources: Mapping[str, str]) -> Iterator[str]:
    """What has no effect beside the other settings, as warnings: it may be there for another day."""
    if settings.read_only and settings.scrub_rate:
        yield f"scrub_rate ({sources['scrub_rate']}) has no effect while read_only is on"
    if settings.build_cache and (settings.read_only or not settings.gc):
        why = "read_only is on" if settings.read_only else "gc is off"
        yield f"build_cache ({sources['build_cache']}) has no effect on this server while {why}"
    for name in () if settings.upstreams else ("cache_size", "offline", "local"):
        if getattr(settings, name):
            yield f"{name} ({sources[name]}) has no effect without an upstream: give --mirror or [[upstream]]"


def _check_upstreams(settings: Settings, sources: Mapping[str, str]) -> None:
    key = "upstream" if settings.upstream else "mirror"
    try:
        upstreams = settings.upstreams
    except Misfit as error:
        raise ConfigError(
            f"upstream ({sources['upstream']}) and mirror ({sources['mirror']}), {error.where} = "
            f"{error.value!r}: expected {error.expected}"
        ) from None
    if upstreams and not transport.is_installed():
        raise ConfigError(
            f"{key} ({sources[key]}) needs a library that asks other registries: "
            "run pip install 'oci-registry[cache]'"
        )


def _check_tls(settings: Settings, sources: Mapping[str, str]) -> None:
    given = {name: getattr(settings, name) for name in ("tls_cert", "tls_key")}
    if any(given.values()) and not all(given.values()):
        have, lacking = sorted(given, key=given.__getitem__, reverse=True)
        raise ConfigError(
            f"{have} = {given[have]} ({sources[have]}) serves HTTPS only together with {lacking}: "
            f"give {SCHEMA[lacking].flag} FILE too, or neither for plain HTTP"
        )
    if settings.tls_self_signed and settings.tls_cert:
        raise ConfigError(
            f"tls_self_signed ({sources['tls_self_signed']}) makes a certificate, and "
            f"tls_cert = {settings.tls_cert} ({sources['tls_cert']}) names one: give one of the two"
        )
    if settings.tls_names and not settings.tls_self_signed:
        raise ConfigError(
            f"tls_names ({sources['tls_names']}) are for the certificate that --tls-self-signed makes: "
            "give that too, or leave them out"
        )
    if settings.tls_client_auth and not settings.tls_client_ca:
        raise ConfigError(
            f"tls_client_auth = {settings.tls_client_auth} ({sources['tls_client_auth']}) needs the "
            "authorities that sign the clients' certificates: give --tls-client-ca FILE too"
        )
    if settings.tls_client_ca and not settings.serves_https:
        raise ConfigError(
            f"tls_client_ca = {settings.tls_client_ca} ({sources['tls_client_ca']}) needs HTTPS: "
            "give --tls-cert and --tls-key, or --tls-self-signed"
        )
