"""Which layer wins, what stops a start, and which foreign environment names are understood."""

import pickle
from collections.abc import Mapping
from pathlib import Path

import pytest

from registry.access import Action
from registry.auth.addresses import is_loopback
from registry.auth.issuer_settings import Issuer
from registry.auth.rules import Entry
from registry.build_caches import BuildCache
from registry.config import default_root, load, load_from_process
from registry.consistency import access_rules_of
from registry.quotas import Quota
from registry.rates import Rate
from registry.retention_rules import Rule
from registry.settings import SCHEMA, ConfigError, Settings
from registry.upstream import transport
from registry.upstream.settings import Upstream

HOME = {"HOME": "/home/ann"}


def write(folder: Path, text: str) -> str:
    file = folder / "registry.toml"
    file.write_text(text)
    return str(file)


def test_without_any_layer_the_defaults_hold() -> None:
    loaded = load({}, HOME)
    assert loaded.settings == Settings(root=default_root(HOME))
    assert set(loaded.sources.values()) == {"default"}
    assert loaded.warnings == ()


def test_the_defaults_are_safe() -> None:
    settings = load({}, HOME).settings
    assert is_loopback(settings.host)
    assert settings.delete
    assert settings.anonymous == "auto"
    assert not any((settings.ephemeral, settings.sparse, settings.allow_network_fs))


@pytest.mark.parametrize(
    ("platform", "environ", "root"),
    [
        ("linux", HOME, "/home/ann/.local/share/oci-registry"),
        ("linux", {**HOME, "XDG_DATA_HOME": "/data"}, "/data/oci-registry"),
        ("linux", {**HOME, "XDG_DATA_HOME": "relative"}, "/home/ann/.local/share/oci-registry"),
        ("darwin", HOME, "/home/ann/Library/Application Support/oci-registry"),
    ],
)
def test_default_root(
    monkeypatch: pytest.MonkeyPatch, platform: str, environ: Mapping[str, str], root: str
) -> None:
    monkeypatch.setattr("sys.platform", platform)
    assert load({}, environ).settings.root == root


@pytest.mark.parametrize(
    ("file", "environ", "flags", "port", "source"),
    [
        ("", {}, {}, 5000, "default"),
        ("port = 1", {}, {}, 1, "file {file}"),
        ("port = 1", {"REGISTRY_PORT": "2"}, {}, 2, "environment REGISTRY_PORT"),
        ("port = 1", {"REGISTRY_PORT": "2"}, {"port": 3}, 3, "flag --port"),
        ("port = 1", {}, {"port": None}, 1, "file {file}"),
        ("port = 1", {"REGISTRY_PORT": ""}, {}, 1, "file {file}"),
        ("port = 1", {"REGISTRY_HTTP_ADDR": "127.0.0.1:4"}, {}, 4, "environment REGISTRY_HTTP_ADDR"),
        ("", {"REGISTRY_PORT": "2", "REGISTRY_HTTP_ADDR": "[::1]:4"}, {}, 2, "environment REGISTRY_PORT"),
        ("", {"REGISTRY_HTTP_ADDR": "[::1]:4", "REGISTRY_PORT": "2"}, {}, 2, "environment REGISTRY_PORT"),
    ],
)
def test_precedence(
    tmp_path: Path,
    file: str,
    environ: Mapping[str, str],
    flags: Mapping[str, object],
    port: int,
    source: str,
) -> None:
    config = write(tmp_path, file)
    loaded = load(flags, {**HOME, **environ}, config)
    assert loaded.settings.port == port
    assert loaded.sources["port"] == source.format(file=config)


def test_the_variable_names_the_file_and_the_flag_beats_it(tmp_path: Path) -> None:
    config = write(tmp_path, "port = 1")
    assert load({}, {**HOME, "REGISTRY_CONFIG": config}).settings.port == 1
    loaded = load({}, {**HOME, "REGISTRY_CONFIG": "/nowhere"}, config)
    assert (loaded.settings.port, loaded.warnings) == (1, ())


