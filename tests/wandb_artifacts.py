"""The artifacts of the stand-in for the W&B server: `run.log_artifact` drives it.

    with WandbServer() as server:
        artifacts = Artifacts(server)
        ...  # a run logs one
        assert artifacts["model-first"].files["weights"] == b"..."

A name has versions, v0 and so on; content that a name has had already makes no new version.
"""

import base64
import hashlib
import json
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tests.wandb_server import JSON, WandbServer


@dataclass
class StoredArtifact:
    id: str
    name: str
    type: str
    digest: str
    logged_by: str  # the run: as the client says it when it creates the artifact
    aliases: list[str]
    metadata: JSON
    state: str = "PENDING"
    manifest: bytes = b""
    uploads: dict[str, bytes] = field(default_factory=dict)  # by path

    @property
    def files(self) -> dict[str, bytes]:
        """The files of a committed artifact, each of which must be as its manifest says."""
        assert self.state == "COMMITTED"
        contents = json.loads(self.manifest)["contents"]
        assert set(contents) == set(self.uploads)
        for path, entry in contents.items():
            digest = base64.b64encode(hashlib.md5(self.uploads[path]).digest()).decode()
            assert (entry["digest"], entry["size"]) == (digest, len(self.uploads[path]))
        return self.uploads


class Artifacts:
    """Adds artifacts to a stand-in."""

    def __init__(self, server: WandbServer) -> None:
        self.versions: list[StoredArtifact] = []
        self.server = server
        server.operations |= {
            "ArtifactType": self._type,
            "CreateArtifact": self._create,
            "CreateArtifactManifest": self._create_manifest,
            "UpdateArtifactManifest": self._create_manifest,
            "CreateArtifactFiles": self._create_files,
            "CommitArtifact": self._commit,
        }

    def __getitem__(self, name: str) -> StoredArtifact:
        """The newest version."""
        return [each for each in self.versions if each.name == name][-1]

    def _find(self, identity: str) -> StoredArtifact:
        return next(each for each in self.versions if each.id == identity)

    def _type(self, variables: JSON) -> JSON:
        name = variables["name"].partition(":")[0]
        found = next((each for each in self.versions if each.name == name), None)
        return {"project": {"artifact": found and {"artifactType": {"name": found.type}}}}

    def _create(self, variables: JSON) -> JSON:
        given = variables["input"]
        name = given["artifactCollectionName"]
        earlier = [each for each in self.versions if each.name == name]
        aliases = [each["alias"] for each in given["aliases"]]
        found = next((each for each in earlier if each.digest == given["digest"]), None)
        if found is None:
            found = StoredArtifact(
                f"{name}:v{len(earlier)}",
                name,
                given["artifactTypeName"],
                given["digest"],
                given["runName"],
                aliases,
                json.loads(given["metadata"]),
            )
            self.versions.append(found)
        sequence = {
            "id": name,
            "latestArtifact": {"id": earlier[-1].id, "versionIndex": len(earlier) - 1} if earlier else None,
        }
        return {"createArtifact": {"artifact": {"id": found.id, "state": found.state, "artifactSequence": sequence}}}

    def _create_manifest(self, variables: JSON) -> JSON:
        identity = variables.get("artifactID") or variables["artifactManifestID"].removeprefix("manifest of ")
        artifact = self._find(identity)
        url = self.server.upload_url(partial(setattr, artifact, "manifest"))
        file = {"id": "file", "uploadUrl": url, "uploadHeaders": []}
        manifest = {"artifactManifest": {"id": f"manifest of {identity}", "file": file}}
        return {"createArtifactManifest": manifest, "updateArtifactManifest": manifest}

    def _create_files(self, variables: JSON) -> JSON:
        nodes: list[dict[str, Any]] = []
        for file in variables["input"]["artifactFiles"]:
            artifact = self._find(file["artifactID"])
            url = self.server.upload_url(partial(artifact.uploads.__setitem__, file["name"]))
            storage = f"stored/{file['name']}"
            nodes.append({
                "storagePath": storage,
                "uploadUrl": url,
                "uploadHeaders": [],
                "uploadMultipartUrls": None,
                "artifact": {"id": artifact.id},
            })  # fmt: skip
        return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}

    def _commit(self, variables: JSON) -> JSON:
        artifact = self._find(variables["artifactID"])
        artifact.state = "COMMITTED"
        return {"commitArtifact": {"artifact": {"id": artifact.id, "digest": artifact.digest}}}
