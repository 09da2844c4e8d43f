# SPDX-License-Identifier: MIT
"""Pipelines and their runs: definitions, stages in order, fan-out, steering, outputs."""
import csv
import io
import json

import pytest

from support import NOWHERE, all_pages, error, fields, is_uuid, unique

STANDARD = ["ingestion", "standardization", "validation", "processing", "quality_assessment", "export"]


def define(panel, *stages, **more):
    """A pipeline whose stages only one agent can work on, and that agent."""
    capability = unique("stage")
    body = {"name": unique("pipeline"), "stages": [{"capabilities": [capability], **s} for s in stages], **more}
    pipeline = panel.post("/pipelines", body).expect(201).data
    return pipeline, panel.register_agent(capabilities=[capability])


def start(panel, pipeline, **body):
    return panel.post(f"/pipelines/{pipeline['pipeline_id']}/execute", body).expect(202).data


def run(panel, ex):
    return panel.get(f"/executions/{ex['execution_id']}").expect(200).data


def work(agent, result=lambda task: {"stage": task["stage"]}, limit=50):
    """Do everything there is to do; the tasks done."""
    done = []
    while tasks := agent.claim(max=10):
        for task in tasks:
            agent.complete(task, result(task)).expect(200)
            done.append(task)
        assert len(done) < limit
    return done


# ---- definitions ------------------------------------------------------------------------------------


def test_six_stages_by_default(panel):
    got = panel.post("/pipelines", {"name": unique(), "tags": ["a"], "metadata": {"k": 1}}).expect(201).data
    assert is_uuid(got["pipeline_id"]) and [s["name"] for s in got["stages"]] == STANDARD
    assert [s["timeout"] for s in got["stages"]] == [300, 600, 900, 300, 1200, 300]
    assert got["dependencies"] == [{"from": n, "to": n + 1} for n in range(5)]
    assert got["status"] is None and got["tags"] == ["a"] and got["metadata"] == {"k": 1}


def test_both_forms_of_dependencies(panel):
    names = [{"name": n} for n in "abc"]
    by_edge = panel.post("/pipelines", {"name": "x", "stages": names, "dependencies": [{"from": 0, "to": 2}, {"from": 1, "to": 2}]}).expect(201).data
    assert [s["depends_on"] for s in by_edge["stages"]] == [[], [], [1, 2]]
    stages = [{"name": "a"}, {"name": "b", "depends_on": []}, {"name": "c", "depends_on": [1, 2]}]
    by_stage = panel.post("/pipelines", {"name": "x", "stages": stages}).expect(201).data
    assert by_stage["dependencies"] == by_edge["dependencies"]
    body = {"name": "x", "stages": stages, "dependencies": [{"from": 0, "to": 1}]}
    assert "conflict" in fields(panel.post("/pipelines", body)).values()


@pytest.mark.parametrize("body,field", (
    ({"stages": []}, "$.stages"), ({"stages": [{"name": str(n)} for n in range(7)]}, "$.stages"), ({"stages": [{}]}, "$.stages[0].name"),
    ({"stages": [{"name": "a"}, {"name": "a"}]}, "$.stages[1].name"), ({"stages": [{"name": "a", "timeout": 0}]}, "$.stages[0].timeout"),
    ({"stages": [{"name": "a", "depends_on": [2]}, {"name": "b", "depends_on": [1]}]}, "$.stages"),
    ({"stages": [{"name": "a"}, {"name": "b"}], "dependencies": [{"from": 0, "to": 1}, {"from": 1, "to": 0}]}, "$.dependencies"),
    ({"stages": [{"name": "a", "validation": {"type": "nonsense"}}]}, None), ({"stages": [{"name": "a", "x": 1}]}, "$.stages[0].x"),
    ({"name": ""}, "$.name"), ({"colour": 1}, "$.colour"),
))
def test_bad_definitions(panel, body, field):
    found = fields(panel.post("/pipelines", {"name": "x", **body}))
    assert field is None or field in found, found


def test_change_and_remove(panel):
    pipeline, agent = define(panel, {"name": "one"})
    path = f"/pipelines/{pipeline['pipeline_id']}"
    assert panel.put(path, {"description": "new"}).expect(200).data["description"] == "new"
    ex = start(panel, pipeline)
    error(panel.delete(path), 409, "invalid_state")
    work(agent)
    assert panel.get(path).data["status"] == "completed"
    panel.delete(path).expect(200)
    error(panel.get(path), 404)
    assert run(panel, ex)["status"] == "completed"


