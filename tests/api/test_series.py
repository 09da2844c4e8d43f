# SPDX-License-Identifier: MIT
"""GET /system/metrics: the queue by priority, and the last hour minute by minute."""
from support import fields, unique


def test_the_queue_by_priority(panel):
    capability = unique("nobody")
    before = {q["priority"]: q for q in panel.get("/system/metrics").expect(200).data["queue"]}
    assert list(before) == ["critical", "high", "medium", "low"]
    task = panel.post("/tasks", {"type": "x", "priority": "low", "requirements": {"capabilities": [capability]}}).expect(201).data
    after = {q["priority"]: q for q in panel.get("/system/metrics").data["queue"]}
    assert after["low"]["depth"] >= 1 and after["low"]["oldest_s"] > 0
    panel.post(f"/tasks/{task['task_id']}/cancel").expect(200)


def test_the_last_hour(panel):
    capability = unique("series")
    agent = panel.register_agent(capabilities=[capability])
    total = lambda name: sum(p[name] for p in panel.get("/system/metrics?series=1h").data["series"])
    created, completed, failed = total("created"), total("completed"), total("failed")
    for _ in range(2):
        panel.post("/tasks", {"type": "x", "max_retries": 0, "requirements": {"capabilities": [capability]}}).expect(201)
    agent.complete(agent.claim()[0]).expect(200)
    agent.fail(agent.claim()[0]).expect(200)
    series = panel.get("/system/metrics?series=1h").expect(200).data["series"]
    assert len(series) == 60 and [p["at"] for p in series] == sorted(p["at"] for p in series)
    assert total("created") >= created + 2 and total("completed") >= completed + 1 and total("failed") >= failed + 1
    assert any(p["request_p95_ms"] and p["request_p95_ms"] >= p["request_p50_ms"] for p in series)
    assert panel.get("/system/metrics?series=1m").data["series"][0]["at"] in [p["at"] for p in series[-3:]]
    assert panel.get("/system/metrics").data["series"] == []
    assert fields(panel.get("/system/metrics?series=2h"), "query.series")


def test_waiting_on_purpose_is_no_latency(panel):
    agent = panel.register_agent(capabilities=[unique("idle")])
    worst = lambda: max(p["request_p95_ms"] or 0 for p in panel.get("/system/metrics?series=1m").data["series"])
    before = worst()
    for _ in range(2):
        assert agent.claim(wait=1) == []
    assert worst() < max(900, before + 1)
