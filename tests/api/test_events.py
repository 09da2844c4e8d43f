# SPDX-License-Identifier: MIT
"""GET /events: the stream read back, newest first or from an event on, filtered and page by page."""
import datetime
import time

import pytest

from support import NOWHERE, TIME, all_pages, error, fields, lane, unique


def events(panel, **filters):
    return panel.get("/events?limit=500&" + "&".join(f"{k}={v}" for k, v in filters.items())).expect(200).data


def wait_for(panel, count, **filters):
    return panel.wait_for(lambda: len(found := events(panel, **filters)) >= count and found, 10, f"{count} events {filters}")


@pytest.fixture
def story(panel):
    """A task that was created, assigned and completed; its id and agent."""
    agent, submit = lane(panel)
    task = submit(parameters={"m": "not-in-events"})
    agent.complete(agent.claim()[0], {"r": "not-in-events"}).expect(200)
    wait_for(panel, 3, task_id=task["task_id"])
    return task["task_id"], agent


def test_newest_first(panel, story):
    task_id, _ = story
    found = events(panel, task_id=task_id)
    assert [e["type"] for e in found] == ["task.completed", "task.assigned", "task.created"]
    for event in found:
        assert set(event) == {"id", "type", "timestamp", "data"} and TIME.match(event["timestamp"])
        assert event["data"]["task_id"] == task_id and "not-in-events" not in str(event)
    ids = [tuple(map(int, e["id"].split("-"))) for e in events(panel)]
    assert ids == sorted(ids, reverse=True) and len(set(ids)) == len(ids)


def test_filters(panel, story):
    task_id, agent = story
    assert [e["type"] for e in events(panel, task_id=task_id, type="task.created")] == ["task.created"]
    assert len(events(panel, task_id=task_id, type="task.created,task.completed")) == 2
    assert len(events(panel, task_id=task_id, type="task")) == 3 and events(panel, task_id=task_id, type="tas,pipeline") == []
    assert {e["type"] for e in events(panel, agent_id=agent.id)} >= {"agent.registered", "task.assigned", "task.completed"}
    assert events(panel, task_id=NOWHERE) == []
    later = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert events(panel, since=later) == []
    middle = events(panel, task_id=task_id)[1]["timestamp"]
    assert "task.completed" in [e["type"] for e in events(panel, task_id=task_id, since=middle)]
    assert all(e["timestamp"] >= middle for e in events(panel, since=middle))


def test_runs_are_found_by_their_id(panel):
    capability = unique("ev")
    pipeline = panel.post("/pipelines", {"name": unique(), "stages": [{"name": "one", "capabilities": [capability]}]}).expect(201).data["pipeline_id"]
    run = panel.post(f"/pipelines/{pipeline}/execute", {}).expect(202).data["execution_id"]
    agent = panel.register_agent(capabilities=[capability])
    agent.complete(agent.claim(wait=5)[0]).expect(200)
    panel.wait_for(lambda: "pipeline.completed" in [e["type"] for e in events(panel, execution_id=run)], 10, "the end to be told")
    types = {e["type"] for e in events(panel, execution_id=run)}
    assert {"pipeline.started", "stage.started", "stage.completed", "pipeline.completed"} <= types
    assert {e["type"] for e in events(panel, pipeline_id=pipeline, type="pipeline")} >= {"pipeline.started", "pipeline.completed"}


def test_pages_hold_still_while_more_happens(panel):
    for _ in range(12):
        panel.submit(requirements={"capabilities": ["nobody-has-this"]})
    wait_for(panel, 12, type="task.created")
    first = panel.get("/events?type=task.created&limit=5").expect(200).json
    panel.submit(requirements={"capabilities": ["nobody-has-this"]})
    time.sleep(0.1)
    second = panel.get("/events?type=task.created&limit=5&cursor=" + first["next_cursor"]).expect(200).json
    whole = [e["id"] for e in events(panel, type="task.created")]
    both = [e["id"] for e in first["data"] + second["data"]]
    assert first["count"] == 5 and len(both) == 10 and both == whole[whole.index(both[0]):][:10]
    everything = all_pages(panel, "/events?limit=50")
    assert len({e["id"] for e in everything}) == len(everything)


def test_forward_from_an_event(panel, story):
    task_id, _ = story
    found = events(panel, task_id=task_id)[::-1]
    assert [e["type"] for e in events(panel, task_id=task_id, after=found[0]["id"])] == ["task.assigned", "task.completed"]
    last = events(panel)[0]["id"]
    page = panel.get(f"/events?after={last}&type=task.created&limit=3").expect(200).json
    made = [panel.submit(requirements={"capabilities": ["nobody-has-this"]})["task_id"] for _ in range(5)]
    wait_for(panel, 5, type="task.created", after=last)
    page = panel.get(f"/events?after={last}&type=task.created&limit=3").expect(200).json
    got = [e["data"]["task_id"] for e in page["data"]]
    page = panel.get("/events?type=task.created&limit=3&cursor=" + page["next_cursor"]).expect(200).json
    got += [e["data"]["task_id"] for e in page["data"]]
    assert [t for t in got if t in made] == made
    # There is a cursor at the end too: it waits for what comes.
    made = panel.submit(requirements={"capabilities": ["nobody-has-this"]})["task_id"]
    panel.wait_for(lambda: made in [e["data"]["task_id"] for e in
                                    panel.get("/events?type=task.created&cursor=" + page["next_cursor"]).expect(200).data], 10, "the next event")


@pytest.mark.parametrize("query,field", (("limit=501", "query.limit"), ("limit=0", "query.limit"), ("x=1", "query.x"), ("since=now", "query.since"),
                                         ("task_id=1", "query.task_id"), ("after=abc", "query.after"), ("after=0", "query.after")))
def test_bad_queries(panel, query, field):
    assert fields(panel.get("/events?" + query), field)


def test_ends_of_the_stream(panel, story):
    for cursor in ("eb.0-0", "eb.0-1", "eb.00-000", "ef.9999999999999999999-9999999999999999999"):
        answer = panel.get("/events?cursor=" + cursor).expect(200).json
        assert answer["data"] == [] and answer["count"] == 0
    assert panel.get("/events?after=0-0&limit=1").expect(200).json["count"] == 1
    assert len(panel.get("/events?cursor=eb.9999999999999999999-9999999999999999999&limit=3").expect(200).data) == 3


@pytest.mark.parametrize("cursor", ("x", "t." + NOWHERE, "eb.", "eb.x-y", "ef.1-2-3"))
def test_bad_cursors(panel, cursor):
    error(panel.get("/events?cursor=" + cursor), 400, "bad_cursor")
