# SPDX-License-Identifier: MIT
"""Who gets the word that a task came, and what becomes of it when that one can do nothing with it or goes.

The API's processes are stopped for a moment where the order of things matters: what is asked of them then is under way
until they go on."""
import contextlib
import json
import os
import signal
import socket
import threading
import time
import urllib.parse
import urllib.request

import pytest

from conftest import private_tasks
from panel import Panel
from raw import Raw

QUICK = 0.4     # seconds; nobody looks by himself so soon


@pytest.fixture(scope="module")
def private(panel_options):
    """A panel whose API these tests may stop, with nobody else waiting at its relay."""
    with Panel(**panel_options, settings={"TASK_LEASE": 30}) as made:
        yield private_tasks(made)


def stands_still(pid):
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/stat") as f:
            if f.read().rpartition(") ")[2][0] != "T":
                return False
    return True


@contextlib.contextmanager
def stopped(panel):
    """Its API answers nothing meanwhile."""
    pids = panel.children("api")
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    # The signal is out, but until one of its threads has taken it the others go on.
    panel.wait_for(lambda: all(stands_still(pid) for pid in pids), 10, "the API to stop")
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def health(panel):
    with urllib.request.urlopen(panel.relay_url + "/health", timeout=5) as answer:
        return json.load(answer)


def fresh():
    return "r" + str(time.time_ns())


class Parked:
    """A claim that waits, in a thread of its own."""

    def __init__(self, panel, agent, wait=20):
        self.tasks, self.took, self.panel = None, None, panel
        before = health(panel)["parked_claims"]
        self.thread = threading.Thread(target=self._claim, args=(agent, wait))
        self.thread.start()
        panel.wait_for(lambda: health(panel)["parked_claims"] > before, 5, "the claim to wait")
        time.sleep(0.1)     # and its first look to be over

    def _claim(self, agent, wait):
        self.tasks = agent.claim(wait=wait)
        self.took = time.monotonic()


def cut_claim(panel, agent, wait=20):
    """The line of a claim that waits, so that it can be cut."""
    parts = urllib.parse.urlsplit(panel.relay_url)
    link = socket.create_connection((parts.hostname, parts.port), 10)
    link.sendall(f"POST /api/v1/agents/{agent.id}/claim?wait={wait} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {agent.token}\r\n"
                 "Content-Length: 9\r\n\r\n{\"max\":1}".encode())
    return link


def ready(driver, panel, agent, **more):
    client = driver.ws(panel.relay_url.replace("http", "ws") + "/ws", token=agent.token)
    client.send({"type": "ready", "id": "ready", "slots": 1, **more})
    client.type("ready.ok")
    time.sleep(0.1)
    return client


def test_who_is_full_hands_the_word_on(private):
    """Agents without room stand first in line; each task goes to the one that has some, at once."""
    panel, caps = private, [fresh()]
    full = [panel.register_agent(capabilities=caps, slots=1) for _ in range(6)]
    needs = {"capabilities": caps}
    for agent in full:
        panel.submit(requirements=needs)
        assert agent.claim()
    idle = panel.register_agent(capabilities=caps)
    waiting = [Parked(panel, agent) for agent in full]
    for _ in range(5):
        one = Parked(panel, idle)
        began = time.monotonic()
        task = panel.submit(requirements=needs)["task_id"]
        panel.wait_for(lambda: one.tasks is not None, 10, "the task")
        assert one.tasks[0]["task_id"] == task and one.took - began < QUICK
        idle.complete(one.tasks[0]).expect(200)
    for agent in full:
        panel.post(f"/agents/{agent.id}/drain")
    for one in waiting:
        one.thread.join()
        assert one.tasks == []


def test_a_word_for_a_task_that_is_gone_soon_dies(private):
    """As when an agent of another relay was faster: not the whole crowd looks for it."""
    panel, caps = private, [fresh()]
    agents = [panel.register_agent(capabilities=caps) for _ in range(15)]
    panel.submit(requirements={"capabilities": caps})
    [task] = agents[0].claim()
    agents[0].complete(task).expect(200)
    waiting = [Parked(panel, agent, wait=8) for agent in agents]
    before = health(panel)["woken"]
    lane = next(l for l in lanes(panel) if caps[0] in l[1])[0]
    panel.redis("PUBLISH", "{mcp}:wake", f"t {lane} 1")
    panel.wait_for(lambda: health(panel)["woken"] > before, 5, "somebody to be woken")
    time.sleep(0.5)
    assert 2 <= health(panel)["woken"] - before <= 5
    for one in waiting:
        one.thread.join()


def lanes(panel):
    with open(panel.home + "/run/runtime") as f:
        path = f.read().strip() + "/redis.sock"
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(2)
        link.connect(path)
        link.sendall(b"*2\r\n$7\r\nHGETALL\r\n$17\r\n{mcp}:tasks:lanes\r\n")
        got = b""
        with contextlib.suppress(TimeoutError):
            while True:
                got += link.recv(1 << 20)
                n = int(got.split(b"\r\n")[0][1:])
                if got.count(b"\r\n") >= 1 + 2 * n:
                    break
    words = [w.decode() for w in got.split(b"\r\n")[2::2]]
    return list(zip(words[::2], words[1::2]))


