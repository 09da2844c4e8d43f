# SPDX-License-Identifier: MIT
"""What several test modules need: names, checks of answers, a server to be called, tests that wait together."""
import concurrent.futures
import functools
import http.server
import json
import re
import secrets
import threading
import uuid

UUID = re.compile(r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")
TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
NOWHERE = "01900000-0000-7000-8000-000000000000"


def unique(prefix="x"):
    """A slug nobody else has."""
    return f"{prefix}-{secrets.token_hex(5)}"


def error(answer, status, code=None):
    """The error of an answer, which has to be the whole envelope with that status."""
    assert answer.status == status, f"got {answer.status}, wanted {status}: {answer.text[:1000]}"
    assert answer.headers["Content-Type"].startswith("application/json")
    body = answer.json
    assert body["success"] is False and set(body) == {"success", "error"}
    e = body["error"]
    assert set(e) == {"type", "code", "message", "details", "timestamp", "request_id"}
    assert e["message"] and TIME.match(e["timestamp"])
    assert e["request_id"] == answer.headers["X-Request-ID"]
    if code is not None:
        assert e["code"] == code, e
    return e


def fields(answer, *paths, status=400):
    """The bad fields that a validation error names; with paths they have to be exactly those."""
    e = error(answer, status, "validation_failed")
    assert e["type"] == "validation"
    found = {d["field"]: d["code"] for d in e["details"]}
    assert all(d["message"] for d in e["details"])
    if paths:
        assert set(found) == set(paths), found
    return found


def all_pages(panel, path, **more):
    """Every item of a list, page by page."""
    items, cursor = [], None
    while True:
        url = path if cursor is None else f"{path}{'&' if '?' in path else '?'}cursor={cursor}"
        page = panel.get(url, **more).expect(200)
        assert page.json["count"] == len(page.data)
        items += page.data
        cursor = page.json["next_cursor"]
        if cursor is None:
            return items


def wait_status(panel, task_id, *statuses, seconds=12):
    """The task, once it has one of those states."""
    last = {}

    def there():
        last.update(panel.task(task_id))
        return last["status"] in statuses
    try:
        panel.wait_for(there, seconds, f"task {task_id} to be {statuses}")
    except AssertionError as late:
        raise AssertionError(f"{late}; it is {last}") from None
    return last


def lane(panel, **more):
    """An agent with a capability nobody else has, and a function that submits tasks only it can take."""
    capability = unique("cap")
    agent = panel.register_agent(capabilities=[capability], **more)

    def submit(type="test", **body):
        return panel.submit(type, requirements={"capabilities": [capability]}, **body)
    submit.capability = capability
    return agent, submit


class Receiver:
    """A web server on the loopback.

        with Receiver() as r:
            r.answer(500)                     # this once
            r.always(lambda got: (200, {...}))
            got = r.wait()                    # what came: .path .headers .body .json
    """

    class Got:
        def __init__(self, method, path, headers, body):
            self.method, self.path, self.headers, self.body = method, path, headers, body

        @property
        def json(self):
            return json.loads(self.body)

    def __init__(self):
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def respond(self):
                length = int(self.headers.get("Content-Length") or 0)
                got = Receiver.Got(self.command, self.path, self.headers, self.rfile.read(length))
                status, body, headers = outer._reply(got)
                data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else b""
                try:
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)
                except OSError:
                    self.close_connection = True
            do_GET = do_POST = respond

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 512        # many call at once

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.got, self._once, self._always = [], [], (200, {}, {})
        self._seen = threading.Condition()
        self._held = threading.Event()
        self._thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._held.set()
        self.server.shutdown()
        self.server.server_close()

    def answer(self, status, body=None, **headers):
        """What the next request not yet provided for gets. `body` may be a function of the request."""
        self._once.append((status, body, headers))

    def always(self, status, body=None, **headers):
        self._always = (status, body, headers)

    def hang(self):
        """The next request gets no answer until the end of the test."""
        self._once.append(None)

    def _reply(self, got):
        with self._seen:
            reply = self._once.pop(0) if self._once else self._always
            self.got.append(got)
            self._seen.notify_all()
        if reply is None:
            self._held.wait(60)
            reply = (500, None, {})
        status, body, headers = reply
        return status, body(got) if callable(body) else body, headers

    def wait(self, count=1, seconds=15):
        """The count-th request, once it has come."""
        with self._seen:
            assert self._seen.wait_for(lambda: len(self.got) >= count, seconds), \
                f"{len(self.got)} of {count} requests came in {seconds} s"
            return self.got[count - 1]


class Together:
    """Tests that spend their time waiting, run at the same time.

        together = Together()

        @together
        def test_a(quick): ...

    The first of a module's tests to be run starts all of them, each in a thread; each then reports its own result.
    """

    def __init__(self, at_once=32):
        self.tests, self.results, self.at_once = [], None, at_once

    def __call__(self, test):
        self.tests.append(test)

        @functools.wraps(test)
        def collect(*args, **kwargs):
            if self.results is None:
                pool = concurrent.futures.ThreadPoolExecutor(self.at_once)
                self.results = {t: pool.submit(t, *args, **kwargs) for t in self.tests}
            self.results[test].result()
        return collect


def is_uuid(text):
    return uuid.UUID(text) and UUID.match(text) is not None
