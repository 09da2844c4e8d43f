# SPDX-License-Identifier: MIT
"""npm's socket.io-client with its default settings: polling first, then a WebSocket."""
import base64
import time

import pytest


@pytest.fixture
def io(driver, panel):
    opened = []

    def make(nsp="/", token=None, **options):
        auth = options.pop("auth", {"token": token or panel.admin_token})
        opened.append(driver.io(panel.url + nsp, auth=auth, **options))
        return opened[-1]

    yield make
    for client in opened:
        client.close()


@pytest.mark.parametrize("nsp", ["/", "/agents", "/mcp/ws"])
def test_default_settings_poll_and_upgrade(io, panel, nsp):
    client = io(nsp)
    assert client.wait("opened")["transport"] == "polling"
    client.upgraded()
    client.do("io.transport")
    assert client.wait("transport")["transport"] == "websocket"
    client.ask("subscribe", {"channel": "tasks"})
    task = panel.submit()["task_id"]
    client.event("task.created", lambda e: e["data"]["task_id"] == task)


@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_one_transport_alone(io, panel, transport):
    client = io(transports=[transport])
    assert client.connected()["transport"] == transport
    client.ask("subscribe", {"channel": "tasks"})
    for _ in range(5):
        task = panel.submit()["task_id"]
        client.event("task.created", lambda e: e["data"]["task_id"] == task)


def test_a_bad_token_is_a_connect_error(io):
    for auth in ({"token": "nonsense"}, {}, {"ticket": "nonsense"}):
        client = io(auth=auth, reconnection=False)
        assert client.wait("connect_error")["message"]


def test_a_ticket(io, panel):
    ticket = panel.post("/auth/ws-ticket").expect(201).data["ticket"]
    io(auth={"ticket": ticket}).connected()


def test_an_unknown_namespace(io):
    assert "namespace" in io("/nothing", reconnection=False).wait("connect_error")["message"].lower()


def test_acknowledgements_tell_what_is_wrong(io):
    client = io()
    client.connected()
    [answer] = client.ask("subscribe", {"channel": "nothing"})
    assert answer["error"]["code"] if "error" in answer else answer["code"]


def worker(panel):
    agent = panel.register_agent(capabilities=["io" + str(time.time_ns())])
    return agent, agent.capabilities


def test_an_agent_gets_tasks_and_gives_results(io, panel):
    agent, caps = worker(panel)
    client = io("/agents", token=agent.token)
    client.connected()
    task = panel.submit("io", parameters={"n": 1}, requirements={"capabilities": caps})["task_id"]
    got = client.event("task:delegate", lambda p: p.get("task_id", p.get("payload", {}).get("task_id")) == task)["args"][0]
    got = got.get("payload", got)
    assert got["taskId"] == task and got["parameters"] == {"n": 1} and got["fence"]
    client.ask("progress:update", {"task_id": task, "fence": got["fence"], "progress": 0.5})
    assert panel.task(task)["progress"] == 0.5
    [answer] = client.ask("task:result", {"task_id": task, "fence": got["fence"], "result": {"ok": True}})
    assert "error" not in answer, answer
    done = panel.task(task)
    assert done["status"] == "completed" and done["result"] == {"ok": True}
    # A report with an old fence is refused, and says why.
    [answer] = client.ask("task:result", {"task_id": task, "fence": got["fence"] + 7, "result": {}})
    assert "error" in answer or answer.get("code")


def test_binary_attachments(io, panel):
    agent, caps = worker(panel)
    client = io("/agents", token=agent.token)
    client.connected()
    task = panel.submit("io", requirements={"capabilities": caps})["task_id"]
    got = client.event("task:delegate")["args"][0]
    got = got.get("payload", got)
    data = bytes(range(256))
    [answer] = client.ask("task:result", {"task_id": task, "fence": got["fence"],
                                          "result": {"picture": {"$bytes": base64.b64encode(data).decode()}}})
    assert "error" not in answer, answer
    assert base64.b64encode(data).decode() in str(panel.task(task)["result"])


def test_a_long_session_survives_pings(io, panel):
    client = io()
    client.connected()
    client.none(lambda g: g["event"] == "disconnect", 26)
    client.ask("subscribe", {"channel": "tasks"})
    panel.submit()
    client.event("task.created")
