"""`python -m oci_registry_testing.scenarios.oras_py VERB …`: oras for Python, a library, as a command."""

import sys


def main(verb: str, target: str, *more: str) -> None:
    # Nobody else needs it.
    from oras.client import OrasClient

    client = OrasClient(hostname=target.split("/")[0], insecure=True)
    match verb:
        case "login":
            client.login(username=more[0], password=more[1], hostname=target, tls_verify=False)
        case "push":
            client.push(target, files=list(more))
        case "pull":
            client.pull(target, outdir=more[0])
        case "tags":
            print("\n".join(client.get_tags(target)))
        case "delete":
            repository, _, tag = target.rpartition(":")
            client.delete_tags(repository, [tag])
        case _:
            raise SystemExit(f"{verb}: expected login, push, pull, tags or delete")


if __name__ == "__main__":
    main(*sys.argv[1:])
