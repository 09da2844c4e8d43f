# SPDX-License-Identifier: MIT
"""Agents: registration, lists, discovery, changes, heartbeats, allocation, health and figures."""
import os
import time

import pytest

from support import NOWHERE, TIME, all_pages, error, fields, is_uuid, lane, unique


def register(panel, **more):
    body = {"name": unique("agent"), "type": "worker", **more}
    return panel.post("/agents/register", {k: v for k, v in body.items() if v is not None})


# ---- registration -----------------------------------------------------------------------------------


def test_registration_answers_with_the_agent_and_its_token(panel):
    answer = register(panel, type="bias-detector", capabilities=["b", "a"], version="1.2", metadata={"team": {"n": 1}},
                      resources={"cpu": 4, "memory": "8GB", "gpu": 1}, slots=3,
                      endpoints={"status": "http://127.0.0.1:9/status"}).expect(201)
    got = answer.data
    assert got["auth_token"].startswith("agt_") and len(got["auth_token"]) > 40
    assert answer.headers["Location"] == f"/api/v1/agents/{got['agent_id']}"
    assert answer.json["message"]
    agent = got["agent"]
    assert is_uuid(agent["agent_id"]) and agent["agent_id"] == got["agent_id"]
    assert agent["type"] == "bias-detector" and agent["capabilities"] == ["b", "a"] and agent["version"] == "1.2"
    assert agent["metadata"] == {"team": {"n": 1}} and agent["resources"] == {"cpu": 4, "memory": "8GB", "gpu": 1}
    assert agent["slots"] == 3 and agent["role"] == "worker" and agent["permissions"] == []
    assert agent["clearance_level"] == "internal" and agent["enabled"] is True and agent["draining"] is False
    assert agent["endpoints"] == {"task": None, "status": "http://127.0.0.1:9/status", "health": None}
    assert TIME.match(agent["registered_at"]) and agent["last_heartbeat"] is None and agent["deleted_at"] is None
    assert panel.get(f"/agents/{got['agent_id']}").data == agent


def test_token_is_shown_once_and_stored_hashed(panel):
    got = register(panel).expect(201).data
    for path in (f"/agents/{got['agent_id']}", "/agents?limit=500", f"/agents/{got['agent_id']}/health"):
        text = panel.get(path).expect(200).text
        assert got["auth_token"] not in text and "auth_token" not in text and "hash" not in text


def test_unknown_types_are_slugs(panel):
    assert register(panel, type="my-own.kind").expect(201).data["agent"]["type"] == "my-own.kind"
    assert fields(register(panel, type="My Kind")) == {"$.type": "bad_slug"}


def test_every_bad_field_is_named(panel):
    body = {"name": "", "type": "Bad Type", "capabilities": ["ok", "NOT OK", 7], "endpoints": {"task": "ftp://x", "x": 1},
            "resources": [], "metadata": "text", "version": 3, "role": "king", "permissions": ["task:fly"], "slots": -1,
            "clearance_level": "secret", "colour": "red", "status": "active", "agent_id": NOWHERE}
    found = fields(panel.post("/agents/register", body))
    assert set(found) == {"$.permissions[0]", "$.name", "$.type", "$.capabilities[1]", "$.capabilities[2]", "$.endpoints.task", "$.endpoints.x",
                          "$.resources", "$.metadata", "$.version", "$.role", "$.slots", "$.clearance_level", "$.colour",
                          "$.status", "$.agent_id"}
    assert found["$.colour"] == "unknown_field"


def test_required_fields(panel):
    assert fields(panel.post("/agents/register", {}), "$.name", "$.type")


def test_unknown_permission_is_refused(panel):
    assert fields(register(panel, permissions=["task:read", "task:fly"]), "$.permissions[1]")


def test_older_spellings_of_the_endpoints(panel):
    url = "http://127.0.0.1:9/"
    agent = register(panel, endpoint_url=url + "task", health_check_url=url + "health").expect(201).data["agent"]
    assert agent["endpoints"] == {"task": url + "task", "status": None, "health": url + "health"}


