"""The W&B Reports of the stand-in for the W&B server, which wandb-workspaces saves and loads.

    with WandbServer() as server:
        reports = Reports(server, projects={"tester": ["demo"]})
        ...  # wandb_workspaces.reports.v2.Report(...).save()
        (report,) = reports.values()
        assert report.blocks[0]["type"] == "paragraph"

They are "views" there. A project is there because it is named, or because a run is in it.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.wandb_server import JSON, WandbServer


@dataclass
class StoredReport:
    id: str
    name: str
    type: str
    title: str
    description: str
    entity: str
    project: str
    spec: JSON

    @property
    def blocks(self) -> list[JSON]:
        return list(self.spec["blocks"])

    def as_view(self) -> JSON:
        return {
            "id": self.id,
            "type": self.type,
            "name": self.name,
            "displayName": self.title,
            "description": self.description,
            "project": {"id": f"key of {self.project}", "name": self.project, "entityName": self.entity},
            "createdAt": "2026-01-31T12:00:00",
            "updatedAt": "2026-01-31T12:00:00",
            "spec": json.dumps(self.spec),
        }


class Reports(dict[str, StoredReport]):
    """The reports of a server, by id."""

    def __init__(self, server: WandbServer, projects: Mapping[str, Sequence[str]]) -> None:
        self.server = server
        self._named = projects
        server.operations |= {
            "GetProjects": self._projects,
            "ProjectInternalId": self._project,
            "upsertView": self._upsert,
            "SpecificReport": self._view,
        }

    def projects(self, entity: str) -> list[str]:
        of_runs = [run.project for run in self.server.runs.values() if run.entity == entity]
        return sorted({*self._named.get(entity, ()), *of_runs})

    def _projects(self, variables: JSON) -> JSON:
        entity = variables["entity"]
        if not self.projects(entity):
            return {"models": None}
        found: list[JSON] = [
            {
                "__typename": "Project",
                "id": f"key of {name}",
                "name": name,
                "entityName": entity,
                "createdAt": "2026-01-31T12:00:00",
                "isBenchmark": False,
                "user": None,
            }
            for name in self.projects(entity)
        ]
        last: JSON = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
        return {"models": {"pageInfo": last, "edges": [{"node": node} for node in found]}}

    def _project(self, variables: JSON) -> JSON:
        entity, name = variables["entityName"], variables["projectName"]
        is_there = name in self.projects(entity)
        return {"project": {"id": f"key of {name}", "internalId": f"{entity}'s {name}"} if is_there else None}

    def _upsert(self, variables: JSON) -> JSON:
        if variables["projectName"] not in self.projects(variables["entityName"]):
            raise ValueError("a report needs a project")
        new_id = base64.b64encode(f"View:{len(self)}".encode()).decode()
        report = StoredReport(
            id=variables["id"] or new_id,
            name=variables["name"],
            type=variables["type"],
            title=variables["displayName"],
            description=variables["description"],
            entity=variables["entityName"],
            project=variables["projectName"],
            spec=json.loads(variables["spec"]),
        )
        inserted = report.id not in self
        self[report.id] = report
        return {"upsertView": {"view": report.as_view(), "inserted": inserted}}

    def _view(self, variables: JSON) -> JSON:
        report: Any = self.get(variables["reportId"])
        return {"view": report and report.as_view()}