TEXTS = {
    "profile": ("dev", "dev"),
    "faults": ("/etc/faults.toml", "/etc/faults.toml"),
    "root": ("/srv/images", "/srv/images"),
    "host": ("::1", "::1"),
    "port": ("5001", 5001),
    "workers": ("4", 4),
    "anonymous": ("pull", "pull"),
    "access": (
        '[{repositories = ["*"], users = ["a"], actions = ["pull"]}]',
        (Entry(("*",), frozenset({Action.PULL}), users=("a",)),),
    ),
    "groups": ('{dev = ["alice"]}', (("dev", ("alice",)),)),
    "htpasswd": ("/etc/htpasswd", "/etc/htpasswd"),
    "tls_cert": ("/etc/tls/registry.pem", "/etc/tls/registry.pem"),
    "tls_key": ("/etc/tls/registry.key", "/etc/tls/registry.key"),
    "external_url": ("https://Registry.example:8443/", "https://registry.example:8443"),
    "trusted_proxies": ("127.0.0.1, 10.0.0.0/8 ::1", ("127.0.0.1/32", "10.0.0.0/8", "::1/128")),
    "tls_self_signed": ("true", True),
    "tls_names": ("registry.lan, [2001:db8::7] 192.0.2.7", ("registry.lan", "2001:db8::7", "192.0.2.7")),
    "tls_client_ca": ("/etc/tls/clients.pem", "/etc/tls/clients.pem"),
    "tls_client_auth": ("required", "required"),
    "delete": ("false", False),
    "immutable_tags": ("*:v*, prod/*:*", ("*:v*", "prod/*:*")),
    "read_only": ("true", True),
    "sparse": ("on", True),
    "ephemeral": ("1", True),
    "access_log": ("No", False),
    "audit_log": ("-", "-"),
    "upload_expiry": ("1h30m", 5400),
    "scrub_rate": ("10", 10),
    "gc": ("off", False),
    "gc_grace": ("2h", 7200),
    "drain": ("5", 5),
    "allow_network_fs": ("yes", True),
    "untagged": ("2w1d", 15 * 86_400),
    "quota": ('[{bytes = "1kB", each = true}]', (Quota(bytes=1000, each=True),)),
    "rate": ('[{requests = "10/1m"}]', (Rate(10, 60, 10),)),
    "retention": ('[{repositories = ["ci/*"], keep_last = 3}]', (Rule(("ci/*",), keep_last=3),)),
    "issuers": (
        '[{name = "ci", issuer = "https://ci.example", audience = "here"}]',
        (Issuer("ci", "https://ci.example", "here"),),
    ),
    "upstream": (
        '[{name = "a.example", ttl = "5m"}]',
        (Upstream("a.example", "https://a.example", ttl=300),),
    ),
    "mirror": (
        "a.example b.example=http://localhost:5001",
        (
            Upstream("a.example", "https://a.example"),
            Upstream("b.example", "http://localhost:5001", private=True),
        ),
    ),
    "local": ("team/*, docker.io/ours/*", ("team/*", "docker.io/ours/*")),
    "offline": ("true", True),
    "cache_size": ("1.5GiB", 3 * 2**29),
    "build_cache": (
        '[{repositories = ["cache/*"], grace = "5m", size = "1GB"}]',
        (BuildCache(("cache/*",), 300, 10**9),),
    ),
}


@pytest.mark.parametrize("name", SCHEMA)
def test_every_key_has_a_variable(name: str) -> None:
    text, value = TEXTS[name]
    loaded = load({}, {**HOME, SCHEMA[name].variable: text}, serving=False)
    assert getattr(loaded.settings, name) == value
    assert loaded.sources[name] == f"environment REGISTRY_{name.upper()}"


@pytest.mark.parametrize("name", SCHEMA)
def test_flags_are_read_like_variables(name: str) -> None:
    text, value = TEXTS[name]
    loaded = load({name: text}, HOME, serving=False)
    assert getattr(loaded.settings, name) == value
    assert loaded.sources[name] == f"flag {SCHEMA[name].flag}"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("90s", 90), ("1h30m", 5400), ("14d", 14 * 86_400), ("2w1d1s", 15 * 86_400 + 1)],
)
def test_durations(text: str, seconds: int) -> None:
    assert load({"untagged": text}, HOME).settings.untagged == seconds


