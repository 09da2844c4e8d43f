# SPDX-License-Identifier: MIT
"""A stream of work that goes on whatever happens to the panel, and the book-keeping to tell afterwards whether
everything it was promised was kept.

    with Stream(panel) as stream:
        ...kill something...
        stream.wait_for_flow()          # work goes through again
    stream.check()                      # every acknowledged task has ended, once, as its owner was told

A submitter repeats a submission with the same Idempotency-Key until it has an answer, as a careful client does, and
an agent repeats a report with the same fence.
"""
import http.client
import json
import secrets
import threading
import time

# A task is tried again soon and often: what is tested is that it is, not how long that takes.
RETRY = {"initial_delay_ms": 100, "max_delay_ms": 500}
TROUBLE = (OSError, http.client.HTTPException)


class Stream:
    def __init__(self, panel, submitters=2, agents=2, rate=60, workers=True):
        self.panel, self.rate, self.workers = panel, rate, workers
        self.capability = "stream-" + secrets.token_hex(4)
        self.acknowledged = {}          # task id -> idempotency key
        self.reported = {}              # task id -> {(fence, result): answered}
        self.refused = []               # answers no outage explains
        self.finished = 0
        self.last_trouble = {}          # of each thread, to be shown when it never gets an answer
        self.lock = threading.Lock()
        self.enough, self.over = threading.Event(), threading.Event()
        self.agents = [panel.register_agent(capabilities=[self.capability]) for _ in range(agents if workers else 0)]
        for agent in self.agents:
            agent.token                 # before anything is down
        panel.admin_token
        self.threads = [threading.Thread(target=self._submit, daemon=True) for _ in range(submitters)]
        self.threads += [threading.Thread(target=self._work, args=(a,), daemon=True) for a in self.agents]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        self.wait_for_flow(10)
        return self

    def __exit__(self, *failed):
        self.enough.set()
        if failed[0]:
            self.over.set()

    # ---- the clients ----------------------------------------------------------------------------

    def _call(self, method, path, body, until, token=None, key=None, good=(200, 201)):
        """Repeat until there is an answer that says yes or no; None when it is time to stop."""
        headers = {"Idempotency-Key": key} if key else None
        while not until.is_set():
            try:
                more = {"token": token} if token else {}
                got = self.panel.request(method, path, body, headers=headers, timeout=10, **more)
            except TROUBLE as why:
                self.last_trouble[threading.get_ident()] = (method, path, key, repr(why))
                time.sleep(0.05)
                continue
            if got.status in good or 400 <= got.status < 500 and got.status not in (408, 409, 429):
                if got.status not in good:
                    self.refused.append((method, path, got))
                return got
            if got.status == 409:
                if got.json and got.error["code"] == "idempotency_in_progress":
                    time.sleep(0.05)
                    continue
                return got
            self.last_trouble[threading.get_ident()] = (method, path, key, got.status, got.text[:300])
            time.sleep(0.05)
        return None

    def _submit(self):
        while not self.enough.is_set():
            key = secrets.token_hex(8)
            body = {"type": "stream", "parameters": {"key": key}, "max_retries": 100, "retry": RETRY,
                    "requirements": {"capabilities": [self.capability]}}
            # What was begun is brought to its end, also after `enough`: else nobody knows whether it was taken.
            got = self._call("POST", "/tasks", body, self.over, key=key)
            if got is not None and got.status in (200, 201):
                with self.lock:
                    self.acknowledged[got.data["task_id"]] = key
            time.sleep(1 / self.rate)

    def _work(self, agent):
        while not self.over.is_set():
            got = self._call("POST", f"/agents/{agent.id}/claim", {"max": 5}, self.over, agent.token)
            tasks = got.data["tasks"] if got is not None and got.status == 200 else []
            for task in tasks:
                self._finish(agent, task)
            if not tasks:
                time.sleep(0.02)

    def _finish(self, agent, task):
        result = {"key": task["parameters"]["key"], "by": agent.id, "token": secrets.token_hex(4)}
        body = {"fence": task["fence"], "result": result}
        got = self._call("POST", f"/tasks/{task['task_id']}/complete", body, self.over, agent.token)
        with self.lock:
            told = got is not None and got.status == 200
            self.reported.setdefault(task["task_id"], {})[(task["fence"], json.dumps(result, sort_keys=True))] = told
            self.finished += told

    # ---- what came of it ------------------------------------------------------------------------

    def wait_for_flow(self, seconds=20, more=40):
        """Until so many more tasks were submitted and finished; how long that took."""
        began = time.monotonic()
        with self.lock:
            finished, submitted = self.finished, len(self.acknowledged)
        self.panel.wait_for(lambda: len(self.acknowledged) >= submitted + more and
                            (not self.workers or self.finished >= finished + more), seconds, "work to go through again")
        return time.monotonic() - began

    def settle(self, seconds=30):
        """Nothing new; wait until every acknowledged task has ended."""
        self.enough.set()
        for thread in self.threads[:-len(self.agents) or None]:
            thread.join(40)
            assert not thread.is_alive(), ("a submission never got an answer", self.last_trouble.get(thread.ident))
        open_ones = set(self.acknowledged)

        def all_ended():
            for task_id in list(open_ones)[:50]:
                try:
                    if self.panel.task(task_id)["status"] in ("completed", "failed", "cancelled"):
                        open_ones.discard(task_id)
                except TROUBLE:
                    pass
            return not open_ones
        try:
            self.panel.wait_for(all_ended, seconds, "every task to end")
        except AssertionError as late:
            stuck = [self.panel.task(t) for t in list(open_ones)[:3]]
            raise AssertionError(f"{late}: {len(open_ones)} have not, such as {stuck}") from None
        finally:
            self.over.set()
        for thread in self.threads:
            thread.join(20)

    def check(self, seconds=30):
        self.settle(seconds)
        assert not self.refused, self.refused[:3]
        assert len(set(self.acknowledged.values())) == len(self.acknowledged), "a key was used for two tasks"
        listed = self.listed()
        assert set(self.acknowledged) <= set(listed), "an acknowledged task is gone"
        extra = set(listed) - set(self.acknowledged)
        assert not extra, f"{len(extra)} tasks that nobody was told of, such as {listed[min(extra)]}"
        for task_id, key in self.acknowledged.items():
            self._check_task(self.panel.task(task_id), key)
        return len(self.acknowledged)

    def _check_task(self, task, key):
        assert task["status"] == "completed", task
        assert task["result"]["key"] == key, task
        reports = self.reported.get(task["task_id"], {})
        told = [report for report, yes in reports.items() if yes]
        assert len(told) <= 1, f"completed twice: {told} {task}"
        final = (task["fence"], json.dumps(task["result"], sort_keys=True))
        assert final in reports, f"completed by nobody: {task} {reports}"
        assert not told or told == [final], f"told {told}, but it is {task}"

    def listed(self):
        found, cursor = {}, None
        while True:
            page = self.panel.get("/tasks?type=stream&limit=500" + (f"&cursor={cursor}" if cursor else "")).expect(200)
            for task in page.data:
                found[task["task_id"]] = task
            cursor = page.json["next_cursor"]
            if cursor is None:
                return found
