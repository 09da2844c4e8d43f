# SPDX-License-Identifier: MIT
"""What is wrong, too large, too much or too slow ends alone; everybody else feels nothing."""
import json
import os
import random
import socket
import time
import urllib.error
import urllib.request

import pytest

from raw import Raw


@pytest.fixture
def raw(panel):
    """raw(): an authenticated WebSocket by hand, at the relay's own port or through the web server."""
    opened = []

    def make(url=None, auth=True, **more):
        opened.append(Raw(url or direct(panel), token=panel.admin_token if auth else None, **more))
        assert opened[-1].status == 101, opened[-1].head
        if auth:
            assert json.loads(opened[-1].text())["type"] == "auth.ok"
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def direct(panel):
    return panel.relay_url.replace("http", "ws") + "/ws"


@pytest.fixture(autouse=True)
def others_feel_nothing(ws, panel):
    """A bystander gets its events before and after."""
    client = ws()
    client.subscribe("tasks")
    yield
    task = panel.submit()["task_id"]
    client.event("task.created", task_id=task, seconds=3)


BAD = {
    "reserved bits": lambda r: r.frame("{}", rsv=4),
    "unknown opcode": lambda r: r.frame("{}", opcode=5),
    "unknown control": lambda r: r.frame("", opcode=11),
    "torn ping": lambda r: r.frame("x", opcode=9, fin=False),
    "long ping": lambda r: r.frame("x" * 126, opcode=9),
    "continuation of nothing": lambda r: r.frame("x", opcode=0),
    "text within a message": lambda r: (r.frame("a", fin=False), r.frame("b")),
    "no UTF-8": lambda r: r.frame(b"\xff\xfe{}"),
    "close code of nobody": lambda r: r.frame(b"\x03\xec", opcode=8),
    "half a close code": lambda r: r.frame(b"\x03", opcode=8),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_frames_end_the_connection(raw, name):
    one = raw()
    BAD[name](one)
    assert one.end() in (None, 1000, 1002, 1003, 1005, 1007)


@pytest.mark.parametrize("size", [1 << 62, (1 << 64) - 1])
def test_absurd_lengths(raw, size):
    one = raw()
    one.frame("x" * 100, length=size)
    assert one.end() in (None, 1002, 1009, 4413)


def test_too_large_a_message(raw):
    one = raw()
    try:
        one.frame('{"type":"ping","pad":"' + "x" * 5_000_000 + '"}')
    except ConnectionError:
        pass
    assert one.end() in (None, 4413, 1009)


def test_too_large_a_message_in_pieces(raw):
    one = raw()
    try:
        one.frame("x" * 60000, fin=False)
        for _ in range(100):
            one.frame("x" * 60000, opcode=0, fin=False)
    except ConnectionError:
        pass
    assert one.end() in (None, 4413, 1009)


def test_pieces_and_pings_between_are_fine(raw):
    one = raw()
    one.frame('{"ty', fin=False)
    one.frame("hello", opcode=9)
    one.frame('pe":"pi', opcode=0, fin=False)
    one.frame('ng"}', opcode=0)
    assert json.loads(one.text())["type"] == "pong"


def test_byte_by_byte(raw):
    one = raw()
    data = b'{"type":"ping"}'
    for b in bytes([0x81, 0x80 | len(data), 0, 0, 0, 0]) + data:
        one.send(bytes([b]))
        time.sleep(0.002)
    assert json.loads(one.text())["type"] == "pong"


@pytest.mark.parametrize("text", ["[" * 10000, '{"type":"auth"', '{"type":"ping"}{', '{"a":1,"a":2}', '"\\ud800"', "nul", "1e999", ""])
def test_bad_json_ends_the_connection(raw, text):
    one = raw()
    one.frame(text)
    assert one.end() in (1007, 1002)


def test_a_flood_is_stopped(new_panel):
    panel = new_panel(WS_MESSAGE_RATE=600)
    one = Raw(direct(panel), token=panel.admin_token)
    try:
        for _ in range(500):
            one.frame('{"type":"ping"}')
    except ConnectionError:
        pass
    assert one.end() in (None, 4429)


def test_garbage_for_a_handshake(panel):
    seeds = random.Random(7)
    for text in (b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/9.9\r\n\r\n", b"GET /ws HTTP/1.1\r\n" + b"X: " + b"a" * 100000 + b"\r\n\r\n",
                 b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
                 b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 99\r\nSec-WebSocket-Key: x\r\n\r\n",
                 *(bytes(seeds.randrange(256) for _ in range(300)) for _ in range(20))):
        link = Raw(direct(panel), shake=False, seconds=2)
        try:
            link.send(text)
            link.link.recv(1000)
        except (TimeoutError, ConnectionError):
            pass
        link.close()


def test_fuzzed_frames(panel):
    """Random bytes, and mutations of good frames, on many connections; the relay lives on."""
    seeds = random.Random(int(os.environ.get("SEED", "11")))
    good = b'\x81\xfe\x00\xc8'[:2] + b"\x00\x7e" + b"\x00" * 4
    end = time.monotonic() + 4
    n = 0
    while time.monotonic() < end:
        one = Raw(direct(panel), token=panel.admin_token, seconds=2)
        try:
            for _ in range(seeds.randrange(1, 8)):
                data = bytearray(seeds.choice([good, b'\x81\x8f\0\0\0\0{"type":"ping"}',
                                               b'\x81\xb3\0\0\0\0{"type":"subscribe","id":"x","channel":"tasks"}    ']))
                for _ in range(seeds.randrange(0, 6)):
                    data[seeds.randrange(len(data))] = seeds.randrange(256)
                if seeds.random() < 0.3:
                    data += bytes(seeds.randrange(256) for _ in range(seeds.randrange(400)))
                one.send(bytes(data))
        except (OSError, EOFError):
            pass
        one.close()
        n += 1
    assert n > 20


def publish(panel, number, size):
    """That many events with so long a text, as mcp-api publishes them."""
    with open(panel.home + "/run/runtime") as f:
        path = f.read().strip() + "/redis.sock"
    script = ("for i = 1, tonumber(ARGV[1]) do local rest = ARGV[2] .. i .. ARGV[3] "
              "local id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', 100000, '*', 'e', rest) "
              "redis.call('PUBLISH', KEYS[1], '{\"id\":\"' .. id .. rest) end return 1")
    head = ('","type":"task.progress","timestamp":"2026-01-01T00:00:00.000Z","data":{"task_id":"01900000-0000-7000-8000-000000000000",'
            '"status":"running","progress":0.5,"classification":"internal","message":"slow-mark ')
    words = ["EVAL", script, "1", "{mcp}:events", str(number), head, " " + "x" * size + '"}}']
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(20)
        link.connect(path)
        link.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w.encode()) for w in words))
        assert link.recv(100).startswith(b":1")


