"""Where a client works: its files, and what the registry has before and after."""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from oci_registry_testing.registry import Registry, Stored
from oci_registry_testing.scenarios.client import Done
from oci_registry_testing.scenarios.payload import (
    NAME,
    Payload,
    is_held,
    is_in,
    write_archive,
    write_layout,
)
from oci_registry_testing.scenarios.scenario import MANY_TAGS, Scenario

REPOSITORY, TAG = "team/app", "v1"
TYPE, OTHER_TYPE = "application/vnd.example.note", "application/vnd.example.other"
USER, PASSWORD = "ann", "secret"

_SEEDED = {"pull", "attach", "tags", "delete"}


class Place:
    """Where a client works: `work` is its folder."""

    def __init__(self, registry: Registry, folder: Path, payload: Payload) -> None:
        self._registry, self._payload = registry, payload
        self.work = folder / "work"
        self._out, self._layout = self.work / "out", self.work / "layout"
        for made in (self.work, self._out):
            made.mkdir()
        write_layout(payload, self._layout)
        (self.work / NAME).write_bytes(payload.data)
        (self.work / "auth.json").write_text("{}")  # podman wants the file of logins to be there

    def places(self, repository: str = REPOSITORY) -> Mapping[str, str]:
        """What stands for what is in braces; the image's archive has its name in it, and is written anew."""
        host = self._registry.host
        image, archive = f"{host}/{repository}:{TAG}", self.work / "image.tar"
        write_archive(self._payload, image, archive)
        return {
            "host": host,
            "repository": f"{host}/{repository}",
            "tag": TAG,
            "image": image,
            "user": USER,
            "password": PASSWORD,
            "layout": str(self._layout),
            "name": NAME,
            "archive": str(archive),
            "type": TYPE,
            "file": NAME,  # in the folder in which it runs: some clients take no other
            "out": str(self._out),
            "work": str(self.work),
            "python": sys.executable,
        }

    def prepare(self, scenario: Scenario) -> None:
        if scenario.taken:
            self._registry.push_image(f"{REPOSITORY}:{TAG}", {"other": "image"})
        if _SEEDED & set(scenario.verbs) and "push" not in scenario.verbs:
            self._registry.push(f"{REPOSITORY}:{TAG}", self._payload.content)
        if "referrers" in scenario.verbs:
            self._registry.push_artifact(
                REPOSITORY, {"other": "x"}, OTHER_TYPE, subject=self._payload.content
            )
        if "tags" in scenario.verbs:
            for tag in self._tags:
                self._registry.push(f"{REPOSITORY}:{tag}", self._payload.content)

    def is_right(self, verb: str, done: Done) -> bool:
        """Whether what a client says to have done has been done."""
        match verb:
            case "push":
                return any(is_held(self._payload.data, self._layers(each)) for each in self._tagged())
            case "pull":
                return is_in(self._payload.data, self._out)
            case "tags":
                return {TAG, *self._tags} <= set(re.findall(r"[\w.-]+", done.answer))
            case "attach":
                return bool(self._referrers())
            case "referrers":
                others = self._referrers(OTHER_TYPE)
                told = [digest in done.answer for digest in self._referrers()]
                return all(told) and not any(digest in done.answer for digest in others)
            case "delete":
                return not self._tagged()
        return True

    @property
    def _tags(self) -> list[str]:
        return [f"t{number:02}" for number in range(1, MANY_TAGS)]

    def _tagged(self) -> list[Stored]:
        """What the image's tag names, if anything."""
        return [each for each in self._held() if TAG in each.tags]

    def _referrers(self, artifact_type: str = TYPE) -> list[str]:
        """The digests of what refers to the image."""
        wanted = self._payload.content.digest, artifact_type
        return [each.digest for each in self._held() if _refers(each) == wanted]

    def _held(self) -> list[Stored]:
        return [each for each in self._registry.manifests() if each.repository == REPOSITORY]

    def _layers(self, stored: Stored) -> Iterator[bytes]:
        for named in json.loads(stored.manifest).get("layers", ()):
            yield self._registry.blob(named["digest"])


def _refers(stored: Stored) -> tuple[str, str]:
    """To which digest, and as what."""
    manifest = json.loads(stored.manifest)
    return (manifest.get("subject") or {}).get("digest", ""), manifest.get("artifactType", "")
