# SPDX-License-Identifier: MIT
"""Who may do what beyond the route's permission: own agents, own tasks, grants, and tokens that die."""
import json

import pytest

from support import NOWHERE, error, fields, lane, unique

# ---- own agent --------------------------------------------------------------------------------------

OWN = (("PUT", "", {"version": "9"}), ("POST", "/heartbeat", {}), ("POST", "/capabilities", {"add": ["x"]}),
       ("POST", "/allocate", {"cpu": 0}), ("POST", "/drain", None), ("POST", "/undrain", None), ("POST", "/claim", {}))


@pytest.mark.parametrize("method,path,body", OWN + (("DELETE", "", None),))
@pytest.mark.parametrize("role", ("worker", "supervisor"))
def test_only_the_agent_itself(panel, agents, role, method, path, body):
    other = panel.register_agent()
    e = error(agents[role].request(method, f"/agents/{other.id}{path}", body), 403, "permission_denied")
    assert e["type"] == "authorization"
    assert other.request("GET", "/auth/me").status == 200


@pytest.mark.parametrize("method,path,body", OWN)
def test_the_agent_itself_may(agents, method, path, body):
    agent = agents["worker"]
    agent.request(method, f"/agents/{agent.id}{path}", body).expect(200)


@pytest.mark.parametrize("method,path,body", OWN)
def test_managers_of_agents_may(panel, agents, method, path, body):
    other = panel.register_agent()
    panel.request(method, f"/agents/{other.id}{path}", body).expect(200)
    agents["admin"].request(method, f"/agents/{other.id}{path}", body).expect(200)


@pytest.mark.parametrize("body", ({"role": "admin"}, {"role": "worker"}, {"permissions": ["task:manage"]}, {"permissions": []},
                                  {"clearance_level": "phi"}, {"enabled": True}, {"slots": 100}))
def test_what_an_agent_may_not_change_of_itself(agents, body):
    agent = agents["worker"]
    error(agent.request("PUT", f"/agents/{agent.id}", body), 403, "permission_denied")


def test_extra_grants_are_in_force(panel):
    agent = panel.register_agent(permissions=["task:manage", "pipeline:read"])
    assert agent.record["agent"]["permissions"] == ["task:manage", "pipeline:read"]
    agent.request("POST", "/tasks", {"type": "x", "requirements": {"capabilities": [unique()]}}).expect(201)
    agent.request("GET", "/pipelines").expect(200)
    error(agent.request("POST", "/pipelines", {"name": "x"}), 403)


def test_older_names_of_permissions(panel):
    agent = panel.register_agent(permissions=["agent.register", "agent.discover", "task.create", "task.assign", "pipeline.execute"])
    assert set(agent.record["agent"]["permissions"]) == {"agent:register", "agent:read", "task:manage", "pipeline:manage"}


# ---- nobody grants more than they hold ----------------------------------------------------------------


@pytest.fixture(scope="module")
def registrar(panel):
    """An agent that may register and manage agents, and nothing else beyond a worker."""
    return panel.register_agent(permissions=["agent:register", "agent:manage"])


@pytest.mark.parametrize("more", ({"role": "supervisor"}, {"role": "admin"}, {"role": "system"}, {"permissions": ["task:manage"]},
                                  {"permissions": ["system:config"]}))
def test_registration_grants_no_more_than_the_caller_holds(registrar, more):
    body = {"name": unique(), "type": "worker", **more}
    error(registrar.request("POST", "/agents/register", body), 403, "permission_denied")


def test_registration_grants_what_the_caller_holds(registrar):
    body = {"name": unique(), "type": "worker", "permissions": ["agent:manage"], "role": "worker"}
    registrar.request("POST", "/agents/register", body).expect(201)


def test_clearance_is_a_grant_too(registrar):
    body = {"name": unique(), "type": "worker", "clearance_level": "phi"}
    error(registrar.request("POST", "/agents/register", body), 403, "insufficient_clearance")


@pytest.mark.parametrize("more", ({"role": "admin"}, {"permissions": ["task:manage"]}, {"clearance_level": "phi"}))
def test_updates_grant_no_more_than_the_caller_holds(panel, registrar, more):
    other = panel.register_agent()
    error(registrar.request("PUT", f"/agents/{other.id}", more), 403)
    error(registrar.request("PUT", f"/agents/{registrar.id}", more), 403)
    assert panel.get(f"/agents/{other.id}").data["role"] == "worker"


def test_keys_grant_no_more_than_the_caller_holds(panel):
    limited = panel.post("/api-keys", {"name": unique(), "role": "worker", "permissions": ["system:config"]}).expect(201).data
    key = {"X-API-Key": limited["key"]}
    for path, body in (("/api-keys", {"name": "k", "role": "admin"}), ("/api-keys", {"name": "k", "role": "worker", "permissions": ["task:manage"]}),
                       ("/users", {"username": unique(), "password": "a long enough word", "role": "supervisor"}),
                       ("/users", {"username": unique(), "password": "a long enough word", "role": "worker", "clearance_level": "phi"})):
        error(panel.post(path, body, token=None, headers=key), 403)
    panel.post("/api-keys", {"name": "k", "role": "worker"}, token=None, headers=key).expect(201)