def test_a_slow_reader_is_told_and_dropped(panel, ws):
    """It takes nothing while 40 MB of events pass; another on the same relay gets every one of them."""
    slow = Raw(direct(panel), token=panel.admin_token, seconds=10, buffer=4096)
    slow.frame('{"type":"subscribe","id":"s","channel":"tasks"}')
    quick = ws()
    quick.subscribe("tasks")
    for _ in range(40):
        publish(panel, 100, 10000)
        time.sleep(0.05)
    last = quick.next(lambda g: "slow-mark 100 " in g.get("text", ""), 10, "the first hundred")
    for _ in range(39):
        last = quick.next(lambda g: "slow-mark 100 " in g.get("text", ""), 10, "the next hundred")
    assert sum("slow-mark" in g.get("text", "") for g in quick.seen) == 4000 and last
    assert slow.end() in (4431, None)


def test_many_connections_that_say_nothing(panel):
    """Handshakes left open do not keep others out, and go by themselves."""
    links = [Raw(direct(panel), shake=False) for _ in range(200)]
    for link in links[:100]:
        link.send(b"GET /ws HTTP/1.1\r\nHost: ")
    client = Raw(direct(panel), token=panel.admin_token)
    assert client.status == 101
    client.close()
    for link in links:
        link.close()


