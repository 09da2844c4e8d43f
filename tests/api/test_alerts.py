# SPDX-License-Identifier: MIT
"""Alerts: raised when a rule holds, told as events, resolved when it no longer does."""
import os
import signal

import pytest

from support import NOWHERE, TIME, error, fields, lane, unique

pytestmark = pytest.mark.extended
PASSWORD = "a long enough word"
PATIENCE = 40


@pytest.fixture(scope="module")
def watchful(panel_options):
    """A panel that looks every second and forgets after eight."""
    from panel import Panel
    settings = {"ALERT_INTERVAL": 1, "ALERT_WINDOW": 8, "ALERT_THRESHOLD_FAILED_LOGINS": 5, "ALERT_THRESHOLD_DENIALS": 6,
                "AGENT_HEARTBEAT_INTERVAL": 1, "ALERT_THRESHOLD_RESPONSE_TIME": 60000}
    with Panel(settings={k: str(v) for k, v in settings.items()}, **panel_options) as made:
        yield made


def alerts(panel, **filters):
    return panel.get("/alerts?limit=500&" + "&".join(f"{k}={v}" for k, v in filters.items())).expect(200).data


def wait_for(panel, status, seconds=PATIENCE, **filters):
    found = panel.wait_for(lambda: alerts(panel, status=status, **filters), seconds, f"an alert {filters} to be {status}", every=0.2)
    assert len(found) == 1, found
    return found[0]


def told(panel, alert_id):
    """The events that told of it, oldest first."""
    events = panel.get("/events?type=system.alert&limit=500").expect(200).data
    return [e["data"] for e in reversed(events) if e["data"]["alert_id"] == alert_id]


def test_failed_log_ins(watchful):
    name = unique("victim")
    user = watchful.post("/users", {"username": name, "password": PASSWORD, "role": "worker"}).expect(201).data["user_id"]
    for _ in range(8):
        error(watchful.post("/auth/login", {"username": name, "password": "guess"}, token=None), 401)
    alert = wait_for(watchful, "active", kind="failed_logins", subject=user)
    assert set(alert) == {"alert_id", "kind", "subject", "status", "severity", "message", "value", "threshold", "unit", "since", "last_seen",
                          "resolved_at", "runbook"}
    assert alert["severity"] == "critical" and alert["value"] >= 6 and alert["threshold"] == 5 and "log-ins failed" in alert["message"]
    assert alert["runbook"] == "docs/guides/runbooks.md#failed_logins" and alert["resolved_at"] is None
    assert TIME.match(alert["since"]) and TIME.match(alert["last_seen"])
    wait_for(watchful, "active", kind="failed_logins", subject="127.0.0.1")
    assert watchful.get(f"/alerts/{alert['alert_id']}").expect(200).data["kind"] == "failed_logins"
    after = wait_for(watchful, "resolved", kind="failed_logins", subject=user)
    assert after["alert_id"] == alert["alert_id"] and after["status"] == "resolved" and TIME.match(after["resolved_at"])
    assert alerts(watchful, status="active", kind="failed_logins", subject=user) == []
    assert [e["status"] for e in watchful.wait_for(lambda: len(told(watchful, alert["alert_id"])) == 2 and told(watchful, alert["alert_id"]), 10,
                                                   "both events")] == ["active", "resolved"]


def test_permission_probes(watchful):
    agent = watchful.register_agent()
    for path in ("/users", "/api-keys", "/events", "/alerts", "/audit-logs", "/pipelines", "/executions", "/users"):
        error(agent.request("GET", path), 403)
    alert = wait_for(watchful, "active", kind="permission_probes", subject=agent.id)
    assert alert["value"] >= 7 and alert["severity"] == "warning"


def test_an_agent_that_falls_silent(watchful):
    agent = watchful.register_agent()
    agent.heartbeat().expect(200)
    alert = wait_for(watchful, "active", kind="agent_gone", subject=agent.id)
    assert alert["threshold"] == 2 and alert["unit"] == "s" and alert["value"] > 2

    def back():
        agent.heartbeat().expect(200)
        return alerts(watchful, status="resolved", kind="agent_gone", subject=agent.id)
    assert watchful.wait_for(back, PATIENCE, "it to be resolved", every=0.3)[0]["alert_id"] == alert["alert_id"]


def test_an_agent_that_fails(watchful):
    agent, submit = lane(watchful)
    for _ in range(12):
        submit(max_retries=0)
    for task in agent.claim(max=12):
        agent.fail(task).expect(200)
    alert = watchful.wait_for(lambda: agent.heartbeat() and alerts(watchful, status="active", kind="agent_anomaly", subject=agent.id), PATIENCE,
                              "the anomaly", every=0.3)[0]
    assert alert["value"] == 0 and alert["threshold"] == 0.8


