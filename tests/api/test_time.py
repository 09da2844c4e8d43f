# SPDX-License-Identifier: MIT
"""What time, and other tasks, do to a task: leases, timeouts, deadlines, backoff, dependencies, keys.

The leases of this panel last two seconds, so the tests mostly wait; they wait together.
"""
import datetime
import time

import pytest

from support import Together, error, lane, unique, wait_status

pytestmark = pytest.mark.extended
together = Together()

AT_ONCE = {"initial_delay_ms": 0, "jitter": False}
PATIENCE = 30       # for what takes two seconds on an idle machine


def later(seconds):
    return (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)).isoformat()


def moment(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def claimed(agent, seconds=PATIENCE, **body):
    return agent.panel.wait_for(lambda: agent.claim(**body), seconds, "a task to be claimed", every=0.1)


def gone(agent, task):
    """Every report with this fence is too late, and changes nothing."""
    before = agent.panel.task(task["task_id"])
    for report in (agent.progress(task, 0.9), agent.complete(task, "late"), agent.fail(task),
                   agent.request("POST", f"/tasks/{task['task_id']}/release", {"fence": task["fence"]})):
        assert error(report, 409)["type"] == "conflict"
    after = agent.panel.task(task["task_id"])
    assert {k: after[k] for k in ("status", "fence", "result", "progress", "attempt")} == \
        {k: before[k] for k in ("status", "fence", "result", "progress", "attempt")}


# ---- leases -----------------------------------------------------------------------------------------


@together
def test_a_lease_that_runs_out_puts_the_task_back(quick):
    agent, submit = lane(quick)
    other = quick.register_agent(capabilities=[submit.capability])
    submit(retry=AT_ONCE)
    first, = agent.claim()
    second, = claimed(other)
    assert second["task_id"] == first["task_id"] and second["fence"] > first["fence"] and second["attempt"] == 2
    gone(agent, first)
    other.complete(second, {"by": "the second"}).expect(200)
    gone(agent, first)
    after = quick.task(first["task_id"])
    assert after["result"] == {"by": "the second"} and after["assigned_agent_id"] == other.id
    one, two = after["attempts"]
    assert (one["agent_id"], one["fence"], one["outcome"]) == (agent.id, first["fence"], "lease_expired")
    assert (two["agent_id"], two["fence"], two["outcome"]) == (other.id, second["fence"], "completed")
    assert one["error"]["code"] == "lease_expired" and one["error"]["type"] == "timeout"


@together
def test_a_lease_that_runs_out_on_the_last_try_ends_the_task(quick):
    agent, submit = lane(quick)
    submit(max_retries=0)
    task, = agent.claim()
    after = wait_status(quick, task["task_id"], "failed", seconds=PATIENCE)
    assert after["error"]["code"] == "lease_expired" and after["lease_expires_at"] is None
    gone(agent, task)


@together
def test_progress_renews(quick):
    agent, submit = lane(quick)
    submit()
    task, = agent.claim()
    began, expiry = time.monotonic(), task["lease_expires_at"]
    while time.monotonic() - began < 5:
        got = agent.progress(task, 0.1).expect(200).data
        assert got["status"] == "running" and got["fence"] == task["fence"] and got["lease_expires_at"] >= expiry
        expiry = got["lease_expires_at"]
        time.sleep(0.2)
    assert moment(expiry) - moment(task["lease_expires_at"]) > datetime.timedelta(seconds=2)
    agent.complete(task).expect(200)


@together
def test_a_heartbeat_renews_what_it_names_and_says_what_is_lost(quick):
    agent, submit = lane(quick)
    for _ in range(2):
        submit(retry={"initial_delay_ms": 60000, "jitter": False})
    kept, left = agent.claim(max=2)
    both = [{"task_id": t["task_id"], "fence": t["fence"]} for t in (kept, left)]
    began = time.monotonic()
    while time.monotonic() - began < 5:
        answer = agent.heartbeat(tasks=both[:1]).expect(200).data
        assert answer["lost"] == []
        time.sleep(0.2)
    assert quick.task(kept["task_id"])["status"] == "running" and quick.task(left["task_id"])["status"] == "retrying"
    assert agent.heartbeat(tasks=both).expect(200).data["lost"] == [left["task_id"]]
    stale = [{"task_id": kept["task_id"], "fence": kept["fence"] + 1}]
    assert agent.heartbeat(tasks=stale).expect(200).data["lost"] == [kept["task_id"]]
    agent.complete(kept).expect(200)
    gone(agent, left)


@together
def test_a_bare_heartbeat_renews_nothing(quick):
    agent, submit = lane(quick)
    submit(max_retries=0)
    task, = agent.claim()

    def failed():
        agent.heartbeat().expect(200)
        return quick.task(task["task_id"])["status"] == "failed"
    quick.wait_for(failed, PATIENCE, "the lease to run out", every=0.2)


@together
def test_an_assigned_task_nobody_takes_up_goes_back_without_an_attempt(quick):
    agent, submit = lane(quick)
    task = submit()
    given = quick.post(f"/tasks/{task['task_id']}/delegate", {"agent_id": agent.id}).expect(200).data
    after = wait_status(quick, task["task_id"], "pending", seconds=PATIENCE)
    assert after["attempt"] == 0 and after["attempts"] == [] and after["assigned_agent_id"] is None
    gone(agent, given)
    again, = agent.claim()
    assert again["attempt"] == 1 and again["fence"] > given["fence"]


# ---- timeouts and deadlines -------------------------------------------------------------------------


@together
def test_an_attempt_takes_no_longer_than_its_timeout(quick):
    agent, submit = lane(quick)
    submit(timeout=3, retry=AT_ONCE, max_retries=1)
    for attempt in (1, 2):
        task, = claimed(agent)

        def ended():        # however well its lease is kept
            return agent.progress(task, 0.5).status == 409
        quick.wait_for(ended, PATIENCE, "the attempt to time out", every=0.2)
        after = quick.task(task["task_id"])
        last = after["attempts"][-1]
        assert last["attempt"] == attempt and last["outcome"] == "timeout" and last["error"]["code"] == "attempt_timeout"
        assert moment(last["ended_at"]) - moment(last["started_at"]) >= datetime.timedelta(seconds=3)
        gone(agent, task)
    assert after["status"] == "failed" and after["error"]["code"] == "attempt_timeout"


@together
def test_a_deadline_ends_a_waiting_task(quick):
    _, submit = lane(quick)
    task = submit(deadline=later(1.5))
    after = wait_status(quick, task["task_id"], "failed", seconds=PATIENCE)
    assert after["error"]["code"] == "deadline_exceeded" and after["attempt"] == 0
    assert moment(after["completed_at"]) >= moment(after["deadline"])
    assert task["task_id"] in [t["task_id"] for t in quick.get(f"/tasks/dead-letters?type={task['type']}").data]


@together
def test_a_deadline_ends_a_running_task_for_good(quick):
    agent, submit = lane(quick)
    submit(deadline=later(1.5), retry=AT_ONCE)
    task, = agent.claim()
    after = wait_status(quick, task["task_id"], "failed", seconds=PATIENCE)
    assert after["error"]["code"] == "deadline_exceeded" and after["error"]["retryable"] is False and len(after["attempts"]) == 1
    gone(agent, task)
    assert agent.claim() == []


@together
def test_a_deadline_ends_a_task_between_tries(quick):
    agent, submit = lane(quick)
    submit(deadline=later(3), retry={"initial_delay_ms": 1000, "jitter": False})
    task, = agent.claim()
    assert agent.fail(task, {"type": "network"}).expect(200).data["status"] == "retrying"
    assert wait_status(quick, task["task_id"], "failed", seconds=PATIENCE)["error"]["code"] == "deadline_exceeded"


@together
def test_no_try_is_waited_for_that_would_come_after_the_deadline(quick):
    agent, submit = lane(quick)
    submit(deadline=later(20), retry={"initial_delay_ms": 60000, "jitter": False})
    task, = agent.claim()
    got = agent.fail(task, {"type": "network", "code": "cut"}).expect(200).data
    assert got["status"] == "failed" and got["error"]["code"] == "cut"


# ---- trying again -----------------------------------------------------------------------------------


def waits(task):
    """Seconds between the end of each attempt and the beginning of the next."""
    tries = task["attempts"]
    return [(moment(then["assigned_at"]) - moment(now["ended_at"])).total_seconds() for now, then in zip(tries, tries[1:])]


@pytest.mark.parametrize("strategy,least", (("exponential", (0.4, 0.8, 0.9)), ("linear", (0.4, 0.8, 0.9)), ("fixed", (0.4, 0.4, 0.4))))
def test_backoff(quick, strategy, least):
    agent, submit = lane(quick)
    submit(max_retries=3, retry={"strategy": strategy, "initial_delay_ms": 400, "factor": 2, "max_delay_ms": 900, "jitter": False})
    for left in (3, 2, 1, 0):
        task, = claimed(agent, wait=2)
        got = agent.fail(task, {"type": "network", "message": f"{left} left"}).expect(200).data
        assert got["status"] == ("retrying" if left else "failed")
        if left:
            assert agent.claim() == []
    after = quick.task(task["task_id"])
    assert [a["attempt"] for a in after["attempts"]] == [1, 2, 3, 4] and after["error"]["message"] == "0 left"
    assert all(w >= l for w, l in zip(waits(after), least)), waits(after)
    assert waits(after)[0] < 5 and len(set(a["fence"] for a in after["attempts"])) == 4


def test_jitter_only_shortens(quick):
    agent, submit = lane(quick)
    ids = [submit(retry={"initial_delay_ms": 1500, "jitter": True})["task_id"] for _ in range(8)]
    for task in agent.claim(max=8):
        agent.fail(task, {"type": "timeout"}).expect(200)
    got = []
    while len(got) < 8:
        got += claimed(agent, max=8, wait=2)
    lengths = [waits(quick.task(i))[0] for i in ids]
    assert len({round(w, 2) for w in lengths}) > 2 and min(lengths) < 1.4, lengths


def test_from_the_last_try_to_the_dead_letters_and_back(quick):
    agent, submit = lane(quick)
    kind = unique("dead")
    submit(type=kind, max_retries=1, retry=AT_ONCE)
    for _ in range(2):
        task, = claimed(agent)
        agent.fail(task, {"type": "network", "code": "no_route"}).expect(200)
    dead, = quick.get(f"/tasks/dead-letters?type={kind}").expect(200).data
    assert dead["task_id"] == task["task_id"] and dead["error"]["code"] == "no_route" and dead["attempt"] == 2
    assert quick.post("/tasks/dead-letters/retry", {"ids": [dead["task_id"]]}).expect(200).data == {"retried": 1}
    assert quick.get(f"/tasks/dead-letters?type={kind}").data == []
    again, = claimed(agent)
    assert again["attempt"] == 1 and again["fence"] > task["fence"]
    gone(agent, task)
    assert agent.fail(again, {"type": "network"}).expect(200).data["status"] == "retrying"     # its retries are whole again
    last, = claimed(agent)
    agent.complete(last, "at last").expect(200)
    assert [a["outcome"] for a in quick.task(task["task_id"])["attempts"]] == ["failed"] * 3 + ["completed"]


# ---- other tasks ------------------------------------------------------------------------------------


def test_dependencies_are_waited_for(quick):
    agent, submit = lane(quick)
    first, second = submit(), submit()
    last = submit(dependencies=[first["task_id"], second["task_id"]])
    after_last = submit(dependencies=[last["task_id"]])
    both = agent.claim(max=10)
    assert {t["task_id"] for t in both} == {first["task_id"], second["task_id"]}
    agent.complete(both[0]).expect(200)
    time.sleep(0.3)
    assert agent.claim(max=10) == []
    agent.complete(both[1]).expect(200)
    for task in (last, after_last):
        got, = claimed(agent, max=10)
        assert got["task_id"] == task["task_id"]
        agent.complete(got).expect(200)


@pytest.mark.parametrize("end", ("failed", "cancelled"))
def test_a_dependency_that_fails_later_fails_what_waits_for_it(quick, end):
    agent, submit = lane(quick)
    first = submit(max_retries=0)
    middle = submit(dependencies=[first["task_id"]])
    last = submit(dependencies=[middle["task_id"]])
    if end == "failed":
        agent.fail(agent.claim()[0]).expect(200)
    else:
        quick.post(f"/tasks/{first['task_id']}/cancel").expect(200)
    for task, cause in ((middle, first), (last, middle)):
        after = wait_status(quick, task["task_id"], "failed", seconds=PATIENCE)
        assert after["error"]["code"] == "dependency_failed" and cause["task_id"] in after["error"]["message"]
        assert after["attempt"] == 0
    assert agent.claim(max=10) == []


def test_a_dependency_that_is_tried_again_is_waited_for(quick):
    agent, submit = lane(quick)
    first = submit(retry=AT_ONCE)
    second = submit(dependencies=[first["task_id"]])
    agent.fail(agent.claim()[0], {"type": "network"}).expect(200)
    agent.complete(claimed(agent)[0]).expect(200)
    assert claimed(agent)[0]["task_id"] == second["task_id"]


def test_run_at(quick):
    agent, submit = lane(quick)
    at = later(1.5)
    task = submit(run_at=at)
    assert agent.claim() == []
    got, = agent.claim(wait=20)
    assert got["task_id"] == task["task_id"] and moment(got["started_at"]) >= moment(task["run_at"])
    assert moment(got["started_at"]) - moment(task["run_at"]) < datetime.timedelta(seconds=5)


def test_run_at_and_dependencies_are_both_waited_for(quick):
    agent, submit = lane(quick)
    first = submit()
    second = submit(dependencies=[first["task_id"]], run_at=later(2))
    agent.complete(agent.claim()[0]).expect(200)
    assert agent.claim() == []
    got, = claimed(agent)
    assert got["task_id"] == second["task_id"] and moment(got["started_at"]) >= moment(second["run_at"])


@pytest.mark.parametrize("how", ("fail", "cancel", "release", "lease"))
def test_a_concurrency_key_is_given_back(quick, how):
    agent, submit = lane(quick)
    key = unique("key")
    ids = [submit(concurrency_key=key, max_retries=0)["task_id"] for _ in range(3)]
    seen = []
    for _ in ids:
        held = claimed(agent, max=10)
        assert len(held) == 1 and agent.claim(max=10) == []
        task, = held
        seen.append(task["task_id"])
        if how == "fail":
            agent.fail(task).expect(200)
        elif how == "cancel":
            quick.post(f"/tasks/{task['task_id']}/cancel").expect(200)
        elif how == "release":
            agent.request("POST", f"/tasks/{task['task_id']}/release", {"fence": task["fence"]}).expect(200)
            agent.complete(claimed(agent)[0]).expect(200)
    assert how == "release" or sorted(seen) == sorted(ids)


def test_a_waiting_try_holds_no_key(quick):
    """One that waits for its backoff lets others with its key run."""
    agent, submit = lane(quick)
    key = unique("key")
    first = submit(concurrency_key=key, retry={"initial_delay_ms": 60000, "jitter": False})
    second = submit(concurrency_key=key)
    agent.fail(agent.claim()[0], {"type": "network"}).expect(200)
    assert claimed(agent)[0]["task_id"] == second["task_id"]
    assert quick.task(first["task_id"])["status"] == "retrying"
