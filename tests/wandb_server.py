"""A small stand-in for the W&B server on loopback, driven by the real wandb client.

    with WandbServer() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        with wandb.init(project="demo", id="first") as run:
            run.log({"loss": 1.0})
        assert server.runs["first"].history[0]["loss"] == 1.0
        assert server.unknown_operations == []

It keeps runs (config, history, summary, files, how they ended) and lets a client resume them;
`stop()` makes it die in the middle of a run. Other parts of W&B belong in files of their own (`wandb_sweeps.py`):
they add GraphQL operations to `server.operations` and take upload addresses from `upload_url()`.
"""

import json
import re
import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any, Self
from urllib.parse import unquote

JSON = dict[str, Any]
Operation = Callable[[JSON], JSON]  # the variables of a GraphQL request -> its "data"

VIEWER: JSON = {
    "id": "viewer",
    "entity": "tester",
    "username": "tester",
    "email": "tester@localhost",
    "flags": "{}",
    "teams": {"edges": []},
}
HISTORY, EVENTS = "wandb-history.jsonl", "wandb-events.jsonl"
SUMMARY, CONSOLE = "wandb-summary.json", "output.log"


@dataclass
class StoredRun:
    name: str  # the run id: W&B calls it the name, and the readable name the display name
    project: str
    entity: str
    display_name: str
    group: str | None = None
    job_type: str | None = None
    sweep: str | None = None
    tags: list[str] = field(default_factory=list)
    state: str = "running"
    exit_code: int | None = None
    stop_requested: bool = False
    files: dict[str, bytes] = field(default_factory=dict)
    # As the client sent them; `config`, `summary` and `history` are views for tests.
    config_entries: JSON = field(default_factory=dict)
    streams: dict[str, list[str]] = field(default_factory=dict)

    @property
    def config(self) -> JSON:
        """What the user set: without the client's own entry, `_wandb`."""
        entries = self.config_entries.items()
        return {name: entry["value"] for name, entry in entries if name != "_wandb"}

    @property
    def history(self) -> list[JSON]:
        return [json.loads(line) for line in self.streams.get(HISTORY, [])]

    @property
    def summary(self) -> JSON:
        return dict(json.loads((self.streams.get(SUMMARY) or ["{}"])[0]))

    def as_bucket(self) -> JSON:
        """Whatever the client may ask of a run: it skips the fields that it did not ask for."""
        history, events, log = (self.streams.get(s, []) for s in (HISTORY, EVENTS, CONSOLE))
        owner = {"id": self.entity, "name": self.entity}
        return {
            "id": self.name,
            "name": self.name,
            "displayName": self.display_name,
            "tags": self.tags,
            "sweepName": self.sweep,
            "project": {"id": self.project, "name": self.project, "entity": owner},
            "config": json.dumps(self.config_entries),
            # Must hold the client's own "t": it takes a run without it for a new one.
            "wandbConfig": json.dumps(self.config_entries.get("_wandb", {}).get("value", {})),
            "summaryMetrics": json.dumps(self.summary),
            "historyTail": json.dumps(history[-1:]),
            "eventsTail": json.dumps(events[-1:]),
            "historyLineCount": len(history),
            "eventsLineCount": len(events),
            "logLineCount": len(log),
        }