@pytest.mark.parametrize("url", ("http://user:pw@127.0.0.1/", "javascript:alert(1)", "http://", "//x/y", "http://a b/",
                                 "file:///etc/passwd", "http://x/\r\nHost: y", "gopher://x/", "http://[::1"))
def test_bad_endpoint_urls(panel, url):
    assert fields(register(panel, endpoints={"task": url}), "$.endpoints.task")


def test_same_capability_twice(panel):
    assert fields(register(panel, capabilities=["a", "a"]), "$.capabilities[1]")


def test_names_in_any_script_come_back_the_same(panel):
    for name in ("Ärztin Ñandú", "診断エージェント", "وكيل", "a" * 200, "🧠" * 200, "'; DROP TABLE agents; --", "<b>&amp;\"\\"):
        got = register(panel, name=name).expect(201).data
        assert panel.get(f"/agents/{got['agent_id']}").data["name"] == name
    assert fields(register(panel, name="🧠" * 201), "$.name")
    assert fields(register(panel, name="a\u0000b"), "$.name")
    assert fields(register(panel, name="a\u0007b"), "$.name")


def test_null_means_not_given(panel):
    agent = register(panel, capabilities=["a"]).expect(201).data["agent"]
    body = {"name": unique(), "type": "worker", "version": None, "endpoints": None, "slots": None, "capabilities": None}
    got = panel.post("/agents/register", body).expect(201).data["agent"]
    assert got["version"] is None and got["slots"] == 0 and got["capabilities"] == [] and agent["capabilities"] == ["a"]


def test_secrets_of_the_configuration_are_sealed(panel):
    secret, name = unique("very-secret"), unique("sealed")
    configuration = {"model": "m1", "api_keys": {"openai": secret}, "credentials": [secret], "secrets": secret}
    got = register(panel, name=name, configuration=configuration).expect(201)
    shown = got.data["agent"]["configuration"]
    assert shown == {"model": "m1", "api_keys": "***", "credentials": "***", "secrets": "***"}
    path = f"/agents/{got.data['agent_id']}"
    for text in (got.text, panel.get(path).text, panel.get("/agents?limit=500").text,
                 panel.put(path, {"configuration": configuration}).expect(200).text, panel.log("api")):
        assert secret not in text
    if panel.store == "sqlite":
        raw = b""
        for file in ("mcp.db", "mcp.db-wal"):
            if os.path.exists(f"{panel.home}/{file}"):
                with open(f"{panel.home}/{file}", "rb") as db:
                    raw += db.read()
        assert name.encode() in raw and secret.encode() not in raw


def test_uri_with_a_password_is_refused(panel):
    answer = register(panel, metadata={"db": "postgres://me:hunter2@db/x"})
    assert fields(answer) == {"$.metadata": "secret_in_uri"}
    assert "hunter2" not in answer.text


def test_registration_limit(new_panel):
    private = new_panel(MAX_AGENTS=2)
    first = private.register_agent()
    private.register_agent()
    error(register(private), 422, "limit_reached")
    private.delete(f"/agents/{first.id}").expect(200)
    register(private).expect(201)


# ---- lists ------------------------------------------------------------------------------------------


def test_list_filters(panel):
    kind, capability = unique("kind"), unique("cap")
    plain = panel.register_agent(type=kind, capabilities=[])
    able = panel.register_agent(type=kind, capabilities=[capability, "other"])
    chief = panel.register_agent(type=kind, role="supervisor", capabilities=[capability])

    def ids(query):
        answer = panel.get(f"/agents?type={kind}{query}").expect(200)
        assert answer.json["count"] == len(answer.data) and answer.json["next_cursor"] is None
        return [a["agent_id"] for a in answer.data]
    assert ids("") == [plain.id, able.id, chief.id]
    assert ids(f"&capability={capability}") == [able.id, chief.id]
    assert ids(f"&capability={capability},other") == [able.id]
    assert ids("&role=supervisor") == [chief.id]
    assert ids("&role=worker,supervisor") == [plain.id, able.id, chief.id]
    assert ids("&status=inactive") == []
    assert ids("&status=active,busy") == [plain.id, able.id, chief.id]
    plain.heartbeat(status="busy").expect(200)
    assert ids("&status=busy") == [plain.id]
    able.heartbeat(status="error").expect(200)
    assert ids("&status=error") == [able.id]
    panel.put(f"/agents/{chief.id}", {"enabled": False}).expect(200)
    assert ids("&status=inactive") == [chief.id]