def test_a_limited_administrator_does_not_rise_through_others(panel):
    """With system:config alone one cannot take over an administrator: neither his password nor his key."""
    limited = panel.post("/api-keys", {"name": unique(), "role": "worker", "permissions": ["system:config"]}).expect(201).data
    key = {"X-API-Key": limited["key"]}
    boss = panel.post("/users", {"username": unique("boss"), "password": "a long enough word", "role": "admin"}).expect(201).data
    error(panel.put(f"/users/{boss['user_id']}", {"password": "another long word!"}, token=None, headers=key), 403)
    error(panel.put(f"/users/{boss['user_id']}", {"enabled": False}, token=None, headers=key), 403)
    error(panel.delete(f"/users/{boss['user_id']}", token=None, headers=key), 403)
    master = panel.post("/api-keys", {"name": unique(), "role": "admin"}).expect(201).data
    error(panel.delete(f"/api-keys/{master['key_id']}", token=None, headers=key), 403)


# ---- tokens that die --------------------------------------------------------------------------------


def me(agent):
    return agent.request("GET", "/auth/me").status


def relogin(agent):
    agent._token = None
    return agent.token


@pytest.mark.parametrize("change", ({"role": "supervisor"}, {"permissions": ["task:manage"]}, {"enabled": False}))
def test_a_change_of_rights_kills_tokens(panel, change):
    agent = panel.register_agent()
    assert me(agent) == 200
    panel.put(f"/agents/{agent.id}", change).expect(200)
    assert me(agent) == 401
    login = panel.request("POST", "/auth/token", {"agent_id": agent.id, "auth_token": agent.auth_token}, token=None)
    if change.get("enabled") is False:
        error(login, 401, "authentication_failed")
        panel.put(f"/agents/{agent.id}", {"enabled": True}).expect(200)
    relogin(agent)
    assert me(agent) == 200


def test_refresh_tokens_die_too(panel):
    agent = panel.register_agent()
    body = {"agent_id": agent.id, "auth_token": agent.auth_token}
    tokens = panel.post("/auth/token", body, token=None).expect(200).data
    panel.put(f"/agents/{agent.id}", {"role": "supervisor"}).expect(200)
    error(panel.post("/auth/refresh", {"refresh_token": tokens["refresh_token"]}, token=None), 401)
    error(panel.get("/agents", token=tokens["access_token"]), 401)


def test_other_changes_leave_tokens_alone(panel):
    agent = panel.register_agent()
    agent.token
    panel.put(f"/agents/{agent.id}", {"version": "2", "capabilities": ["n"], "slots": 4, "role": "worker"}).expect(200)
    assert me(agent) == 200


def test_new_role_is_in_force_after_login(panel):
    agent = panel.register_agent()
    error(agent.request("GET", "/pipelines"), 403)
    panel.put(f"/agents/{agent.id}", {"role": "supervisor"}).expect(200)
    relogin(agent)
    agent.request("GET", "/pipelines").expect(200)


@pytest.mark.parametrize("status", ("busy", "error"))
def test_an_agent_that_is_not_well_may_log_in(panel, status):
    agent = panel.register_agent()
    agent.heartbeat(status=status).expect(200)
    relogin(agent)
    assert agent.heartbeat().expect(200).data["status"] == "active"


def test_disabled_agents_get_no_work(panel):
    agent, submit = lane(panel)
    submit()
    panel.put(f"/agents/{agent.id}", {"enabled": False}).expect(200)
    assert panel.get(f"/agents/{agent.id}").data["status"] == "inactive"
    claimed = panel.post(f"/agents/{agent.id}/claim", {}).expect(200).data
    assert claimed["tasks"] == []


# ---- a worker touches only its own tasks ---------------------------------------------------------------


def test_workers_see_only_their_own_tasks(panel):
    agent, submit = lane(panel)
    other = panel.register_agent()
    mine, foreign = submit(), panel.submit(requirements={"capabilities": [unique()]})
    task, = agent.claim()
    for path in ("", "/status", "/logs", "/metrics"):
        agent.request("GET", f"/tasks/{mine['task_id']}{path}").expect(200)
        error(agent.request("GET", f"/tasks/{foreign['task_id']}{path}"), 404, "not_found")
        error(other.request("GET", f"/tasks/{mine['task_id']}{path}"), 404, "not_found")
    assert [t["task_id"] for t in agent.request("GET", "/tasks?limit=500").data] == [task["task_id"]]
    assert other.request("GET", "/tasks?limit=500").data == []
    assert agent.request("GET", f"/tasks?agent_id={other.id}").expect(200).data == []
    assert [t["task_id"] for t in agent.request("GET", f"/tasks?agent_id={agent.id}").expect(200).data] == [task["task_id"]]


def test_supervisors_see_all_tasks(panel, agents, people):
    task = panel.submit(requirements={"capabilities": [unique()]})
    agents["supervisor"].request("GET", f"/tasks/{task['task_id']}").expect(200)
    panel.get(f"/tasks/{task['task_id']}", token=people["supervisor"]).expect(200)