@pytest.mark.parametrize("text", ["never", "Never", "false"])
def test_never(text: str, tmp_path: Path) -> None:
    assert load({"untagged": text}, HOME).settings.untagged == "never"
    assert load({}, HOME, write(tmp_path, "untagged = false")).settings.untagged == "never"
    assert load({}, HOME, write(tmp_path, "untagged = 0")).settings.untagged == 0


@pytest.mark.parametrize("text", ["", "14", "[{", "[]\nport = 1", '[{repositories = ["ci/*"], keep = 1}]'])
def test_text_that_is_no_retention(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^retention"):
        load({"retention": text}, HOME)


def test_a_bad_flag_is_named() -> None:
    with pytest.raises(ConfigError, match=r"'soon' \(flag --upload-expiry\): expected seconds"):
        load({"upload_expiry": "soon"}, HOME)


@pytest.mark.parametrize(
    "text",
    [
        '[{name = "a.example", username = "u", password = "hunter2"',
        '[{name = "a.example", pasword = "hunter2"}]',
    ],
)
def test_no_message_shows_what_may_be_a_password(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^upstream") as caught:
        load({"upstream": text}, HOME)
    assert "hunter2" not in str(caught.value)


def test_each_upstream_is_named_once_in_both_keys_together() -> None:
    with pytest.raises(ConfigError, match=r"upstream \(flag --upstream\) and mirror .*each upstream once"):
        load({"upstream": '[{name = "a.example"}]', "mirror": "a.example"}, HOME)


def test_upstreams_need_the_library_that_asks_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load({"mirror": "a.example"}, HOME).settings.upstreams[0].name == "a.example"
    monkeypatch.setattr(transport, "is_installed", lambda: False)
    assert load({}, HOME).settings.upstreams == ()
    with pytest.raises(ConfigError, match=r"mirror \(flag --mirror\).*pip install 'oci-registry\[cache\]'"):
        load({"mirror": "a.example"}, HOME)


CI = 'repositories = ["ci/*"]'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("prt = 1", ["prt", "did you mean port?"]),
        ("zzzzzz = 1", ["zzzzzz", "known keys: root, host, port"]),
        ("[http]\nport = 1", ["http"]),
        ('port = "5000"', ["port = '5000'", "a whole number from 0 to 65535"]),
        ("port = 65536", ["port = 65536"]),
        ("port = true", ["port = True"]),
        ("workers = 0", ["workers = 0", "from 1 to"]),
        ("delete = 1", ["delete = 1", "true or false"]),
        ('anonymous = "all"', ["anonymous = 'all'", '"pull", "push"']),
        ('root = ""', ["root = ''", "the path of a folder"]),
        ("root = 5", ["root = 5"]),
        ("tls_cert = 1", ["tls_cert = 1", "the path of a file"]),
        ('tls_cert = "/c.pem"', ["tls_cert = /c.pem", "give --tls-key FILE too"]),
        ('tls_key = "/c.key"', ["tls_key = /c.key", "give --tls-cert FILE too"]),
        ('tls_cert = "/c.pem"\ntls_key = ""', ["tls_cert = /c.pem", "give --tls-key FILE too"]),
        ('host = "http://x"', ["host = 'http://x'", "an address"]),
        ('drain = "soon"', ["drain = 'soon'", "90s"]),
        ("drain = -1", ["drain = -1"]),
        ("drain = 1.5", ["drain = 1.5"]),
        ('upload_expiry = ""', ["upload_expiry = ''"]),
        ("upload_expiry = 0", ["upload_expiry = 0", "1 at least"]),
        ('immutable_tags = "*:v*"', ["immutable_tags = '*:v*'", "patterns REPO:TAG"]),
        ('immutable_tags = ["v*"]', ["patterns REPO:TAG"]),
        ('immutable_tags = ["a:b:c"]', ["patterns REPO:TAG"]),
        ("immutable_tags = [1]", ["patterns REPO:TAG"]),
        ("port 1", ["is not TOML", "line 1"]),
        (f"port = {'1' * 5000}", ["is not TOML"]),
        (f"local = {'[' * 5000}", ["is not TOML", "brackets"]),
        ("untagged = true", ["untagged = True", "30m", '"never"']),
        ('untagged = "ever"', ["untagged = 'ever'"]),
        ("retention = 5", ["retention = 5", "expected tables such as [[retention]]"]),
        ("retention = [5]", ["retention, entry 1 = 5", "a table with keys out of repositories, keep_last"]),
        (f"[[retention]]\n{CI}\n[[retention]]", ["retention, entry 2 = {}", "repositories among its keys"]),
        (f"[[retention]]\n{CI}\nkeep_lst = 1", ["entry 1: keep_lst = 1", "did you mean keep_last?"]),
        (f"[[retention]]\n{CI}\nzzz = 1", ["entry 1: zzz = 1", "only the keys repositories, keep_last"]),
        (f"[[retention]]\n{CI}\nkeep_last = 0", ["keep_last = 0", "a whole number from 1"]),
        (f"[[retention]]\n{CI}\nkeep_last = true", ["keep_last = True", "a whole number from 1"]),
        (f"[[retention]]\n{CI}\nkeep_newer = '2y'", ["keep_newer = '2y'", "14d, 1 at least"]),
        (f"[[retention]]\n{CI}\nkeep_pulled = 0", ["keep_pulled = 0", "14d, 1 at least"]),
        (f"[[retention]]\n{CI}\nkeep_tags = []", ["keep_tags = []", "a list of patterns"]),
        (f"[[retention]]\n{CI}\nkeep_tags = ['v?']", ["keep_tags = ['v?']", "* for anything"]),
        (f"[[retention]]\n{CI}\nkeep_tags = [1]", ["keep_tags = [1]"]),
        (f"[[retention]]\n{CI}\nuntagged = -1", ["untagged = -1", '"never"']),
        ("[[retention]]\nrepositories = 'ci'", ["entry 1: repositories = 'ci'", '["ci/*"]']),
        ("[[retention]]\nrepositories = ['CI']", ["entry 1: repositories = ['CI']"]),
    ],
)
def test_a_bad_file_stops_the_start(tmp_path: Path, text: str, says: list[str]) -> None:
    config = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load({}, HOME, config)
    assert all(part in str(caught.value) for part in [*says, config])