def test_list_pages(panel):
    kind = unique("kind")
    ids = [panel.register_agent(type=kind).id for _ in range(7)]
    assert [a["agent_id"] for a in all_pages(panel, f"/agents?type={kind}&limit=3")] == ids
    assert [a["agent_id"] for a in all_pages(panel, f"/agents?type={kind}&limit=7")] == ids
    page = panel.get(f"/agents?type={kind}&limit=3").json
    panel.delete(f"/agents/{ids[2]}").expect(200)      # the very one the cursor stands on
    late = panel.register_agent(type=kind).id
    rest = panel.get(f"/agents?type={kind}&limit=500&cursor={page['next_cursor']}").data
    assert [a["agent_id"] for a in rest] == ids[3:] + [late]


@pytest.mark.parametrize("query,field", (("limit=0", "limit"), ("limit=501", "limit"), ("limit=x", "limit"), ("limit=1.5", "limit"),
                                         ("limit=", "limit"), ("status=asleep", "status"), ("colour=red", "colour"),
                                         ("type=A", "type"), ("limit=1&limit=2", "limit"), ("role=king", "role")))
def test_bad_queries(panel, query, field):
    assert fields(panel.get("/agents?" + query), f"query.{field}")


# ---- discovery --------------------------------------------------------------------------------------


def test_discovery_finds_by_criteria_fittest_first(panel):
    kind, a, b = unique("kind"), unique("a"), unique("b")
    idle = panel.register_agent(type=kind, capabilities=[a, b])
    loaded = panel.register_agent(type=kind, capabilities=[a])
    idle.heartbeat(current_load=0.1).expect(200)
    loaded.heartbeat(current_load=0.8).expect(200)

    def found(query, path="/agents/discover"):
        return [c["agent_id"] for c in panel.get(f"{path}?{query}").expect(200).data]
    assert found(f"capabilities={a}") == [idle.id, loaded.id]
    assert found(f"capabilities={a}", "/discovery/agents") == [idle.id, loaded.id]
    assert found(f"capabilities={a},{b}") == [idle.id]
    assert found(f"any_capabilities={b},{unique()}") == [idle.id]
    assert found(f"any_capabilities={a},{b}&type={kind}") == [idle.id, loaded.id]
    assert found(f"capabilities={a}&max_load=0.5") == [idle.id]
    assert found(f"type={kind}&limit=1") == [idle.id]
    assert found(f"type={kind}&status=busy") == []
    candidates = panel.get(f"/agents/discover?type={kind}").data
    assert candidates[0]["fitness"] > candidates[1]["fitness"] and candidates[0]["success_rate"] == 1
    loaded.heartbeat(current_load=0.0).expect(200)
    idle.heartbeat(current_load=0.9).expect(200)
    assert found(f"type={kind}") == [loaded.id, idle.id]


def test_discovery_by_success_rate(panel):
    agent, submit = lane(panel)
    for failing in (False, True):
        submit(max_retries=0)
        task, = agent.claim()
        (agent.fail if failing else agent.complete)(task).expect(200)
    query = f"/agents/discover?capabilities={submit.capability}"
    # Figures are gathered by each process and may be a moment late.
    panel.wait_for(lambda: panel.get(query).data[0]["success_rate"] == 0.5, 3, "the figures")
    assert len(panel.get(query + "&min_success_rate=0.5").data) == 1
    assert panel.get(query + "&min_success_rate=0.6").data == []


