"""What a deployment needs of a registry: the digest that a tag names now."""

import base64
import time
import urllib.error
import urllib.request

ACCEPT = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json"
TRIES = 3


class NotFound(Exception):
    pass


def resolve(url: str, repository: str, tag: str, login: tuple[str, str] | None = None) -> str:
    """The digest of REPOSITORY:TAG. A registry that is busy is asked again."""
    request = urllib.request.Request(f"{url}/v2/{repository}/manifests/{tag}", method="HEAD")
    request.add_header("Accept", ACCEPT)
    if login:
        request.add_header("Authorization", "Basic " + base64.b64encode(":".join(login).encode()).decode())
    for left in reversed(range(TRIES)):
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return str(answer.headers["Docker-Content-Digest"])
        except urllib.error.HTTPError as error:
            if error.code == 404:
                raise NotFound(f"{repository}:{tag}") from None
            if error.code != 429 or not left:
                raise
            time.sleep(float(error.headers.get("Retry-After", 1)))
    raise AssertionError("the last try has returned or raised")