@pytest.mark.parametrize("content", [b"\xff", None])
def test_an_unreadable_file_stops_the_start(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "registry.toml"
    if content:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"registry\.toml"):
        load({}, HOME, str(file))


def test_a_yaml_file_stops_the_start() -> None:
    with pytest.raises(ConfigError, match="as TOML"):
        load({}, HOME, "/etc/distribution/config.yml")


PAIR = 'tls_cert = "/c.pem"\ntls_key = "/c.key"\n'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (PAIR + "tls_self_signed = true", ["tls_self_signed", "tls_cert = /c.pem", "one of the two"]),
        ('tls_names = ["a.lan"]', ["tls_names", "--tls-self-signed"]),
        ('tls_self_signed = true\ntls_names = ["a lan"]', ["tls_names", "host names and addresses"]),
        ('tls_self_signed = true\ntls_names = "a.lan"', ["tls_names", "host names and addresses"]),
        (PAIR + 'tls_client_auth = "required"', ["tls_client_auth = required", "--tls-client-ca FILE"]),
        ('tls_client_ca = "/ca.pem"', ["tls_client_ca = /ca.pem", "needs HTTPS"]),
        (PAIR + 'tls_client_ca = "/ca.pem"\ntls_client_auth = "no"', ["tls_client_auth", "optional"]),
    ],
)
def test_what_of_tls_does_not_go_together(tmp_path: Path, text: str, says: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load({}, HOME, write(tmp_path, text))
    assert [part for part in says if part not in str(caught.value)] == []


@pytest.mark.parametrize("auth", ["optional", "required"])
def test_authorities_for_clients_say_who_may_come_in(tmp_path: Path, auth: str) -> None:
    text = f'{PAIR}host = "0.0.0.0"\ntls_client_ca = "/ca.pem"\ntls_client_auth = "{auth}"'
    settings = load({}, HOME, write(tmp_path, text)).settings
    assert not access_rules_of(settings).open


DISTRIBUTION_CLIENTS = {
    "REGISTRY_HTTP_TLS_CERTIFICATE": "/certs/domain.crt",
    "REGISTRY_HTTP_TLS_KEY": "/certs/domain.key",
    "REGISTRY_HTTP_TLS_CLIENTCAS_0": "/certs/clients.crt",
}


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize(
    ("auth", "mode"),
    [
        ("", "required"),
        ("require-and-verify-client-cert", "required"),
        ("verify-client-cert-if-given", "optional"),
    ],
)
def test_client_certificates_of_the_distribution_image(auth: str, mode: str, backwards: bool) -> None:
    """Whoever names authorities there lets nobody in without a certificate."""
    environ = {**HOME, **DISTRIBUTION_CLIENTS, "REGISTRY_HTTP_TLS_CLIENTAUTH": auth}
    settings = load({}, dict(reversed(environ.items())) if backwards else environ).settings
    assert (settings.tls_client_ca, settings.tls_client_auth) == ("/certs/clients.crt", mode)


def test_a_list_of_one_authority() -> None:
    environ = {**HOME, **DISTRIBUTION_CLIENTS}
    environ["REGISTRY_HTTP_TLS_CLIENTCAS"] = "[/certs/clients.crt]"
    del environ["REGISTRY_HTTP_TLS_CLIENTCAS_0"]
    assert load({}, environ).settings.tls_client_ca == "/certs/clients.crt"


DISTRIBUTION_TLS = {
    "REGISTRY_HTTP_TLS_CERTIFICATE": "/certs/domain.crt",
    "REGISTRY_HTTP_TLS_KEY": "/certs/domain.key",
}

DISTRIBUTION_USERS = {
    "REGISTRY_AUTH": "htpasswd",
    "REGISTRY_AUTH_HTPASSWD_REALM": "Registry Realm",
    "REGISTRY_AUTH_HTPASSWD_PATH": "/auth/htpasswd",
}


@pytest.mark.parametrize(
    ("environ", "key", "value"),
    [
        ({"REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": "/srv"}, "root", "/srv"),
        ({"REGISTRY_STORAGE_DELETE_ENABLED": "false"}, "delete", False),
        ({"REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED": "true"}, "read_only", True),
        ({"REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED": "false"}, "read_only", False),
        ({"REGISTRY_STORAGE_MAINTENANCE_READONLY": "{enabled: true}"}, "read_only", True),
        ({"REGISTRY_STORAGE_MAINTENANCE_READONLY": "{ 'enabled': false }"}, "read_only", False),
        ({"REGISTRY_STORAGE_MAINTENANCE_READONLY": '{"enabled":true}'}, "read_only", True),
        ({"REGISTRY_STORAGE_MAINTENANCE_READONLY": "false"}, "read_only", False),
        ({"REGISTRY_HTTP_ADDR": ":5001"}, "host", "0.0.0.0"),
        ({"REGISTRY_HTTP_ADDR": ":5001"}, "port", 5001),
        ({"REGISTRY_HTTP_ADDR": "0.0.0.0:5001"}, "host", "0.0.0.0"),
        ({"REGISTRY_HTTP_ADDR": "[::]:5001"}, "host", "::"),
        ({"REGISTRY_HTTP_ADDR": "localhost:5001"}, "host", "localhost"),
        ({"REGISTRY_HTTP_HOST": "https://hub.example"}, "external_url", "https://hub.example"),
        ({"REGISTRY_HTTP_HOST": ""}, "external_url", ""),
        (DISTRIBUTION_TLS, "tls_cert", "/certs/domain.crt"),
        (DISTRIBUTION_TLS, "tls_key", "/certs/domain.key"),
        (DISTRIBUTION_USERS, "htpasswd", "/auth/htpasswd"),
        ({"REGISTRY_AUTH_HTPASSWD_PATH": "/auth/htpasswd"}, "htpasswd", "/auth/htpasswd"),
        ({**DISTRIBUTION_USERS, "REGISTRY_HTPASSWD": "/own"}, "htpasswd", "/own"),
        ({"REGISTRY_AUTH": "htpasswd", "REGISTRY_HTPASSWD": "/own"}, "htpasswd", "/own"),
        ({"REGISTRY_HTTP_DRAINTIMEOUT": "1m5s"}, "drain", 65),
        ({"REGISTRY_LOG_ACCESSLOG_DISABLED": "true"}, "access_log", False),
        ({"REGISTRY_LOG_ACCESSLOG_DISABLED": "false"}, "access_log", True),
    ],
)
def test_names_of_the_distribution_image(environ: Mapping[str, str], key: str, value: object) -> None:
    loaded = load({"anonymous": "pull"}, {**HOME, **environ})
    assert getattr(loaded.settings, key) == value
    assert loaded.warnings == ()


@pytest.mark.parametrize(
    "variable",
    [
        "REGISTRY_HTTP_SECRET=abc",
        "REGISTRY_LOG_LEVEL=debug",
        "REGISTRY_LOG_FIELDS_SERVICE=registry",
        "REGISTRY_STORAGE=filesystem",
        "REGISTRY_STORAGE_CACHE_BLOBDESCRIPTOR=inmemory",
        "REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING_ENABLED=true",
        "REGISTRY_HTTP_TLS_MINIMUMTLS=tls1.2",
        "REGISTRY_AUTH=",
        "REGISTRY_AUTH_HTPASSWD_REALM=Registry Realm",
        # what a container platform sets for Services named registry, registry-proxy and registry-auth
        "REGISTRY_PORT=tcp://10.0.0.7:5000",
        "REGISTRY_SERVICE_HOST=10.0.0.7",
        "REGISTRY_SERVICE_PORT=5000",
        "REGISTRY_SERVICE_PORT_HTTP=5000",
        "REGISTRY_PORT_5000_TCP=tcp://10.0.0.7:5000",
        "REGISTRY_PORT_5000_TCP_ADDR=10.0.0.7",
        "REGISTRY_PROXY_SERVICE_HOST=10.0.0.8",
        "REGISTRY_PROXY_PORT_80_TCP_PROTO=tcp",
        "REGISTRY_AUTH_PORT=tcp://10.0.0.8:5001",
        "REGISTRY_NAME=/app/registry",
        "PATH=/bin",
    ],
)
def test_passed_over(variable: str) -> None:
    name, _, value = variable.partition("=")
    loaded = load({}, {**HOME, name: value})
    assert set(loaded.sources.values()) == {"default"}
    assert loaded.warnings == ()


@pytest.mark.parametrize(
    ("variable", "says"),
    [
        ("REGISTRY_AUTH=htpasswd", "REGISTRY_AUTH_HTPASSWD_PATH is not: name the file"),
        ("REGISTRY_AUTH=token", "logins"),
        ("REGISTRY_AUTH=silly", "logins"),
        ("REGISTRY_AUTH=htpasswd ", "logins"),
        ("REGISTRY_AUTH_SILLY_REALM=x", "logins"),
        ("REGISTRY_AUTH_TOKEN_SERVICE=registry", "issuers"),
        (
            "REGISTRY_HTTP_HOST=https://hub.example/registry/",
            "external_url = 'https://hub.example/registry/'",
        ),
        ("REGISTRY_HTTP_HOST=hub.example", "external_url = 'hub.example'"),
        ("REGISTRY_HTTP_TLS_CERTIFICATE=/c.pem", "give --tls-key FILE too"),
        ("REGISTRY_HTTP_TLS_CLIENTCAS_0=/ca.pem", "needs HTTPS"),
        ("REGISTRY_HTTP_TLS_CLIENTCAS=[/a.pem, /b.pem]", "one file"),
        ("REGISTRY_HTTP_TLS_CLIENTCAS_1=/ca.pem", "one file"),
        ("REGISTRY_HTTP_TLS_CLIENTAUTH=require-any-client-cert", "always verified"),
        ("REGISTRY_HTTP_TLS_CLIENTAUTH=request-client-cert", "require-and-verify-client-cert"),
        ("REGISTRY_HTTP_TLS_CLIENTAUTH=require-and-verify-client-cert", "--tls-client-ca FILE"),
        ("REGISTRY_HTTP_TLS_LETSENCRYPT_EMAIL=ann@registry.example", "REGISTRY_TLS_CERT"),
        ("REGISTRY_HTTP_TLS_MINIMUMTLS=tls1.3", "TLS 1.2"),
        ("REGISTRY_HTTP_TLS_CIPHERSUITES=[TLS_AES_128_GCM_SHA256]", "ciphers"),
        ("REGISTRY_PROXY_REMOTEURL=https://registry.example", "mirroring"),
        ("REGISTRY_STORAGE=s3", "'s3'"),
        ("REGISTRY_STORAGE_S3_BUCKET=images", "REGISTRY_ROOT"),
        ("REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED=perhaps", "true or false"),
        ("REGISTRY_STORAGE_MAINTENANCE_READONLY=true", "{enabled: true}"),
        ("REGISTRY_STORAGE_MAINTENANCE_READONLY={enabled: perhaps}", "true or false"),
        ("REGISTRY_IMMUTABLE_TAGS=v1", "patterns REPO:TAG"),
        ("REGISTRY_IMMUTABLE_TAGS=*:v* [a]:b", "patterns REPO:TAG"),
        ("REGISTRY_CONFIGURATION_PATH=/etc/x.yml", "TOML"),
        ("REGISTRY_HTTP_ADDR=5000", "HOST:PORT"),
        ("REGISTRY_HTTP_ADDR=:http", "a whole number"),
        ("REGISTRY_PORT=http", "a whole number from 0 to 65535"),
        ("REGISTRY_DELETE=maybe", "true or false"),
        ("REGISTRY_DRAIN=1 day", "90s"),
    ],
)
def test_variables_that_stop_the_start(variable: str, says: str) -> None:
    name, _, value = variable.partition("=")
    with pytest.raises(ConfigError) as caught:
        load({"anonymous": "push"}, {**HOME, name: value})
    assert name in str(caught.value)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("REGISTRY_ROT", "did you mean REGISTRY_ROOT?"),
        ("REGISTRY_NOTIFICATIONS_ENDPOINTS", "no effect"),
    ],
)
def test_unknown_variables_are_warned_about(name: str, says: str) -> None:
    loaded = load({}, {**HOME, name: "x"})
    assert len(loaded.warnings) == 1
    assert name in loaded.warnings[0]
    assert says in loaded.warnings[0]