def test_more_than_max_connections(new_panel):
    panel = new_panel(MAX_CONNECTIONS=20)
    links = []
    for _ in range(40):
        try:
            links.append(Raw(direct(panel), token=panel.admin_token, seconds=3))
        except OSError:
            pass
    served = [l for l in links if getattr(l, "status", 0) == 101]
    assert 10 <= len(served) <= 22
    for link in links:
        link.close()

    def room():
        try:
            return Raw(direct(panel), token=panel.admin_token, seconds=3).status == 101
        except OSError:     # those that were left are not all gone yet
            return False
    panel.wait_for(room, 20, "room again", every=0.2)


def test_strangers_may_not_say_much(panel):
    """Nothing large is kept for somebody of whom nothing is known yet."""
    one = Raw(direct(panel))
    one.frame("x" * 1000, length=70000)
    assert one.end() == 4413
    for path in ("/nothing", "/socket.io/?EIO=4&transport=polling&sid=nobody", f"/api/v1/agents/{'0' * 36}/claim?wait=5"):
        link = Raw(direct(panel), shake=False)
        link.send(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n".encode())
        assert link.link.recv(65536).split()[1] in (b"404", b"413"), path
        link.close()


def test_one_address_may_not_take_all_connections(panel):
    """256 sessions nobody has been named for; others are let in meanwhile, and room comes back."""
    def status(url, **more):
        link = Raw(url, **more)
        links.append(link)
        return link.status

    def polling(headers):
        ask = urllib.request.Request(panel.relay_url + "/socket.io/?EIO=4&transport=polling", headers=headers)
        try:
            with urllib.request.urlopen(ask, None, 10) as answer:
                return answer.status
        except urllib.error.HTTPError as e:
            return e.code

    def refused():
        with urllib.request.urlopen(panel.relay_url + "/health", timeout=5) as answer:
            return json.load(answer)["refused"]

    links = []
    before = refused()
    # A web server in front (the loopback is trusted) says who it is; the rest of an IPv6 network is the same one.
    mine, also_mine, other = ("X-Forwarded-For: %s\r\n" % a for a in ("2001:db8:1:2::1", "2001:db8:1:2:3::9", "2001:db8:1:3::1"))
    assert [status(direct(panel), headers=mine) for _ in range(256)] == [101] * 256
    assert status(direct(panel), headers=also_mine) == 429
    assert status(direct(panel).replace("/ws", "/socket.io/?EIO=4&transport=websocket"), headers=mine) == 429
    assert polling({"X-Forwarded-For": "2001:db8:1:2::7"}) == 429
    assert polling({"X-Forwarded-For": "2001:db8:1:3::7"}) == 200
    assert status(direct(panel), headers=other, token=panel.admin_token) == 101
    assert refused() > before
    # Whoever is let in is none of them any more, and neither is who left.
    links[0].frame(json.dumps({"type": "auth", "token": panel.admin_token}))
    assert json.loads(links[0].text())["type"] == "auth.ok"
    assert status(direct(panel), headers=mine) == 101
    assert status(direct(panel), headers=mine) == 429
    links[1].close()
    panel.wait_for(lambda: status(direct(panel), headers=mine) == 101, 10, "room for one more")
    for link in links:
        link.close()


def test_a_refused_connect_gives_no_more_time(panel):
    """Engine.IO without a namespace lasts five seconds, however often a wrong token is tried."""
    def ask(data=None):
        with urllib.request.urlopen(where, data, 15) as answer:
            return answer.read().decode()
    where = panel.relay_url + "/socket.io/?EIO=4&transport=polling"
    where += "&sid=" + json.loads(ask()[1:])["sid"]
    began = time.monotonic()
    with pytest.raises(urllib.error.HTTPError):
        while time.monotonic() - began < 12:
            assert ask(b'40{"token":"nonsense"}') == "ok"
            ask()
            time.sleep(1)
    assert time.monotonic() - began < 9