def test_a_run_keeps_its_definition(panel):
    pipeline, agent = define(panel, {"name": "one"}, {"name": "two"})
    ex = start(panel, pipeline)
    panel.put(f"/pipelines/{pipeline['pipeline_id']}", {"stages": [{"name": "only"}]}).expect(200)
    assert [t["stage"] for t in work(agent)] == [1, 2]
    assert [s["name"] for s in run(panel, ex)["stages"]] == ["one", "two"]


# ---- running ----------------------------------------------------------------------------------------


def test_a_stage_gets_what_the_one_before_made(panel):
    pipeline, agent = define(panel, *({"name": n} for n in STANDARD))
    ex = start(panel, pipeline, input_data={"seed": 1}, parameters={"p": 2})
    assert ex["status"] == "running" and ex["current_stage"] == 1
    done = work(agent, lambda t: {"from": t["stage"]})
    assert [t["stage"] for t in done] == [1, 2, 3, 4, 5, 6]
    assert [t["parameters"]["input"] for t in done] == [{"seed": 1}] + [{"from": n} for n in range(1, 6)]
    assert all(t["parameters"]["parameters"] == {"p": 2} and t["priority"] == "high" for t in done)
    after = run(panel, ex)
    assert after["status"] == "completed" and after["completed_stages"] == [1, 2, 3, 4, 5, 6] and after["progress_percentage"] == 100
    assert after["output_data"] == {"from": 6} and after["input_data"] == {"seed": 1}


def test_branches_run_side_by_side(panel):
    pipeline, agent = define(panel, {"name": "a"}, {"name": "b", "depends_on": [1]}, {"name": "c", "depends_on": [1]}, {"name": "d", "depends_on": [2, 3]})
    ex = start(panel, pipeline, input_data=1)
    agent.complete(agent.claim()[0], "A").expect(200)
    both = agent.claim(max=5)
    assert sorted(t["stage"] for t in both) == [2, 3]
    for t in both:
        agent.complete(t, t["parameters"]["stage_name"]).expect(200)
    last, = agent.claim()
    assert last["parameters"]["input"] == {"b": "b", "c": "c"}
    agent.complete(last).expect(200)
    assert run(panel, ex)["status"] == "completed"


def test_fan_out_and_outputs(panel):
    pipeline, agent = define(panel, {"name": "many", "fan_out": True}, {"name": "one"})
    rows = [{"n": n, "text": f'a "b", {n}', "f": "=1+1"} for n in range(25)]
    ex = start(panel, pipeline, input_data={"items": rows}, parameters={"batch_size": 4, "parallel_workers": 3})
    first = agent.claim(max=50)
    assert len(first) == 3 and {len(t["parameters"]["input"]["items"]) for t in first} <= {4, 1}
    for t in reversed(first):
        agent.complete(t, {"items": t["parameters"]["input"]["items"]}).expect(200)
    done = work(agent, lambda t: t["parameters"]["input"])
    assert [t for t in done if t["stage"] == 2][0]["parameters"]["input"] == {"items": rows}
    path = f"/executions/{ex['execution_id']}/output?stage=1"
    items, cursor = [], ""
    while cursor is not None:
        page = panel.get(path + "&limit=7" + cursor).expect(200).json
        items += page["data"]["items"]
        cursor = "&cursor=" + page["next_cursor"] if page["next_cursor"] else None
    assert items == rows
    nd = panel.get(path + "&format=ndjson").expect(200)
    assert nd.headers["Content-Type"].startswith("application/x-ndjson") and [json.loads(line) for line in nd.text.splitlines()] == rows
    table = list(csv.DictReader(io.StringIO(panel.get(path + "&format=csv").expect(200).text)))
    assert [int(r["n"]) for r in table] == list(range(25)) and table[3]["text"] == 'a "b", 3' and table[0]["f"] == "'=1+1"
    assert panel.get(f"/executions/{ex['execution_id']}/output?stage=0").data["items"] == rows
    assert fields(panel.get(f"/executions/{ex['execution_id']}/output?stage=3"), "query.stage")


def test_validation_of_results(panel):
    schema = {"type": "object", "required": ["score"], "properties": {"score": {"type": "number", "maximum": 1}}}
    pipeline, agent = define(panel, {"name": "one", "validation": schema, "max_retries": 0})
    ex = start(panel, pipeline)
    task, = agent.claim()
    e = error(agent.complete(task, {"score": 2}), 422, "unprocessable")
    assert e["details"][0]["field"] == "$.result.score"
    assert run(panel, ex)["status"] == "failed" and run(panel, ex)["error"]["type"] == "validation"
    panel.post(f"/executions/{ex['execution_id']}/retry").expect(200)
    agent.complete(agent.claim()[0], {"score": 0.5}).expect(200)
    assert run(panel, ex)["status"] == "completed"