@pytest.mark.parametrize(
    ("flags", "serving", "warned"),
    [
        ({"read_only": True, "scrub_rate": 5}, True, True),
        ({"read_only": True, "scrub_rate": 5}, False, False),
        ({"read_only": True}, True, False),
        ({"scrub_rate": 5}, True, False),
    ],
)
def test_a_scrub_that_read_only_keeps_from_its_work_is_warned_about(
    flags: dict[str, object], serving: bool, warned: bool
) -> None:
    warning = "scrub_rate (flag --scrub-rate) has no effect while read_only is on"
    assert load(flags, HOME, serving=serving).warnings == ((warning,) if warned else ())


BUILDS = 'build_cache = [{repositories = ["cache/*"]}]'


@pytest.mark.parametrize(
    ("text", "warned"),
    [
        (BUILDS, []),
        (f"{BUILDS}\ngc = false", ["build_cache (file {}) has no effect on this server while gc is off"]),
        (
            f"{BUILDS}\nread_only = true\ngc = false",
            ["build_cache (file {}) has no effect on this server while read_only is on"],
        ),
        ('mirror = ["docker.io"]\noffline = true\ncache_size = "1GiB"\nlocal = ["team/*"]', []),
        ('upstream = [{name = "docker.io"}]\noffline = true', []),
        ("offline = false\ncache_size = 0\nlocal = []", []),
        (
            'offline = true\ncache_size = "1GiB"\nlocal = ["team/*"]',
            [
                f"{name} (file {{}}) has no effect without an upstream: give --mirror or [[upstream]]"
                for name in ("cache_size", "offline", "local")
            ],
        ),
    ],
)
def test_what_has_no_effect_is_warned_about(tmp_path: Path, text: str, warned: list[str]) -> None:
    file = tmp_path / "registry.toml"
    file.write_text(text)
    expected = tuple(each.format(file) for each in warned)
    assert load({}, HOME, str(file)).warnings == expected
    assert load({}, HOME, str(file), serving=False).warnings == ()