def test_discovery_leaves_out_who_is_not_there(panel):
    agent, submit = lane(panel)
    panel.put(f"/agents/{agent.id}", {"enabled": False}).expect(200)
    query = f"/agents/discover?capabilities={submit.capability}"
    assert panel.get(query).data == []
    assert len(panel.get(query + "&status=inactive").data) == 1
    panel.delete(f"/agents/{agent.id}").expect(200)
    assert panel.get(query + "&status=inactive").data == []


@pytest.mark.parametrize("query", ("max_load=2", "max_load=-1", "min_success_rate=x", "max_load=NaN", "limit=9999"))
def test_bad_criteria(panel, query):
    assert fields(panel.get("/agents/discover?" + query))


# ---- one agent --------------------------------------------------------------------------------------


def test_unknown_agents_are_404(panel):
    for method, path, body in (("GET", "", None), ("PUT", "", {"name": "x"}), ("DELETE", "", None), ("POST", "/heartbeat", {}),
                               ("GET", "/health", None), ("GET", "/metrics", None), ("POST", "/capabilities", {"add": ["x"]}),
                               ("POST", "/allocate", {"cpu": 0}), ("POST", "/claim", {}), ("POST", "/drain", None),
                               ("POST", "/undrain", None)):
        e = error(panel.request(method, f"/agents/{NOWHERE}{path}", body), 404, "not_found")
        assert e["type"] == "not_found"


def test_update_changes_only_what_is_given(panel):
    agent = panel.register_agent(capabilities=["a"], version="1", metadata={"k": 1}, resources={"cpu": 2})
    before = agent.record["agent"]
    after = panel.put(f"/agents/{agent.id}", {"version": "2", "capabilities": ["b"], "metadata": {"m": []}}).expect(200).data
    assert after["version"] == "2" and after["capabilities"] == ["b"] and after["metadata"] == {"m": []}
    assert after["updated_at"] >= before["updated_at"]
    for same in ("name", "type", "resources", "role", "registered_at", "slots", "endpoints", "clearance_level"):
        assert after[same] == before[same]
    assert panel.get(f"/agents/{agent.id}").data == after
    assert fields(panel.put(f"/agents/{agent.id}", {}))
    assert fields(panel.put(f"/agents/{agent.id}", {"agent_id": NOWHERE, "status": "busy"}), "$.agent_id", "$.status")


def test_endpoints_are_replaced_as_a_whole(panel):
    url = "http://127.0.0.1:9/"
    agent = panel.register_agent(endpoints={"status": url + "s", "health": url + "h"})
    after = panel.put(f"/agents/{agent.id}", {"endpoints": {"health": url + "h2"}}).expect(200).data
    assert after["endpoints"] == {"task": None, "status": None, "health": url + "h2"}


def test_capabilities_add_remove_replace(panel):
    agent = panel.register_agent(capabilities=["a", "b"])

    def change(**body):
        return agent.request("POST", f"/agents/{agent.id}/capabilities", body).expect(200).data["capabilities"]
    assert change(add=["c", "a"]) == ["a", "b", "c"]
    assert change(remove=["b", "nothing"]) == ["a", "c"]
    assert change(replace=["x", "y"], add=["z"], remove=["x"]) == ["y", "z"]
    assert change(replace=[]) == []
    path = f"/agents/{agent.id}/capabilities"
    assert fields(agent.request("POST", path, {}))
    assert fields(agent.request("POST", path, {"add": ["A B"]}), "$.add[0]")
    assert fields(agent.request("POST", path, {"add": [f"c{i}" for i in range(65)]}), "$.add")


def test_changed_capabilities_decide_what_can_be_claimed(panel):
    agent, submit = lane(panel)
    task = submit()
    agent.request("POST", f"/agents/{agent.id}/capabilities", {"remove": [submit.capability]}).expect(200)
    assert agent.claim() == []
    agent.request("POST", f"/agents/{agent.id}/capabilities", {"add": [submit.capability]}).expect(200)
    assert [t["task_id"] for t in agent.claim()] == [task["task_id"]]