def test_optional_stages_may_fail(panel):
    pipeline, agent = define(panel, {"name": "a"}, {"name": "b", "required": False, "max_retries": 0}, {"name": "c"})
    ex = start(panel, pipeline)
    agent.complete(agent.claim()[0], "A").expect(200)
    agent.fail(agent.claim()[0]).expect(200)
    last, = agent.claim()
    assert last["stage"] == 3 and last["parameters"]["input"] == "A"
    agent.complete(last).expect(200)
    after = run(panel, ex)
    assert after["status"] == "completed" and after["stages"][1]["status"] == "failed" and after["completed_stages"] == [1, 3]


def test_retry_from_the_failed_stage(panel):
    pipeline, agent = define(panel, {"name": "a"}, {"name": "b", "max_retries": 0})
    ex = start(panel, pipeline)
    agent.complete(agent.claim()[0], "kept").expect(200)
    agent.fail(agent.claim()[0]).expect(200)
    assert run(panel, ex)["status"] == "failed"
    error(panel.post(f"/executions/{ex['execution_id']}/pause"), 409, "invalid_state")
    panel.post(f"/executions/{ex['execution_id']}/retry").expect(200)
    again, = agent.claim(max=5)
    assert again["stage"] == 2 and again["parameters"]["input"] == "kept"
    agent.complete(again).expect(200)
    assert run(panel, ex)["status"] == "completed"


def test_pause_resume_cancel(panel):
    pipeline, agent = define(panel, {"name": "a"}, {"name": "b"})
    ex = start(panel, pipeline)
    path = f"/executions/{ex['execution_id']}"
    task, = agent.claim()
    assert panel.post(path + "/pause").expect(200).data["status"] == "paused"
    agent.complete(task).expect(200)
    assert agent.claim() == []
    assert panel.post(path + "/resume").expect(200).data["execution_id"] == ex["execution_id"]
    task, = agent.claim()
    assert panel.post(path + "/cancel").expect(200).data["status"] == "cancelled"
    assert error(agent.complete(task), 409)
    error(panel.post(path + "/resume"), 409, "invalid_state")


def test_progress_and_who_works(panel):
    pipeline, agent = define(panel, {"name": "a"}, {"name": "b"})
    error(panel.get(f"/pipelines/{pipeline['pipeline_id']}/progress"), 404)
    ex = start(panel, pipeline)
    agent.complete(agent.claim()[0]).expect(200)
    task, = agent.claim()
    p = panel.get(f"/pipelines/{pipeline['pipeline_id']}/progress").expect(200).data
    assert p["current_stage"] == 2 and p["completed_stages"] == [1] and p["progress"] == 0.5 and p["progress_percentage"] == 50
    p = panel.get(f"/pipeline/{ex['execution_id']}/agent-progress").expect(200).data
    assert p["agents"][0]["agent_id"] == agent.id and p["agents"][0]["task_id"] == task["task_id"]
    error(panel.get(f"/pipeline/{NOWHERE}/agent-progress"), 404)


def test_one_stage_alone(panel):
    pipeline, agent = define(panel, {"name": "a"}, {"name": "b"})
    base = f"/pipelines/{pipeline['pipeline_id']}/stages"
    for bad in ("0", "7", "x", "3"):
        assert fields(panel.post(f"{base}/{bad}/execute", {}), "path.stage")
    ex = panel.post(f"{base}/2/execute", {"input_data": "given"}).expect(202).data
    task, = agent.claim(max=5)
    assert task["stage"] == 2 and task["parameters"]["input"] == "given"
    agent.complete(task).expect(200)
    assert run(panel, ex)["status"] == "completed"


def test_six_stages_in_one_call(panel):
    pipeline, agent = define(panel, {"name": "a"})
    answer = panel.post("/pipeline/agent-execute", {"pipeline_id": pipeline["pipeline_id"]}).expect(202)
    assert answer.json["execution_id"] == answer.data["execution_id"] and answer.data["results"] is None
    work(agent)
    answer = panel.post("/pipeline/agent-execute?wait=1", {"pipeline_id": pipeline["pipeline_id"]}).expect(202)
    assert {"execution_id", "status", "results", "metrics"} <= set(answer.data)
    work(agent)


def test_lists(panel):
    pipeline, agent = define(panel, {"name": "a"})
    ids = [start(panel, pipeline)["execution_id"] for _ in range(5)]
    path = f"/executions?pipeline_id={pipeline['pipeline_id']}"
    assert [e["execution_id"] for e in all_pages(panel, path + "&limit=2")] == ids[::-1]
    work(agent)
    assert len(panel.get(path + "&status=completed").data) == 5 and panel.get(path + "&status=failed").data == []
    assert panel.get(f"/pipelines?name={pipeline['name']}").data[0]["pipeline_id"] == pipeline["pipeline_id"]