@pytest.mark.parametrize(
    ("host", "anonymous", "starts"),
    [
        ("127.0.0.1", "", True),
        ("127.9.9.9", "", True),
        ("::1", "", True),
        ("[::1]", "", True),
        ("localhost", "", True),
        ("0.0.0.0", "", False),
        ("::", "", False),
        ("10.0.0.1", "", False),
        ("registry.example", "", False),
        ("localhost.example", "", False),
        ("0.0.0.0", "auto", False),
        ("0.0.0.0", "unclaimed", True),
        ("0.0.0.0", "none", True),
        ("0.0.0.0", "pull", True),
        ("0.0.0.0", "push", True),
        ("127.0.0.1", "pull", True),
    ],
)
def test_only_loopback_is_open_without_asking(host: str, anonymous: str, starts: bool) -> None:
    flags = {"host": host, "anonymous": anonymous or None}
    if starts:
        assert load(flags, HOME).settings.host == host.strip("[]")
        return
    with pytest.raises(ConfigError, match="--anonymous pull"):
        load(flags, HOME)
    assert load(flags, HOME, serving=False).settings.host == host


@pytest.mark.parametrize("how", ["htpasswd", "secrets/robots.json", "--access", "--issuers", "--htpasswd"])
def test_who_has_accounts_may_listen_anywhere(tmp_path: Path, how: str) -> None:
    """There is no built-in account, and none is needed to see what is missing (T39)."""
    entry = '[{repositories = ["*"], users = ["a"], actions = ["pull"]}]'
    flags = {"host": "0.0.0.0", "root": str(tmp_path)}
    with pytest.raises(ConfigError, match="registry user add NAME"):
        load(flags, HOME)
    issuer = '[{name = "ci", issuer = "https://ci.example", audience = "here"}]'
    named = {"access": entry, "issuers": issuer, "htpasswd": str(tmp_path / "later")}
    if how.startswith("--"):  # a file that is named also before it is there: until then nobody comes in
        loaded = load({**flags, how[2:]: named[how[2:]]}, HOME)
        assert not access_rules_of(loaded.settings).open
        return
    file = tmp_path / how
    file.parent.mkdir(exist_ok=True)
    file.touch()
    load(flags, HOME)