def test_deletion_kills_tokens_and_returns_tasks(panel):
    agent, submit = lane(panel)
    task = submit(retry={"initial_delay_ms": 0})
    held, = agent.claim()
    panel.delete(f"/agents/{agent.id}").expect(200)
    error(panel.get(f"/agents/{agent.id}"), 404)
    error(panel.delete(f"/agents/{agent.id}"), 404)
    error(agent.request("GET", "/auth/me"), 401)
    login = panel.request("POST", "/auth/token", {"agent_id": agent.id, "auth_token": agent.auth_token}, token=None)
    error(login, 401)
    assert agent.id not in {a["agent_id"] for a in all_pages(panel, "/agents?limit=500")}
    after = panel.task(task["task_id"])
    assert after["status"] in ("retrying", "pending") and after["fence"] > held["fence"]
    assert after["attempts"][0]["outcome"] == "agent_removed"
    other = panel.register_agent(capabilities=[submit.capability])
    again = panel.wait_for(other.claim, 8, "the task to be claimable again")
    assert again[0]["task_id"] == task["task_id"] and again[0]["attempt"] == 2


def test_an_agent_may_remove_itself(panel):
    agent = panel.register_agent()
    agent.request("DELETE", f"/agents/{agent.id}").expect(200)
    error(agent.request("GET", "/auth/me"), 401)


# ---- heartbeats -------------------------------------------------------------------------------------


def test_heartbeat_is_seen_at_once(panel):
    agent = panel.register_agent()
    answer = agent.heartbeat(status="busy", current_load=0.25, resources={"cpu": 1}, metrics={"tokens": 12}).expect(200).data
    assert answer == {"agent_id": agent.id, "status": "busy", "next_heartbeat_in": 30, "lost": [], "commands": []}
    seen = panel.get(f"/agents/{agent.id}").data
    assert seen["status"] == "busy" and seen["current_load"] == 0.25 and TIME.match(seen["last_heartbeat"])
    assert panel.get(f"/agents/{agent.id}/metrics").data["reported"] == {"tokens": 12}
    assert agent.heartbeat().expect(200).data["status"] == "active"


def test_full_load_is_busy(panel):
    agent = panel.register_agent()
    assert agent.heartbeat(current_load=1).expect(200).data["status"] == "busy"


@pytest.mark.parametrize("body,field", (({"current_load": 1.5}, "$.current_load"), ({"current_load": "x"}, "$.current_load"),
                                        ({"status": "asleep"}, "$.status"), ({"tasks": [{"task_id": NOWHERE}]}, "$.tasks[0].fence"),
                                        ({"tasks": {}}, "$.tasks"), ({"wait": 1}, "$.wait"), ({"metrics": [1]}, "$.metrics")))
def test_bad_heartbeats(panel, agents, body, field):
    agent = agents["worker"]
    assert fields(agent.request("POST", f"/agents/{agent.id}/heartbeat", body), field)


def test_heartbeat_names_what_is_lost_and_cancelled(panel):
    agent, submit = lane(panel)
    kept, cancelled = submit(), submit()
    held = {t["task_id"]: t for t in agent.claim(max=2)}
    panel.post(f"/tasks/{cancelled['task_id']}/cancel").expect(200)
    tasks = [{"task_id": t, "fence": held[t]["fence"]} for t in held] + [{"task_id": NOWHERE, "fence": 1}]
    answer = agent.heartbeat(tasks=tasks).expect(200).data
    assert sorted(answer["lost"]) == sorted([cancelled["task_id"], NOWHERE])
    assert answer["commands"] == [{"command": "cancel_task", "task_id": cancelled["task_id"]}]
    stale = agent.heartbeat(tasks=[{"task_id": kept["task_id"], "fence": 99}]).expect(200).data
    assert stale["lost"] == [kept["task_id"]]