def test_a_word_is_not_taken_away_by_who_is_served(private):
    """It came while both claims were under way, and went to the one that then got another task."""
    panel, caps = private, [fresh()]
    needs = {"capabilities": caps}
    one, two = (panel.register_agent(capabilities=caps) for _ in range(2))
    panel.submit("second", requirements=needs)
    one.complete(one.claim()[0]).expect(200)
    lane = next(l for l in lanes(panel) if caps[0] in l[1])[0]
    lines = [authed(panel, one), authed(panel, two)]
    for line in lines:      # so that the relay knows what they can do
        line.frame('{"type":"ready"}')
        time.sleep(0.3)
        line.frame('{"type":"ready","slots":0}')
    time.sleep(0.3)
    task = panel.submit("first", requirements=needs)["task_id"]
    before = health(panel)["woken"]
    with stopped(panel):
        lines[0].frame('{"type":"ready"}')
        time.sleep(0.1)
        lines[1].frame('{"type":"ready","types":["second"]}')
        time.sleep(0.1)
        panel.redis("PUBLISH", "{mcp}:wake", f"t {lane} 1")
        panel.wait_for(lambda: health(panel)["woken"] == before + 1, 5, "the first to be woken")
    panel.wait_for(lambda: health(panel)["woken"] == before + 2, 5, "the second to be woken")
    assert panel.task(task)["assigned_agent_id"] == one.id
    for line in lines:
        line.close()


def test_capabilities_that_are_learnt_while_waiting(private, driver):
    """An idle agent that comes to fit gets what waits, and what comes from then on."""
    panel, caps = private, [fresh()]
    agent = panel.register_agent(capabilities=["something-else"])
    client = ready(driver, panel, agent)
    task = panel.submit(requirements={"capabilities": caps})["task_id"]
    time.sleep(0.5)
    for _ in range(3):
        began = time.monotonic()
        agent.request("POST", f"/agents/{agent.id}/capabilities", {"add": caps}).expect(200)
        got = client.type("task:delegate")
        assert got["task_id"] == task and time.monotonic() - began < QUICK
        client.send({"type": "task:result", "id": task, "task_id": task, "result": {}})
        client.type("ack", ref=task)
        began = time.monotonic()
        task = panel.submit(requirements={"capabilities": caps})["task_id"]
        assert client.type("task:delegate")["task_id"] == task and time.monotonic() - began < QUICK
        client.send({"type": "task:result", "id": task, "task_id": task, "result": {}})
        client.type("ack", ref=task)
        agent.request("POST", f"/agents/{agent.id}/capabilities", {"remove": caps}).expect(200)
        time.sleep(0.3)
        task = panel.submit(requirements={"capabilities": caps})["task_id"]
        time.sleep(0.2)
    panel.post(f"/tasks/{task}/cancel").expect(200)
    client.close()


def test_other_types_count_at_once(private, driver):
    """Said while a claim for the ones before is under way."""
    panel, caps = private, [fresh()]
    agent = panel.register_agent(capabilities=caps)
    for _ in range(4):
        task = panel.submit("wanted", requirements={"capabilities": caps})["task_id"]
        client = driver.ws(panel.relay_url.replace("http", "ws") + "/ws", token=agent.token)
        began = time.monotonic()
        client.send({"type": "ready", "types": ["unwanted"]})
        client.send({"type": "ready", "types": ["wanted"]})
        assert client.type("task:delegate")["task_id"] == task and time.monotonic() - began < QUICK
        client.send({"type": "task:result", "id": 1, "task_id": task, "result": {}})
        client.type("ack")
        client.close()


# --- who goes in the middle of it -----------------------------------------------------------------------------------


def comes_back(panel, task, agent):
    """Another gets it at once, not when the lease is over."""
    try:
        held = panel.wait_for(agent.claim, 3, "the task to come back", every=0.1)
    except AssertionError:
        pytest.fail(f"it does not come back: {json.dumps(panel.task(task))}")
    assert held[0]["task_id"] == task
    agent.complete(held[0]).expect(200)


@pytest.fixture
def pair(private):
    """Two agents that can do the same, and what."""
    caps = [fresh()]
    return private.register_agent(capabilities=caps), private.register_agent(capabilities=caps), {"capabilities": caps}


def direct(panel):
    return panel.relay_url.replace("http", "ws") + "/ws"


def authed(panel, agent):
    """A socket by hand, which answers no close frame."""
    one = Raw(direct(panel), token=agent.token)
    assert json.loads(one.text())["type"] == "auth.ok"
    return one


def test_a_waiting_claim_that_is_cut_while_it_gets_a_task(private, pair):
    agent, other, needs = pair
    task = private.submit(requirements=needs)["task_id"]
    assert agent.token
    with stopped(private):
        line = cut_claim(private, agent)
        time.sleep(0.3)
        line.close()
        time.sleep(0.3)
    comes_back(private, task, other)