def test_people_who_are_workers_see_only_their_own_tasks(panel, people):
    task = panel.submit(requirements={"capabilities": [unique()]})
    for path in ("", "/status", "/logs", "/metrics"):
        error(panel.get(f"/tasks/{task['task_id']}{path}", token=people["worker"]), 404)
    assert panel.get("/tasks?limit=500", token=people["worker"]).expect(200).data == []


def reports(task):
    fence, base = task["fence"], f"/tasks/{task['task_id']}"
    return ((f"{base}/progress", {"fence": fence, "progress": 0.5}), (f"{base}/logs", {"fence": fence, "logs": [{"message": "x"}]}),
            (f"{base}/release", {"fence": fence}), (f"{base}/fail", {"fence": fence, "error": {"type": "system"}}),
            (f"{base}/complete", {"fence": fence, "result": 1}))


def test_only_the_holder_reports(panel, agents, people):
    """Neither another worker nor a supervisor's agent nor a person without task:manage, even with the right fence."""
    agent, submit = lane(panel)
    submit()
    task, = agent.claim()
    for path, body in reports(task):
        for token in (agents["worker"].token, agents["supervisor"].token, people["worker"]):
            error(panel.post(path, body, token=token), 403)
    batch = {"tasks": [{"task_id": task["task_id"], "fence": task["fence"], "result": 1}]}
    for token in (agents["worker"].token, people["worker"]):
        answer = panel.post("/tasks/complete", batch, token=token).expect(207).data["items"][0]
        assert answer["status"] == "rejected" and answer["error"]["code"] == "permission_denied"
    assert panel.task(task["task_id"])["status"] == "running"
    agent.complete(task).expect(200)


def test_an_assigned_task_is_not_taken_over(panel, agents):
    agent, submit = lane(panel)
    task = submit()
    panel.post(f"/tasks/{task['task_id']}/delegate", {"agent_id": agent.id}).expect(200)
    task = panel.task(task["task_id"])
    for path, body in reports(task):
        error(agents["worker"].request("POST", path, body), 403)
    assert panel.task(task["task_id"])["status"] == "assigned"
    agent.complete(task).expect(200)


def test_who_manages_tasks_may_report_for_an_agent(panel, people):
    agent, submit = lane(panel)
    submit()
    task, = agent.claim()
    panel.post(f"/tasks/{task['task_id']}/progress", {"fence": task["fence"], "progress": 0.1}, token=people["supervisor"]).expect(200)
    panel.post(f"/tasks/{task['task_id']}/complete", {"fence": task["fence"], "result": 2}, token=people["supervisor"]).expect(200)
    assert panel.task(task["task_id"])["result"] == 2


def test_unknown_tasks_are_404(panel):
    for method, path, body in (("GET", "", None), ("PUT", "", {"priority": "low"}), ("GET", "/status", None), ("GET", "/logs", None),
                               ("GET", "/metrics", None), ("POST", "/delegate", {"agent_id": NOWHERE}), ("POST", "/assign", {}),
                               ("POST", "/progress", {"fence": 1}), ("POST", "/logs", {"fence": 1, "logs": [{"message": "x"}]}),
                               ("POST", "/complete", {"fence": 1}), ("POST", "/fail", {"fence": 1, "error": {"type": "system"}}),
                               ("POST", "/release", {"fence": 1}), ("POST", "/cancel", None), ("POST", "/retry", None)):
        error(panel.request(method, f"/tasks/{NOWHERE}{path}", body), 404, "not_found")


# ---- clearance --------------------------------------------------------------------------------------


def test_tasks_go_only_to_agents_cleared_for_them(panel):
    agent, submit = lane(panel)
    cleared = panel.register_agent(capabilities=[submit.capability], clearance_level="confidential")
    task = submit(classification="confidential")
    assert agent.claim() == []
    e = error(panel.post(f"/tasks/{task['task_id']}/delegate", {"agent_id": agent.id}), 409, "no_suitable_agent")
    assert "cleared" in e["message"]
    assert [t["task_id"] for t in cleared.claim()] == [task["task_id"]]


@pytest.mark.parametrize("classification", ("restricted", "phi"))
def test_what_cannot_be_encrypted_is_not_stored(panel, classification):
    secret = unique("patient")
    body = {"type": "x", "classification": classification, "parameters": {"name": secret}}
    e = error(panel.post("/tasks", body), 422, "encryption_unavailable")
    assert e["type"] == "business_logic"
    batch = panel.post("/tasks/batch", {"tasks": [body, {"type": "x", "requirements": {"capabilities": [unique()]}}]}).expect(207).data
    assert batch["items"][0]["error"]["code"] == "encryption_unavailable" and batch["items"][1]["task_id"]
    assert secret not in json.dumps(panel.get("/tasks?limit=500").data)
    assert secret not in panel.log("api")


def test_unknown_class(panel):
    assert fields(panel.post("/tasks", {"type": "x", "classification": "secret"}), "$.classification")