def test_logins_that_would_mean_nothing() -> None:
    """As of a compose file that opened the registry before it had users."""
    with pytest.raises(ConfigError, match="leave out one"):
        load({"anonymous": "push", "htpasswd": "/etc/htpasswd"}, HOME)


def test_a_temporary_root_and_a_named_one_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match="not both"):
        load({"root": "/srv", "ephemeral": True}, HOME)
    # An image that sets the root for everyone must not forbid the flag.
    assert load({"ephemeral": True}, {**HOME, "REGISTRY_ROOT": "/srv"}).settings.ephemeral


def test_paths_become_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    flags = {"root": "images", "tls_cert": "c.pem", "tls_key": "c.key", "htpasswd": "users"}
    settings = load(flags, HOME).settings
    found = (settings.root, settings.tls_cert, settings.tls_key, settings.htpasswd)
    assert found == tuple(str(tmp_path / name) for name in ("images", "c.pem", "c.key", "users"))


def test_the_process_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_DRAIN", "7")
    assert load_from_process({}).settings.drain == 7


def test_settings_travel_to_workers() -> None:
    settings = load({"port": 0}, HOME).settings
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_every_key_explains_itself() -> None:
    assert all(key.help.endswith(".") and key.kind.expected for key in SCHEMA.values())
    assert set(TEXTS) == set(SCHEMA)


def test_a_profile_sets_what_nothing_else_does(tmp_path: Path) -> None:
    profile = tmp_path / "mine.toml"
    profile.write_text('[settings]\ndelete = false\nsparse = true\ndrain = "2m"\n')
    loaded = load({"profile": str(profile), "delete": True}, HOME, write(tmp_path, "sparse = false\n"))
    settings = loaded.settings
    assert (settings.delete, settings.sparse, settings.drain) == (True, False, 120)
    assert loaded.sources["drain"] == "profile mine"
    assert loaded.sources["sparse"].startswith("file ")


@pytest.mark.parametrize("value", ["ghrc", "none/mine.toml"])
def test_a_profile_that_cannot_be_read_stops_the_start(value: str) -> None:
    with pytest.raises(ConfigError, match="profile \\(environment REGISTRY_PROFILE\\)"):
        load({}, {**HOME, "REGISTRY_PROFILE": value})
