# SPDX-License-Identifier: MIT
"""Redis emptied, stopped, hung and started again while work goes on: nothing is lost, nobody is declared dead for it,
and what lives in Redis comes back by itself."""
import os
import signal
import socket
import time

from stream import Stream

QUICK = {"TASK_LEASE": 3, "AGENT_HEARTBEAT_INTERVAL": 1}


class Redis:
    """As much of a client as these tests need."""

    def __init__(self, panel):
        with open(panel.home + "/run/runtime") as f:
            self.path = f.read().strip() + "/redis.sock"

    def __call__(self, *words):
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(10)
            link.connect(self.path)
            send = b"".join(b"$%d\r\n%s\r\n" % (len(w.encode()), w.encode()) for w in words)
            link.sendall(b"*%d\r\n" % len(words) + send)
            return self._read(link.makefile("rb"))

    def _read(self, stream):
        line = stream.readline().rstrip(b"\r\n")
        kind, rest = line[:1], line[1:]
        if kind in b"+-":
            return rest.decode()
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else stream.read(int(rest) + 2)[:-2].decode()
        return [self._read(stream) for _ in range(int(rest))]


def warm(redis):
    return redis("EXISTS", "{mcp}:warm") == 1


def queued(redis):
    """Every id in the queue."""
    lanes = redis("HKEYS", "{mcp}:tasks:lanes")
    return {i for lane in lanes for i in redis("ZRANGE", "{mcp}:tasks:pending:" + lane, "0", "-1")}


def test_emptied_at_runtime(new_panel):
    panel = new_panel(**QUICK)
    redis = Redis(panel)
    waiting = {panel.submit("nobody", requirements={"capabilities": ["nobody"]})["task_id"] for _ in range(30)}
    panel.wait_for(lambda: waiting <= queued(redis), 5, "the queue")
    with Stream(panel) as stream:
        for _ in range(3):
            assert redis("FLUSHALL") == "OK"
            assert stream.wait_for_flow(15) < 10
    panel.wait_for(lambda: warm(redis), 5, "Redis to be warm again")
    panel.wait_for(lambda: waiting <= queued(redis), 5, "the queue to be rebuilt")
    assert stream.check() > 50


def test_revocations_survive_an_emptied_redis(new_panel):
    panel = new_panel(**QUICK)
    redis = Redis(panel)
    token = panel.login(panel.admin_user, panel.admin_password)
    panel.post("/auth/logout", {}, token=token).expect(200)
    assert panel.get("/auth/me", token=token).status == 401
    redis("FLUSHALL")
    assert panel.get("/auth/me", token=token).status == 401
    panel.wait_for(lambda: warm(redis), 5, "Redis to be warm again")
    assert panel.get("/auth/me", token=token).status == 401


def test_stopped_and_started(new_panel):
    panel = new_panel(**QUICK)
    with Stream(panel) as stream:
        panel.stop("redis")
        assert stream.wait_for_flow(15) < 10, "work goes on without Redis"
        assert panel.get("//health").json["data"]["status"] == "degraded"
        assert panel.get("//ready").status == 200
        panel.start("redis")
        redis = Redis(panel)
        panel.wait_for(lambda: warm(redis), 10, "Redis to be warm again")
        assert stream.wait_for_flow(15) < 10
    assert stream.check() > 50


def test_timers_run_without_redis(new_panel):
    """Leases, retries and run_at need nobody to wake the scheduler."""
    panel = new_panel(TASK_LEASE=1)
    agent = panel.register_agent(capabilities=["alone"])
    agent.token
    panel.stop("redis")
    task = panel.submit("alone", retry={"initial_delay_ms": 1, "jitter": False})
    began = time.monotonic()
    assert len(agent.claim()) == 1
    panel.wait_for(lambda: agent.claim(), 10, "the lost lease to be claimed again")
    assert time.monotonic() - began < 4
    assert panel.task(task["task_id"])["attempt"] == 2
    panel.start("redis")


def test_hung_server(new_panel):
    """A Redis that accepts and says nothing."""
    panel = new_panel(**QUICK)
    pid = panel.pid("redis")
    with Stream(panel) as stream:
        os.kill(pid, signal.SIGSTOP)
        try:
            assert stream.wait_for_flow(30) < 20, "work goes on"
        finally:
            os.kill(pid, signal.SIGCONT)
        assert stream.wait_for_flow(15) < 10
    assert stream.check() > 50


def test_nobody_is_declared_dead_for_it(new_panel):
    """Heartbeats go on; Redis forgets them all; no agent loses its task."""
    panel = new_panel(AGENT_HEARTBEAT_INTERVAL=1, TASK_LEASE=60)
    redis = Redis(panel)
    agent = panel.register_agent(capabilities=["dear"])
    panel.submit("dear")
    agent.heartbeat(status="active").expect(200)
    task, = agent.claim()
    for how in ("empty", "stop"):
        if how == "empty":
            redis("FLUSHALL")
        else:
            panel.stop("redis")
            time.sleep(1)
            panel.start("redis")
        # Silent for as long as an agent may be that has just missed one.
        time.sleep(1.5)
        for _ in range(6):
            agent.heartbeat(status="active", tasks=[{"task_id": task["task_id"], "fence": task["fence"]}]).expect(200)
            time.sleep(0.5)
    assert "silent" not in panel.log("scheduler")
    agent.complete(task, {"kept": True}).expect(200)


def test_who_is_really_dead_is_found_after_it(new_panel):
    panel = new_panel(AGENT_HEARTBEAT_INTERVAL=1, TASK_LEASE=600)
    agent, other = (panel.register_agent(capabilities=["dear"]) for _ in range(2))
    panel.submit("dear", retry={"initial_delay_ms": 1})
    agent.heartbeat(status="active").expect(200)
    task, = agent.claim()
    # Long enough for a heartbeat to be written into the record: after this only that knows of the agent.
    for _ in range(24):
        agent.heartbeat(status="active", tasks=[{"task_id": task["task_id"], "fence": task["fence"]}]).expect(200)
        time.sleep(0.5)
    assert "silent" not in panel.log("scheduler")
    Redis(panel)("FLUSHALL")
    again = panel.wait_for(other.claim, 30, "the dead agent's task")
    assert again[0]["task_id"] == task["task_id"] and again[0]["fence"] > task["fence"]
    assert panel.get(f"/agents/{agent.id}").data["status"] == "inactive"
    assert agent.complete(task).status == 409
