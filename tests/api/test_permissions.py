# SPDX-License-Identifier: MIT
"""The permission matrix, generated from the panel's own document: every route for every role."""
import json
import os
import subprocess

import pytest

from panel import TREE
from support import NOWHERE, error, unique

ROLES = {
    "worker": {"task:execute", "task:read", "agent:read", "system:health"},
    "supervisor": {"task:execute", "task:read", "agent:read", "system:health", "task:manage", "pipeline:read"},
}
ALL = {"task:execute", "task:read", "task:manage", "pipeline:create", "pipeline:read", "pipeline:manage", "agent:register", "agent:read",
       "agent:manage", "system:health", "system:config"}
ROLES["admin"] = ROLES["system"] = ALL

# What the contract says, written down once more, so that a slip in the table is seen.
CONTRACT = {
    "agent:register": ["POST /agents/register"],
    "agent:read": ["GET /agents", "GET /agents/{agent_id}", "GET /agents/discover", "GET /discovery/agents", "GET /agents/{agent_id}/health",
                   "GET /agents/{agent_id}/metrics"],
    "task:read": ["GET /tasks", "GET /tasks/{task_id}", "GET /tasks/{task_id}/status", "GET /tasks/{task_id}/logs", "GET /tasks/{task_id}/metrics"],
    "task:execute": ["POST /tasks/{task_id}/progress", "POST /tasks/{task_id}/logs", "POST /tasks/{task_id}/complete", "POST /tasks/{task_id}/fail",
                     "POST /tasks/{task_id}/release", "POST /tasks/complete", "POST /agents/{agent_id}/claim"],
    "task:manage": ["POST /tasks", "POST /tasks/batch", "PUT /tasks/{task_id}", "POST /tasks/{task_id}/delegate", "POST /tasks/{task_id}/assign",
                    "POST /tasks/{task_id}/cancel", "POST /tasks/{task_id}/retry", "GET /tasks/dead-letters", "POST /tasks/dead-letters/retry"],
    "pipeline:read": ["GET /pipelines", "GET /pipelines/{pipeline_id}", "GET /pipelines/{pipeline_id}/progress",
                      "GET /pipeline/{execution_id}/agent-progress", "GET /executions", "GET /executions/{execution_id}"],
    "pipeline:create": ["POST /pipelines"],
    "pipeline:manage": ["PUT /pipelines/{pipeline_id}", "DELETE /pipelines/{pipeline_id}", "POST /pipelines/{pipeline_id}/execute",
                        "POST /pipelines/{pipeline_id}/stages/{stage}/execute", "POST /pipeline/agent-execute", "POST /executions/{execution_id}/pause",
                        "POST /executions/{execution_id}/resume", "POST /executions/{execution_id}/cancel", "POST /executions/{execution_id}/retry"],
    "system:health": ["GET /discovery/services", "GET /system/metrics", "GET /metrics"],
    "system:config": ["POST /users", "GET /users", "GET /users/{user_id}", "PUT /users/{user_id}", "DELETE /users/{user_id}", "POST /api-keys",
                      "GET /api-keys", "GET /api-keys/{key_id}", "DELETE /api-keys/{key_id}", "GET /events", "GET /alerts", "GET /alerts/{alert_id}", "GET /audit-logs",
                      "GET /audit-logs/verify"],
}
OPEN = {"GET /live", "GET /ready", "GET /health", "GET /docs", "GET /openapi.json", "POST /auth/token", "POST /auth/login", "POST /auth/refresh"}
ANY = {"POST /auth/logout", "POST /auth/ws-ticket", "GET /auth/me", "GET /executions/{execution_id}/output"}
OWN = {"PUT /agents/{agent_id}", "DELETE /agents/{agent_id}", "POST /agents/{agent_id}/heartbeat", "POST /agents/{agent_id}/capabilities",
       "POST /agents/{agent_id}/allocate", "POST /agents/{agent_id}/drain", "POST /agents/{agent_id}/undrain"}


def routes():
    build = os.environ.get("B") or os.path.join(TREE, "build")
    document = json.loads(subprocess.run([build + "/mcp-api", "--openapi"], capture_output=True, check=True).stdout)
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield method.upper(), path.removeprefix("/api/v1"), operation["x-access"], operation.get("x-permission")


ROUTES = list(routes())


def test_the_table_says_what_the_contract_says():
    told = {f"{m} {p}": (access, permission) for m, p, access, permission in ROUTES}
    for permission, paths in CONTRACT.items():
        for path in paths:
            assert told.pop(path)[1] == permission, path
    for path in OPEN:
        assert told.pop(path) == ("open", None)
    for path in ANY:
        assert told.pop(path) == ("authenticated", None)
    for path in OWN:
        assert told.pop(path) == ("own-agent", None)
    assert told == {}


def allowed(access, permission, role):
    if access in ("open", "authenticated", "metrics"):      # tests call from the loopback
        return True
    if access == "own-agent":
        return "agent:manage" in ROLES[role]
    if access == "own-agent-permission":
        return {permission, "agent:manage"} <= ROLES[role]
    return permission in ROLES[role]


@pytest.mark.parametrize("method,path,access,permission", ROUTES, ids=[f"{m} {p}" for m, p, _, _ in ROUTES])
def test_matrix(panel, people, agents, method, path, access, permission):
    """Where a role may not it is 403, whatever the request holds; where it may it is anything else than 401 and 403."""
    url = path.replace("{stage}", "1")
    for name in ("agent_id", "task_id", "pipeline_id", "execution_id", "user_id", "key_id"):
        url = url.replace("{" + name + "}", NOWHERE)
    body = None if method in ("GET", "DELETE") else {"no-such-field": 1}
    nobody = panel.request(method, url, body, token=None)
    if access in ("open", "metrics"):
        assert nobody.status not in (401, 403) or path == "/auth/refresh"
    else:
        error(nobody, 401, "authentication_failed")
        assert nobody.headers["WWW-Authenticate"].startswith("Bearer")
        error(panel.request(method, url, body, token="nonsense"), 401)
    if path == "/auth/logout":
        return
    for role in ROLES:
        for token in (people[role], agents[role].token):
            answer = panel.request(method, url, body, token=token)
            if allowed(access, permission, role):
                assert answer.status not in (401, 403), (role, answer.text)
            else:
                assert error(answer, 403, "permission_denied")["type"] == "authorization"
    key = panel.post("/api-keys", {"name": unique(), "role": "worker"}).expect(201).data["key"]
    answer = panel.request(method, url, body, token=None, headers={"X-API-Key": key})
    assert (answer.status not in (401, 403)) == allowed(access, permission, "worker")