def test_one_agent_cannot_hold_anothers_lease(panel):
    agent, submit = lane(panel)
    other = panel.register_agent()
    submit()
    task, = agent.claim()
    held = [{"task_id": task["task_id"], "fence": task["fence"]}]
    assert other.heartbeat(tasks=held).expect(200).data["lost"] == [task["task_id"]]


def test_drain_and_undrain(panel):
    agent, submit = lane(panel)
    submit()
    assert agent.request("POST", f"/agents/{agent.id}/drain").expect(200).data["draining"] is True
    assert {"command": "drain"} in agent.heartbeat().expect(200).data["commands"]
    assert agent.claim() == []
    assert panel.post(f"/agents/{agent.id}/undrain").expect(200).data["draining"] is False
    assert agent.heartbeat().expect(200).data["commands"] == []
    assert len(agent.claim()) == 1


def test_draining_agent_finishes_what_it_has(panel):
    agent, submit = lane(panel)
    submit()
    task, = agent.claim()
    panel.post(f"/agents/{agent.id}/drain").expect(200)
    agent.progress(task, 0.5).expect(200)
    agent.complete(task).expect(200)


# ---- allocation and slots ---------------------------------------------------------------------------


def test_allocation_never_exceeds_what_the_agent_has(panel):
    agent = panel.register_agent(resources={"cpu": 4, "memory": "8GB"}, slots=2)
    path = f"/agents/{agent.id}/allocate"
    got = agent.request("POST", path, {"cpu": 2.5, "memory": "2GB", "slots": 1}).expect(200).data
    assert got["allocated"] == {"cpu": 2.5, "memory": 2e9, "slots": 1}
    for body in ({"cpu": 4.5}, {"memory": "9GB"}, {"memory": 8000000001}, {"slots": 3}, {"memory": "8GiB"}):
        e = error(agent.request("POST", path, body), 409, "over_allocated")
        assert e["type"] == "conflict"
    assert panel.get(f"/agents/{agent.id}").data["allocated"] == {"cpu": 2.5, "memory": 2e9, "slots": 1}
    got = agent.request("POST", path, {"cpu": 4}).expect(200).data
    assert got["allocated"] == {"cpu": 4, "memory": 2e9, "slots": 1}
    got = agent.request("POST", path, {"cpu": 0, "memory": 0, "slots": 0}).expect(200).data
    assert got["allocated"] == {"cpu": 0, "memory": 0, "slots": 0}


@pytest.mark.parametrize("memory,amount", ((1024, 1024), ("1024", 1024), ("1 kB", 1e3), ("1KiB", 1024), ("2M", 2e6), ("2MiB", 2 << 20),
                                           ("1.5gb", 1.5e9), ("1GiB", 1 << 30), ("1TB", 1e12), ("1 TiB", 1 << 40)))
def test_units_of_memory(panel, memory, amount):
    agent = panel.register_agent(resources={"memory": "2TiB"})
    got = panel.post(f"/agents/{agent.id}/allocate", {"memory": memory}).expect(200).data
    assert got["allocated"]["memory"] == amount


@pytest.mark.parametrize("body", ({"memory": "8 elephants"}, {"memory": -1}, {"memory": "-1GB"}, {"memory": {}}, {"memory": "inf"},
                                  {"memory": "nan"}, {"memory": "0x10"}, {"cpu": -1}, {"cpu": "2"}, {"slots": 1.5}, {}, {"gpu": 1}))
def test_bad_allocations(panel, agents, body):
    assert fields(panel.post(f"/agents/{agents['worker'].id}/allocate", body))


def test_nothing_declared_is_nothing_to_allocate(panel):
    agent = panel.register_agent()
    for body in ({"cpu": 1}, {"memory": 1}, {"slots": 1}):
        error(panel.post(f"/agents/{agent.id}/allocate", body), 409, "over_allocated")


