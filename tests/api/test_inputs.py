# SPDX-License-Identifier: MIT
"""Inputs that are too large for a task, read page by page by whoever holds its lease and nobody else."""
import json

import pytest

from support import error, unique

pytestmark = pytest.mark.extended
N = 40


@pytest.fixture(scope="module")
def small(panel_options):
    """A panel whose results, and so the inputs within a task, are small."""
    from panel import Panel
    with Panel(settings={"MAX_RESULT": "4096"}, **panel_options) as made:
        yield made


def item(n):
    return {"n": n, "fill": "x" * 300}


@pytest.fixture(scope="module")
def held(small):
    """(agent, its task with an input_ref, the run): the second of two stages, which gets what the first one made."""
    capability = unique("big")
    agent = small.register_agent(capabilities=[capability])
    stages = [{"name": "many", "capabilities": [capability], "fan_out": True}, {"name": "one", "capabilities": [capability]}]
    pipeline = small.post("/pipelines", {"name": unique(), "stages": stages}).expect(201).data
    body = {"input_data": {"items": list(range(N))}, "parameters": {"batch_size": 5}}
    run = small.post(f"/pipelines/{pipeline['pipeline_id']}/execute", body).expect(202).data
    for _ in range(N // 5):
        task, = agent.claim(wait=10)
        assert task["stage"] == 1 and "input_ref" not in task["parameters"]
        agent.complete(task, {"items": [item(n) for n in task["parameters"]["input"]["items"]]}).expect(200)
    task, = agent.claim(wait=10)
    assert task["stage"] == 2
    return agent, task, run


def test_the_task_says_where_its_input_is(held):
    _, task, run = held
    assert "input" not in task["parameters"]
    ref = task["parameters"]["input_ref"]
    assert ref["items"] == N and ref["bytes"] >= N * 300
    assert ref["href"].startswith(f"/api/v1/executions/{run['execution_id']}/output")


def test_whoever_holds_the_task_reads_it(held):
    agent, task, _ = held
    href, items, cursor = task["parameters"]["input_ref"]["href"], [], ""
    sizes = []
    while cursor is not None:
        page = agent.request("GET", href + ("&" if "?" in href else "?") + "limit=7" + cursor).expect(200).json
        items += page["data"]["items"]
        sizes.append(len(page["data"]["items"]))
        cursor = "&cursor=" + page["next_cursor"] if page["next_cursor"] else None
    assert items == [item(n) for n in range(N)] and max(sizes) <= 7
    lines = agent.request("GET", href + ("&" if "?" in href else "?") + "format=ndjson").expect(200).text.splitlines()
    assert [json.loads(line) for line in lines] == items


def test_nobody_else_does(small, held):
    _, task, run = held
    href = task["parameters"]["input_ref"]["href"]
    stranger = small.register_agent()
    error(stranger.request("GET", href), 403)
    error(small.get(href, token=None), 401)
    small.post("/users", {"username": "clerk", "password": "a long enough word", "role": "worker"}).expect(201)
    error(small.get(href, token=small.login("clerk", "a long enough word")), 403)
    # A task of another run is no permission.
    other = small.submit(requirements={"capabilities": ["echo"]})
    assert stranger.claim()[0]["task_id"] == other["task_id"]
    error(stranger.request("GET", href), 403)
    small.get(href).expect(200)         # whoever may read pipelines


def test_the_permission_ends_with_the_lease(small, held):
    agent, task, run = held
    agent.complete(task, {"sum": 1}).expect(200)
    error(agent.request("GET", task["parameters"]["input_ref"]["href"]), 403)
    assert small.get(f"/executions/{run['execution_id']}").data["status"] == "completed"
