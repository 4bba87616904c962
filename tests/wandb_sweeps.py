"""The sweeps of the stand-in for the W&B server: `wandb sweep` and `wandb agent` drive it.

    with WandbServer() as server:
        sweeps = Sweeps(server)
        ...  # wandb sweep FILE; wandb agent ID, any number of them
        assert sweeps["abc"].state == "FINISHED"

Methods are not its business: every sweep hands out its grid, each point once, in the order of `itertools.product`,
and no more than `run_cap` of them.
"""

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from tests.wandb_server import JSON, VIEWER, StoredRun, WandbServer

STATES = ("RUNNING", "PAUSED", "FINISHED", "CANCELED")


@dataclass
class StoredSweep:
    name: str  # the sweep id, as for runs
    project: str
    entity: str
    config: JSON
    state: str = "RUNNING"
    agents: list[str] = field(default_factory=list)
    handed_out: dict[str, JSON] = field(default_factory=dict)  # by run id: a point's parameters
    waiting: Iterator[JSON] = field(default_factory=lambda: iter(()))

    def as_node(self, runs: list[StoredRun]) -> JSON:
        owner = {"id": self.entity, "name": self.entity}
        return {
            "id": f"key of {self.name}",  # for changes of state; unlike the name, and the client must not mix them up
            "name": self.name,
            "method": self.config["method"],
            "state": self.state,
            "config": yaml.safe_dump(self.config),
            "project": {"id": self.project, "name": self.project, "entity": owner},
            "runs": {"edges": [{"node": _as_node(run)} for run in runs]},
        }


class Sweeps(dict[str, StoredSweep]):
    """The sweeps of a server, by sweep id."""

    def __init__(self, server: WandbServer) -> None:
        self.server = server
        server.operations |= {
            "UpsertSweep": self._upsert,
            "SweepWithRuns": self._with_runs,
            "CreateAgent": self._create_agent,
            "Heartbeat": self._heartbeat,
        }

    def runs(self, sweep: str) -> list[StoredRun]:
        return [run for run in self.server.runs.values() if run.sweep == sweep]

    def _find(self, entity: str | None, project: str | None, name: str) -> StoredSweep | None:
        sweep = self.get(name)
        same = sweep and (sweep.entity, sweep.project) == (entity or VIEWER["entity"], project)
        return sweep if same else None

    def _upsert(self, variables: JSON) -> JSON:
        if variables.get("id"):
            sweep = next(sweep for sweep in self.values() if variables["id"] == f"key of {sweep.name}")
        else:
            config = yaml.safe_load(variables["config"])
            if not config.get("parameters"):
                raise ValueError("a sweep needs\nparameters")
            sweep = StoredSweep(
                name=f"sweep{len(self):03}",
                project=variables["projectName"],
                entity=variables.get("entityName") or VIEWER["entity"],
                config=config,
                waiting=itertools.islice(_grid(config["parameters"]), config.get("run_cap")),
            )
            self[sweep.name] = sweep
        sweep.state = variables.get("state") or sweep.state
        if sweep.state not in STATES:
            raise ValueError(f"unknown state {sweep.state}")
        return {"upsertSweep": {"sweep": sweep.as_node([]), "configValidationWarnings": []}}

    def _with_runs(self, variables: JSON) -> JSON:
        sweep = self._find(variables.get("entity"), variables.get("project"), variables["sweep"])
        return {"project": {"sweep": sweep and sweep.as_node(self.runs(sweep.name))}}

    def _create_agent(self, variables: JSON) -> JSON:
        sweep = self[variables["sweep"]]
        sweep.agents.append(f"{sweep.name}-agent{len(sweep.agents)}")
        return {"createAgent": {"agent": {"id": sweep.agents[-1]}}}

    def _heartbeat(self, variables: JSON) -> JSON:
        agent = variables["id"]
        (sweep,) = (sweep for sweep in self.values() if agent in sweep.agents)
        commands = self._commands(sweep, list(json.loads(variables["runState"])))
        return {"agentHeartbeat": {"agent": {"id": agent}, "commands": json.dumps(commands)}}

    def _commands(self, sweep: StoredSweep, running: list[str]) -> list[JSON]:
        if sweep.state == "CANCELED":  # it kills what the agent runs
            return [{"type": "exit"}]
        if running:
            known = (self.server.runs.get(name) for name in running)
            return [{"type": "stop", "run_id": run.name} for run in known if run and run.stop_requested]
        if sweep.state == "PAUSED":
            return []
        point = next(sweep.waiting, None) if sweep.state == "RUNNING" else None
        if point is None:
            sweep.state = "FINISHED"
            return [{"type": "exit"}]
        run = f"{sweep.name[-4:]}r{len(sweep.handed_out):03}"
        sweep.handed_out[run] = point
        args = {name: {"value": value} for name, value in point.items()}
        return [{"type": "run", "run_id": run, "program": sweep.config.get("program", ""), "args": args}]


def _grid(parameters: JSON) -> Iterator[JSON]:
    """Every combination of a grid's values; nested parameters are nested values."""

    def values(parameter: JSON) -> list[Any]:
        if "parameters" in parameter:
            return list(_grid(parameter["parameters"]))
        return [parameter["value"]] if "value" in parameter else list(parameter["values"])

    points = itertools.product(*map(values, parameters.values()))
    return (dict(zip(parameters, point, strict=True)) for point in points)


def _as_node(run: StoredRun) -> JSON:
    bucket = run.as_bucket()
    return {
        **{name: bucket[name] for name in ("name", "config", "summaryMetrics")},
        "state": run.state,
        "exitcode": run.exit_code,
        "heartbeatAt": None,
        "shouldStop": run.stop_requested,
        "failed": run.state == "failed",
        "stopped": run.stop_requested,
        "running": run.state == "running",
        "sampledHistory": [],
    }