def test_slots_bound_what_is_claimed(panel):
    agent, submit = lane(panel, slots=2)
    for _ in range(4):
        submit()
    first = agent.claim(max=10)
    assert len(first) == 2 and agent.claim() == []
    agent.complete(first[0]).expect(200)
    assert len(agent.claim(max=10)) == 1
    got = agent.complete(first[1], claim={"max": 5}).expect(200).data
    assert len(got["tasks"]) == 1


# ---- health and figures -----------------------------------------------------------------------------


def test_health(panel):
    agent = panel.register_agent()
    health = panel.get(f"/agents/{agent.id}/health").expect(200).data
    assert health["agent_id"] == agent.id and health["overall_health"] == "healthy" and health["anomalies"] == []
    assert health["performance_score"] == 100 and health["availability"] == 100 and health["last_health_check"] is None
    agent.heartbeat(status="error").expect(200)
    health = panel.get(f"/agents/{agent.id}/health").data
    assert health["overall_health"] == "unhealthy" and health["anomalies"][0]["code"] == "reported_error"
    assert TIME.match(health["last_health_check"])


def test_a_full_agent_scores_by_its_work(panel):
    """Load is no fault: what counts is what it finishes, whether it is there and how quick it is."""
    agent, submit = lane(panel)

    def found():
        return panel.get(f"/agents/discover?capabilities={submit.capability}").expect(200).data[0]
    agent.heartbeat(status="busy", current_load=1).expect(200)
    assert found()["ended"] == 0
    for _ in range(2):
        submit()
    for task in agent.claim(max=2):
        agent.complete(task).expect(200)
    seen = panel.wait_for(lambda: (f := found())["ended"] == 2 and f, 3, "the figures")
    assert seen["success_rate"] == 1 and seen["fitness"] == 0
    assert 99 <= panel.get(f"/agents/{agent.id}/health").data["performance_score"] <= 100


def test_figures_count_what_the_agent_did(panel):
    agent, submit = lane(panel)
    for _ in range(3):
        submit(max_retries=0)
    done = agent.claim(max=3)
    time.sleep(0.03)
    agent.complete(done[0]).expect(200)
    agent.complete(done[1]).expect(200)
    agent.fail(done[2]).expect(200)

    def counted():
        figures = panel.get(f"/agents/{agent.id}/metrics").expect(200).data
        return figures["all"]["completed"] + figures["all"]["failed"] == 3 and figures
    figures = panel.wait_for(counted, 3, "the figures")
    assert figures["agent_id"] == agent.id and figures["current_load"] == 0
    for window in ("1h", "24h", "all"):
        w = figures[window]
        assert w["completed"] == 2 and w["failed"] == 1 and w["success_rate"] == pytest.approx(2 / 3)
        assert 30 <= w["avg_duration_ms"] < 5000 and 0 < w["p50_duration_ms"] <= w["p95_duration_ms"]
        assert 0 <= w["availability"] <= 1


def test_a_failing_agent_is_degraded(panel):
    agent, submit = lane(panel)
    for _ in range(10):
        submit(max_retries=0)
    for task in agent.claim(max=10):
        agent.fail(task).expect(200)
    health = panel.wait_for(lambda: (h := panel.get(f"/agents/{agent.id}/health").data)["anomalies"] and h, 3, "the figures")
    assert health["overall_health"] == "degraded" and health["anomalies"][0]["code"] == "low_success_rate"
    assert health["performance_score"] < 80


def test_a_heartbeat_outlives_its_way_into_the_record(quick):
    """The scheduler writes heartbeats into the records in batches; what the agent said stays known."""
    agent = quick.register_agent()

    def seen():
        return quick.get(f"/agents/{agent.id}").data
    for _ in range(4):
        agent.heartbeat(status="busy", current_load=0.5, metrics={"m": 1}).expect(200)
        time.sleep(0.3)
        assert seen()["current_load"] == 0.5 and seen()["status"] == "busy"
        assert quick.get(f"/agents/{agent.id}/metrics").data["reported"] == {"m": 1}