def goes(one, how):
    """Cut; or closed: a close frame is out and nothing may follow it, but the line still stands."""
    if how == "cut":
        one.close()
    else:
        one.frame("nonsense")


@pytest.mark.parametrize("how", ["cut", "closed"])
def test_a_socket_that_goes_while_it_gets_a_task(private, pair, how):
    agent, other, needs = pair
    task = private.submit(requirements=needs)["task_id"]
    one = authed(private, agent)
    with stopped(private):
        one.frame('{"type":"ready"}')
        time.sleep(0.2)
        goes(one, how)
        time.sleep(0.3)
    comes_back(private, task, other)
    one.close()


@pytest.mark.parametrize("how", ["cut", "closed"])
def test_a_socket_that_goes_between_a_result_and_the_next_task(private, driver, pair, how):
    """The result counts, and the task that was claimed along with it is for somebody else."""
    agent, other, needs = pair
    first = private.submit(requirements=needs)["task_id"]
    one = authed(private, agent)
    one.frame('{"type":"ready"}')
    while json.loads(one.text())["type"] != "task:delegate":
        pass
    second = private.submit(requirements=needs)["task_id"]
    time.sleep(0.2)
    with stopped(private):
        one.frame(json.dumps({"type": "task:result", "task_id": first, "result": {"n": 1}}))
        time.sleep(0.2)
        goes(one, how)
        time.sleep(0.3)
    comes_back(private, second, other)
    assert private.task(first)["status"] == "completed" and private.task(first)["result"] == {"n": 1}
    one.close()


def test_results_that_wait_are_passed_on_though_the_line_is_gone(private, pair):
    """More of them than the relay has lines to the API."""
    agent, _, needs = pair
    tasks = [private.submit(requirements=needs)["task_id"] for _ in range(40)]
    held = agent.claim(max=40)
    assert len(held) == 40
    one = authed(private, agent)
    with stopped(private):
        for task in held:
            one.frame(json.dumps({"type": "task:result", "task_id": task["task_id"], "fence": task["fence"], "result": {}}))
        time.sleep(0.3)
        one.close()
        time.sleep(0.3)
    private.wait_for(lambda: all(private.task(t)["status"] == "completed" for t in tasks), 5, "every result")


def test_the_word_does_not_go_to_a_line_that_is_being_closed(private, driver, pair):
    agent, other, needs = pair
    one = authed(private, agent)
    one.frame('{"type":"ready"}')
    time.sleep(0.1)
    client = ready(driver, private, other)
    time.sleep(0.2)
    one.frame("nonsense")
    time.sleep(0.1)
    began = time.monotonic()
    task = private.submit(requirements=needs)["task_id"]
    assert client.type("task:delegate")["task_id"] == task and time.monotonic() - began < QUICK
    client.send({"type": "task:result", "id": 1, "task_id": task, "result": {}})
    client.type("ack")
    client.close()
    one.close()


def test_a_relay_that_ends_gives_back_what_it_still_gets(private, pair):
    agent, other, needs = pair
    task = private.submit(requirements=needs)["task_id"]
    one = authed(private, agent)
    with stopped(private):
        one.frame('{"type":"ready"}')
        time.sleep(0.2)
        os.kill(private.pid("relay"), signal.SIGTERM)
        time.sleep(0.5)
    private.wait_for(lambda: not private.running("relay"), 10, "the relay to end")
    try:
        comes_back(private, task, other)
    finally:
        one.close()
        private.start("relay")


def publish(panel, type, **data):
    """An event by hand, as mcp-api publishes them; its id."""
    rest = f'","type":"{type}","timestamp":"2026-01-01T00:00:00.000Z","data":{json.dumps(data)}}}'
    script = ("local id = redis.call('XADD', KEYS[1], '*', 'e', ARGV[1]) "
              "redis.call('PUBLISH', KEYS[1], '{\"id\":\"' .. id .. ARGV[1]) return 1")
    assert panel.redis("EVAL", script, "1", "{mcp}:events", rest).startswith("1")


def test_late_news_of_an_earlier_try_takes_no_task_away(private, driver, pair):
    """An event may be told after somebody claimed the task anew: it speaks of another agent's try, or of an earlier one."""
    agent, other, needs = pair
    task = private.submit(requirements=needs, max_retries=3, retry={"initial_delay_ms": 1})["task_id"]
    [held] = other.claim()
    other.fail(held, retryable=True).expect(200)
    client = ready(driver, private, agent)
    got = client.type("task:delegate")
    assert got["task_id"] == task and got["attempt"] == 2
    publish(private, "task.retrying", task_id=task, status="retrying", agent_id=other.id, attempt=1)
    publish(private, "task.retrying", task_id=task, status="retrying", agent_id=agent.id, attempt=1)
    publish(private, "task.retrying", task_id=task, status="pending", attempt=0)
    client.none(lambda g: "task:cancelled" in g.get("text", ""), 0.5)
    publish(private, "task.cancelled", task_id=task, status="cancelled", agent_id=agent.id, attempt=2)
    client.type("task:cancelled", seconds=3)
    client.close()