def test_ended_tasks(watchful):
    agent, submit = lane(watchful)
    for _ in range(30):
        submit(max_retries=0)
    for task in agent.claim(max=30):
        agent.fail(task).expect(200)
    alert = wait_for(watchful, "active", kind="task_efficiency")
    assert alert["subject"] is None and alert["value"] < 0.8 and alert["unit"] == "share"
    wait_for(watchful, "resolved", kind="task_efficiency")


def test_redis_away(watchful):
    watchful.kill("redis")
    try:
        alert = wait_for(watchful, "active", kind="service_down", subject="redis")
        assert alert["severity"] == "critical"
        e = error(watchful.get("/events"), 503)
        assert e["type"] == "network" and "Redis is away" in e["message"]
    finally:
        watchful.start("redis")
    after = wait_for(watchful, "resolved", kind="service_down", subject="redis")
    assert after["alert_id"] == alert["alert_id"]
    watchful.wait_for(lambda: watchful.get("/events").status == 200, 10, "the events to be back")


def test_relay_away(watchful):
    watchful.kill("relay")
    try:
        alert = wait_for(watchful, "active", kind="service_down", subject="relay")
    finally:
        watchful.start("relay")
    assert wait_for(watchful, "resolved", kind="service_down", subject="relay")["alert_id"] == alert["alert_id"]


def test_api_away(watchful):
    """Its socket's file is left behind by a kill: that alone is no sign of life."""
    watchful.kill("api")
    try:
        watchful.wait_for(lambda: "service_down api" in watchful.log("scheduler"), PATIENCE, "the alert")
    finally:
        watchful.start("api")
    # The web server may hold off for a second or two after it has asked in vain.
    watchful.wait_for(lambda: watchful.get("//ready").status == 200, 10, "the API to be back")
    wait_for(watchful, "resolved", kind="service_down", subject="api")


def test_somebody_is_told(new_panel, receiver):
    private = new_panel(ALERT_INTERVAL=1, ALERT_WINDOW=8, ALERT_THRESHOLD_DENIALS=2, ALERT_WEBHOOK=receiver.url + "/alerts")
    agent = private.register_agent()
    for _ in range(5):
        error(agent.request("GET", "/users"), 403)
    first, second = (receiver.wait(n, seconds=PATIENCE) for n in (1, 2))
    assert [g.json["status"] for g in (first, second)] == ["active", "resolved"] and first.json["alert_id"] == second.json["alert_id"]
    for got in (first, second):
        assert got.path == "/alerts" and got.headers["X-MCP-Event"] == "system.alert" and got.headers["X-MCP-Signature"].startswith("t=")
        assert got.json["kind"] == "permission_probes" and got.json["subject"] == agent.id
    assert len(receiver.got) == 2


def test_slow_answers_and_failed_ones(new_panel):
    """The store is frozen out of the way: a lock on the file makes writers fail, which is a 5xx."""
    private = new_panel(ALERT_INTERVAL=1, ALERT_WINDOW=60, ALERT_THRESHOLD_RESPONSE_TIME=1, ALERT_THRESHOLD_ERROR_RATE="0.2")
    for _ in range(40):
        private.get("/tasks?limit=500").expect(200)
        private.post("/tasks/batch", {"tasks": [{"type": "x", "requirements": {"capabilities": ["nobody"]}}] * 100}).expect(200)
    alert = wait_for(private, "active", kind="response_time")
    assert alert["value"] > 1 and alert["threshold"] == 1 and alert["unit"] == "ms"
    private.kill("redis")
    for _ in range(60):
        error(private.get("/events"), 503)
    alert = wait_for(private, "active", kind="error_rate")
    assert 0.2 < alert["value"] <= 1 and alert["severity"] == "critical"


def test_a_new_leader_goes_on(new_panel):
    """An alert is not raised twice because another scheduler looks."""
    private = new_panel(ALERT_INTERVAL=1, ALERT_WINDOW=8, ALERT_THRESHOLD_DENIALS=2)
    agent = private.register_agent()
    for _ in range(5):
        error(agent.request("GET", "/users"), 403)
    alert = wait_for(private, "active", kind="permission_probes", subject=agent.id)
    os.kill(private.pid("scheduler"), signal.SIGKILL)
    private.wait_for(lambda: not private.running("scheduler"), 10, "the scheduler to end")
    private.start("scheduler")
    after = wait_for(private, "resolved", kind="permission_probes", subject=agent.id)
    assert after["alert_id"] == alert["alert_id"] and len(alerts(private, kind="permission_probes")) == 1


@pytest.mark.parametrize("query,field", (("status=over", "query.status"), ("kind=A%20B", "query.kind"), ("limit=501", "query.limit"), ("x=1", "query.x")))
def test_bad_queries(panel, query, field):
    assert fields(panel.get("/alerts?" + query), field)


def test_what_is_not_there(panel):
    error(panel.get(f"/alerts/{NOWHERE}"), 404)
    assert alerts(panel, kind="nothing-of-the-kind") == []
    error(panel.get("/alerts?cursor=t." + NOWHERE), 400, "bad_cursor")