class WandbServer:
    """Answers from entering the context until `stop()` or the end of the context."""

    def __init__(self) -> None:
        self.runs: dict[str, StoredRun] = {}  # by run id
        self.requests: Counter[str] = Counter()  # by operation, or by the first part of the path
        self.unknown_operations: list[str] = []
        self.operations: dict[str, Operation] = {
            "Viewer": lambda _: {"viewer": VIEWER},
            "GetDefaultEntity": lambda _: {"viewer": VIEWER},
            "ServerFeaturesQuery": lambda _: {"serverInfo": {"features": []}},
            "OrganizationCoreWeaveOrganizationID": lambda _: {"entity": {"organization": None}},
            "NotifyScriptableRunAlert": lambda _: {"notifyScriptableRunAlert": {"success": True}},
            "UpsertBucket": self._upsert_run,
            "RunResumeStatus": self._resume_status,
            "CreateRunFiles": self._create_run_files,
            "StopRun": self._stop_run,
        }
        self._uploads: list[Callable[[bytes], None]] = []
        self._lock = threading.Lock()
        self._http = _HTTPServer(self)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,))
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Refuse connections from now on; what was stored stays readable."""
        self._http.shutdown()
        self._http.server_close()  # waits for the requests in progress
        self._thread.join()

    def upload_url(self, store: Callable[[bytes], None]) -> str:
        """An address whose PUT bodies go to `store`, which is called with the lock held."""
        self._uploads.append(store)
        return f"{self.url}/uploads/{len(self._uploads) - 1}"

    def answer(self, method: str, path: str, authorized: bool, body: bytes) -> JSON | None:
        parts = [unquote(part) for part in path.strip("/").split("/")]
        sent: JSON = json.loads(body) if parts[-1] in ("graphql", "file_stream") else {}
        named = re.match(r"\s*(?:query|mutation)\s+(\w+)", sent.get("query", ""))  # some name it nowhere else
        operation = sent.get("operationName") or (named[1] if named else "")
        with self._lock:
            self.requests[operation or parts[0]] += 1
            match method, parts:
                case ("GET", ["healthz"]) | ("POST", ["sdk", "otel", *_]):
                    return None
                case "PUT", ["uploads", number]:  # a signed address: the client sends no key
                    self._uploads[int(number)](body)
                    return None
                case "POST", ["files", _, _, name, "file_stream"] if authorized:
                    return self._file_stream(self.runs[name], sent)
                case "POST", ["graphql"] if authorized and operation in self.operations:
                    return {"data": self.operations[operation](sent.get("variables") or {})}
            unknown = operation or f"{method} {path}"
            self.unknown_operations.append(unknown)
            raise ValueError(f"unknown operation, or no API key: {unknown}")

    def _find(self, entity: str | None, project: str, name: str) -> StoredRun | None:
        # A run id belongs to its project: a client that resumes in another one starts anew.
        run = self.runs.get(name)
        same = run and (run.entity, run.project) == (entity or VIEWER["entity"], project)
        return run if same else None

    def _upsert_run(self, variables: JSON) -> JSON:
        given = {name: value for name, value in variables.items() if value is not None}
        entity, project, name = given.get("entity"), given["project"], given["name"]
        found = self._find(entity, project, name)
        run = found or StoredRun(name, project, entity or VIEWER["entity"], display_name=name)
        self.runs[name] = run
        run.display_name = given.get("displayName", run.display_name)
        run.group = given.get("groupName", run.group)
        run.job_type = given.get("jobType", run.job_type)
        run.sweep = given.get("sweep", run.sweep)
        run.tags = given.get("tags", run.tags)
        if "config" in given:
            run.config_entries = json.loads(given["config"])
        return {"upsertBucket": {"bucket": run.as_bucket(), "inserted": found is None}}

    def _resume_status(self, variables: JSON) -> JSON:
        run = self._find(variables.get("entity"), variables["project"], variables["name"])
        bucket = run and run.as_bucket()
        return {"model": bucket and {**bucket["project"], "bucket": bucket}}

    def _create_run_files(self, variables: JSON) -> JSON:
        run = self.runs[variables["run"]]
        files = [
            {"name": name, "uploadUrl": self.upload_url(partial(run.files.__setitem__, name))}
            for name in variables["files"]
        ]
        return {"createRunFiles": {"runID": run.name, "uploadHeaders": [], "files": files}}

    def _stop_run(self, variables: JSON) -> JSON:
        self.runs[variables["id"]].stop_requested = True
        return {"stopRun": {"success": True}}

    def _file_stream(self, run: StoredRun, sent: JSON) -> JSON:
        for name, chunk in sent.get("files", {}).items():
            # Replaces lines that are there: the client repeats a chunk whose answer it missed.
            start, lines = chunk["offset"], chunk["content"]
            run.streams.setdefault(name, [])[start : start + len(lines)] = lines
        run.state, run.exit_code = "running", None
        if sent.get("complete"):
            run.exit_code = sent["exitcode"]
            run.state = "finished" if run.exit_code == 0 else "failed"
        return {"limits": {}, "stopped": run.stop_requested}


class _HTTPServer(ThreadingTCPServer):
    """Not `http.server.HTTPServer`, which looks up the name of its host when it binds."""

    def __init__(self, stand_in: WandbServer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.stand_in = stand_in

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a client may be killed
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _HTTPServer
    timeout = 5  # seconds: stop() would wait forever for a connection that asks nothing

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        if len(body) < length:
            return  # cut in the middle
        authorized = self.headers.get("Authorization", "").startswith("Basic ")
        status, reply = 200, None
        try:
            reply = self.server.stand_in.answer(self.command, self.path, authorized, body)
        except Exception as error:  # of any kind: the client repeats whatever gets no 4xx
            status = 400
            reply = {"errors": [{"message": f"{type(error).__name__}: {error}"}]}
        payload = b"" if reply is None else json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def do_GET(self) -> None:
        self.do_POST()

    def do_PUT(self) -> None:
        self.do_POST()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""
