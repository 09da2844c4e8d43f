# SPDX-License-Identifier: MIT
"""mcpctl, driven as people and programs drive it, against a real panel."""
import csv
import fcntl
import io
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
import uuid

import pytest

from panel import TREE, Panel

UUID = re.compile(r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")


class Cli:
    """mcpctl with a home of its own, which finds the panel through its state folder."""

    def __init__(self, panel, home):
        self.panel, self.home = panel, str(home)
        self.program = os.path.join(panel.build, "mcpctl")
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("MCP_", "XDG_"))}
        self.env.update(HOME=self.home, XDG_CONFIG_HOME=self.home + "/config", MCP_HOME=panel.home)
        self.running = []

    def run(self, *args, status=0, stdin=None, env=None):
        """The finished process; fails unless it ended with that status (None: any)."""
        done = subprocess.run([self.program, *args], env={**self.env, **(env or {})}, input=stdin or "",
                              capture_output=True, text=True, timeout=90)
        assert status is None or done.returncode == status, \
            f"mcpctl {' '.join(args)}: status {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "auth_token" not in done.stderr.replace("The auth_token is shown", "")
        return done

    def out(self, *args, **more):
        return self.run(*args, **more).stdout.strip()

    def json(self, *args, **more):
        return json.loads(self.run(*args, "--json", **more).stdout)

    def on_terminal(self, *args, typed=(), env=None):
        """What a terminal 100 columns wide shows; typed: (what to wait for, what to type then)."""
        parent, child = pty.openpty()
        fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        process = subprocess.Popen([self.program, *args], env={**self.env, "TERM": "xterm", **(env or {})}, stdin=child,
                                   stdout=child, stderr=child, start_new_session=True)
        os.close(child)
        seen, waiting, end = "", list(typed), time.monotonic() + 60
        while time.monotonic() < end:
            if not select.select([parent], [], [], 1)[0]:
                continue
            try:
                more = os.read(parent, 65536)
            except OSError:     # the other side is closed
                break
            if not more:
                break
            seen += more.decode()
            if waiting and waiting[0][0] in seen:
                os.write(parent, waiting.pop(0)[1].encode())
        os.close(parent)
        return process.wait(10), seen

    def agent(self, script, *options, name=None, capability=None, log=None):
        """A running `mcpctl agent run` over a shell script."""
        name = name or f"cli-{uuid.uuid4().hex[:8]}"
        args = [self.program, "agent", "run", "--name", name, *options]
        if capability:
            args += ["--capability", capability]
        process = Agent([*args, "--", "sh", "-c", script], self.env, name, os.path.join(self.home, name + ".log"))
        self.running.append(process)
        return process

    def submit(self, capability, *options, **parameters):
        return self.out("tasks", "submit", "cli.test", "-c", capability, "-p", json.dumps(parameters), *options)

    def task(self, task_id):
        return self.json("tasks", "show", task_id)

    def wait_task(self, task_id, *statuses, seconds=20):
        def there():
            task = self.panel.task(task_id)
            return task if task["status"] in statuses else None
        return Panel.wait_for(there, seconds, f"task {task_id} to be {statuses}; it is {self.panel.task(task_id)}", 0.05)

    def close(self):
        for process in self.running:
            process.end()


class Agent(subprocess.Popen):
    def __init__(self, args, env, name, log):
        self.name, self.log_path = name, log
        with open(log, "a") as out:
            super().__init__(args, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out)

    @property
    def log(self):
        with open(self.log_path) as f:
            return f.read()

    def says(self, text, seconds=15):
        Panel.wait_for(lambda: text in self.log, seconds, f"{text!r} in the agent's log:\n{self.log}", 0.02)
        return self

    def stop(self, seconds=30):
        """Polite; its exit status."""
        self.terminate()
        return self.wait(seconds)

    def end(self):
        """At once, and without a crash."""
        if self.poll() is not None:
            return
        self.terminate()
        time.sleep(0.05)
        self.send_signal(signal.SIGINT)
        try:
            status = self.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()
            self.wait()
            raise
        assert status in (0, 3, 6), f"status {status}\n{self.log}"


@pytest.fixture
def cli(panel, tmp_path):
    made = Cli(panel, tmp_path)
    yield made
    made.close()


@pytest.fixture
def skill():
    """A capability that only this test's agents have, so that tests do not take each other's tasks."""
    return f"skill.{uuid.uuid4().hex[:10]}"


# ---- the command line ---------------------------------------------------------------------------------


def test_help_tells_every_command(cli):
    text = cli.out("help")
    for group in ("agents", "tasks", "pipelines", "executions", "users", "api-keys", "login", "status"):
        assert group in text
    assert "--watch" in cli.out("help", "tasks", "submit")
    assert cli.out("help", "task", "submit") == cli.out("tasks", "submit", "--help")
    assert "MCP_PROGRESS_FD" in cli.out("help", "agent", "run")
    assert re.match(r"mcpctl \d", cli.out("--version"))
    assert cli.out("version") == cli.out("--version")


def test_every_command_has_help_and_is_in_the_manual(cli):
    with open(os.path.join(TREE, "docs/man/mcpctl.1")) as f:
        manual = f.read().replace("\\-", "-")
    groups = [line.split("\t")[0] for line in cli.out("__complete", "--", "").splitlines()]
    groups.remove("help")
    assert len(groups) > 10
    for group in groups:
        assert re.search(rf"\b{re.escape(group)}\b", manual), group
        assert f"usage: mcpctl {group}" in cli.out("help", group)
        for line in cli.out("__complete", "--", group, "").splitlines():
            action = line.split("\t")[0]
            assert f"usage: mcpctl {group}" in cli.out("help", group, action), (group, action)
            assert re.search(rf"\b{re.escape(action)}\b", manual), (group, action)


@pytest.mark.parametrize("typed, near", [
    (["taks"], "mcpctl tasks"),
    (["tasks", "lsit"], "mcpctl tasks list"),
    (["executions", "wach"], "mcpctl executions watch"),
    (["tasks", "list", "--statsu", "x"], "--status"),
])
def test_a_typo_names_the_nearest(cli, typed, near):
    assert near in cli.run(*typed, status=2).stderr


@pytest.mark.parametrize("args", [
    ["tasks", "show"], ["tasks", "show", "a", "b"], ["tasks", "list", "--limit"], ["tasks", "list", "--limit", "x"],
    ["tasks", "submit", "x", "-p", "{"], ["tasks", "list", "--all=1"], ["tasks", "list", "-Z"],
    ["agent", "run", "--name", "x"], ["agent", "run", "--", "true"], ["agent", "run", "--name", "x", "--", "no-such-program"],
    ["agent", "run", "--name", "x", "--concurrency", "0", "--", "true"], ["agents", "update", "x", "--enabled", "perhaps"],
    ["tasks", "submit", "x", "-d", "[1]"], ["api", "GET", "tasks"], ["--url", "ftp://x", "tasks", "list"],
    ["agent", "run", "--name", "x", "--output", "xml", "--", "true"], ["tasks", "dead-letters-retry"],
])
def test_bad_command_lines_end_with_2(cli, args):
    assert cli.run(*args, status=2).stderr.startswith("mcpctl: ")


def test_global_options_may_stand_first(cli):
    assert json.loads(cli.out("--json", "--limit=1", "tasks", "list", status=None) or "[]") is not None
    assert isinstance(json.loads(cli.out("--json", "tasks", "list", "--limit", "1")), list)


def test_completion_scripts(cli):
    script = os.path.join(TREE, "cli/completion/mcpctl.bash")
    probe = f'. {script}; COMP_WORDS=(mcpctl tasks sub); COMP_CWORD=2; _mcpctl; echo "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-c", probe], capture_output=True, text=True, check=True,
                          env={**cli.env, "PATH": os.path.dirname(cli.program) + ":" + os.environ["PATH"]})
    assert done.stdout.split() == ["submit"]
    assert cli.out("__complete", "--", "tasks", "list", "--st").split("\t")[0] == "--status"
    assert "execute" in cli.out("__complete", "--", "help", "pipelines", "ex")


# ---- finding the panel, logging in ----------------------------------------------------------------------


def test_finds_the_panel_by_its_state_folder(cli, panel):
    assert cli.json("whoami")["name"] == panel.admin_user
    # tokens of a panel that runs here lie with the panel, readable by their owner only
    kept = os.path.join(panel.home, "mcpctl", "sessions")
    files = [f for f in os.listdir(kept) if f.endswith(".json")]
    assert files
    for f in files:
        assert os.stat(os.path.join(kept, f)).st_mode & 0o777 == 0o600


def test_finds_the_panel_by_the_environment(cli, panel, tmp_path):
    password = tmp_path / "password"
    password.write_text(panel.admin_password + "\n")
    env = {"MCP_HOME": "", "MCP_URL": panel.url + "/", "MCP_ADMIN_USER": panel.admin_user,
           "MCP_ADMIN_PASSWORD_FILE": str(password)}
    assert cli.json("whoami", env=env)["name"] == panel.admin_user
    # another address does not get these credentials
    other = cli.run("whoami", "--url", panel.url.replace("127.0.0.1", "localhost"), env=env, status=3)
    assert "mcpctl login" in other.stderr


def test_no_panel_is_said_so(cli, tmp_path):
    assert "./mcp up" in cli.run("tasks", "list", env={"MCP_HOME": str(tmp_path / "none")}, status=6).stderr
    assert "mcpctl login" in cli.run("tasks", "list", env={"MCP_HOME": ""}, status=6).stderr
    gone = cli.run("tasks", "list", "--url", "http://127.0.0.1:9", env={"MCP_HOME": ""}, status=6)
    assert "127.0.0.1:9" in gone.stderr


def test_login_and_logout(cli, panel):
    env = {"MCP_HOME": ""}
    args = ["login", "--url", panel.url, "--user", panel.admin_user]
    wrong = cli.run(*args, stdin="not the password\n", env=env, status=3)
    assert "not the password" not in wrong.stderr
    assert panel.url in cli.out(*args, stdin=panel.admin_password + "\n", env=env)
    folder = os.path.join(cli.home, "config", "mcpctl")
    for where, _, files in os.walk(folder):
        for f in files:
            assert os.stat(os.path.join(where, f)).st_mode & 0o777 == 0o600
            with open(os.path.join(where, f)) as text:
                assert panel.admin_password not in text.read()
    assert cli.json("whoami", env=env)["name"] == panel.admin_user
    loud = cli.run("tasks", "list", "-v", env=env)
    assert "eyJ" not in loud.stderr + loud.stdout
    cli.run("logout", env=env)
    cli.run("tasks", "list", env=env, status=6)


def test_login_on_a_terminal(cli, panel):
    status, seen = cli.on_terminal("login", "--url", panel.url, env={"MCP_HOME": ""}, typed=[
        ("User name: ", panel.admin_user + "\n"), ("Password of ", panel.admin_password + "\n")])
    assert status == 0 and "Logged in" in seen, seen
    assert panel.admin_password not in seen


def test_what_the_panel_says_cannot_steer_the_terminal(cli):
    task = cli.out("tasks", "submit", "-d", json.dumps({"type": "cli.test", "parameters": {"a": "\x1b]0;title\x07\x1b[2J\u009b1m"}}))
    status, seen = cli.on_terminal("tasks", "show", task, "--no-color")
    assert status == 0 and "?]0;title??[2J?1m" in seen and "\x1b]0" not in seen
    cli.run("tasks", "cancel", task)


def test_tables_fit_the_terminal(cli, skill):
    agent = cli.json("agents", "register", "a name that goes on " * 8, "-c", ",".join([skill, *(f"x{n}" for n in range(30))]))["agent_id"]
    _, seen = cli.on_terminal("agents", "list", "--capability", skill)
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in seen.replace("\r", "").splitlines()]
    assert max(map(len, lines)) <= 100 and "…" in seen and agent in seen
    assert "…" not in cli.out("agents", "list", "--capability", skill)
    cli.run("agents", "delete", agent)


def session_files(cli):
    folder = os.path.join(cli.home, "config", "mcpctl", "sessions")
    return [os.path.join(folder, f) for f in os.listdir(folder) if f.endswith(".json")]


def test_tokens_are_refreshed(cli, panel):
    env = {"MCP_HOME": ""}
    cli.run("login", "--url", panel.url, "--user", panel.admin_user, stdin=panel.admin_password, env=env)
    path, = session_files(cli)
    with open(path) as f:
        first = json.load(f)
    with open(path, "w") as f:
        json.dump({**first, "expires_at": 1}, f)
    assert cli.json("whoami", env=env)["name"] == panel.admin_user
    with open(path) as f:
        second = json.load(f)
    assert second["refresh_token"] != first["refresh_token"] and second["expires_at"] > time.time()
    # a token that the panel does not take is replaced too
    with open(path, "w") as f:
        json.dump({**second, "access_token": first["access_token"][:-3] + "abc"}, f)
    assert cli.json("whoami", env=env)["name"] == panel.admin_user
    # with neither of any use, and no password, one is told to log in
    with open(path, "w") as f:
        json.dump({**second, "access_token": "x.y.z", "refresh_token": "x.y.z"}, f)
    assert "mcpctl login" in cli.run("whoami", env=env, status=3).stderr


def test_many_at_once_refresh_once(cli, panel):
    env = {**cli.env, "MCP_HOME": ""}
    cli.run("login", "--url", panel.url, "--user", panel.admin_user, stdin=panel.admin_password, env=env)
    path, = session_files(cli)
    with open(path) as f:
        tokens = json.load(f)
    with open(path, "w") as f:
        json.dump({**tokens, "expires_at": 1}, f)
    all_at_once = [subprocess.Popen([cli.program, "whoami", "-q"], env=env, stderr=subprocess.PIPE) for _ in range(6)]
    assert [p.communicate()[1] or p.returncode for p in all_at_once] == [0] * 6


# ---- errors ----------------------------------------------------------------------------------------------


def test_every_bad_field_is_told(cli):
    done = cli.run("tasks", "submit", "-d", '{"type":7,"nonsense":1,"timeout":-5}', status=1)
    for field in ("type", "nonsense", "timeout"):
        assert field in done.stderr
    told = json.loads(cli.run("tasks", "submit", "-d", '{"type":7}', "--json", status=1).stderr)
    assert told["error"]["type"] == "validation"


def test_exit_statuses(cli):
    nobody = str(uuid.uuid4())
    assert "mcpctl: " in cli.run("tasks", "show", nobody, status=4).stderr
    task = cli.submit("nobody.can")
    cli.run("tasks", "cancel", task)
    cli.run("tasks", "update", task, "--priority", "low", status=5)
    # one that fails does not keep the others from being done
    other = cli.submit("nobody.can")
    done = cli.run("tasks", "cancel", nobody, other, status=4)
    assert f"{other} cancelled" in done.stdout


# ---- tasks -----------------------------------------------------------------------------------------------


def test_tasks_from_submission_to_end(cli, skill):
    task = cli.submit(skill, "--priority", "high", "--max-retries", "2", "--timeout-task", "77", text="grüße")
    assert UUID.match(task)
    shown = cli.task(task)
    assert shown["priority"] == "high" and shown["timeout"] == 77 and shown["parameters"] == {"text": "grüße"}
    assert "pending" in cli.out("tasks", "status", task)
    cli.run("tasks", "update", task, "--priority", "low")
    assert cli.task(task)["priority"] == "low"
    assert task in cli.out("tasks", "list", "-q", "--type", "cli.test", "--status", "pending")
    assert "low" in cli.out("tasks", "show", task)
    cli.agent('echo "log it" >&3; echo "{\\"done\\":true}"', "--once", capability=skill)
    watched = cli.run("tasks", "watch", task)
    assert json.loads(watched.stdout) == {"done": True} and "log it" in watched.stderr
    assert "log it" in cli.out("tasks", "logs", task)
    assert "execution_time" in cli.out("tasks", "metrics", task)
    assert cli.json("tasks", "logs", task)[0]["message"] == "log it"


def test_numbers_keep_their_digits(cli, skill):
    task = cli.out("tasks", "submit", "cli.test", "-c", skill, "-p", '{"n":12345678901234567890123,"x":0.10}')
    cli.agent("sed 's/.*\"parameters\"://; s/,\"requirements.*//'", "--once", capability=skill)
    cli.wait_task(task, "completed")
    assert '12345678901234567890123' in cli.out("tasks", "show", task, "--json")
    assert cli.panel.task(task)["result"] == {"n": 12345678901234567890123, "x": 0.10}


def test_lists_page(cli, skill):
    kind = "page." + skill.split(".")[1]
    lines = "\n".join(json.dumps({"type": kind, "requirements": {"capabilities": [skill]}}) for _ in range(7))
    ids = cli.out("tasks", "batch", "-", stdin=lines).split()
    assert len(ids) == 7
    page = cli.run("tasks", "list", "--type", kind, "--limit", "3", "-q")
    assert len(page.stdout.split()) == 3 and "--cursor" in page.stderr
    cursor = page.stderr.split()[-1]
    rest = cli.run("tasks", "list", "--type", kind, "--limit", "500", "-q", "--cursor", cursor).stdout.split()
    assert sorted(page.stdout.split() + rest) == sorted(ids)
    assert sorted(cli.out("tasks", "list", "--type", kind, "--limit", "2", "--all", "-q").split()) == sorted(ids)
    assert len(cli.json("tasks", "list", "--type", kind, "--limit", "2", "--all")) == 7
    table = cli.out("tasks", "list", "--type", kind).splitlines()
    assert table[0].startswith("TASK") and len(table) == 8
    cli.run("tasks", "cancel", *ids)
    assert cli.out("tasks", "list", "--type", kind, "--status", "cancelled", "-q").count("\n") == 6


def test_batch_reports_what_was_refused(cli, skill, tmp_path):
    batch = tmp_path / "batch.json"
    batch.write_text(json.dumps([{"type": "cli.test", "requirements": {"capabilities": [skill]}}, {"type": 5}]))
    done = cli.run("tasks", "batch", str(batch), status=1)
    assert len(done.stdout.split()) == 1 and "task 2 of the batch" in done.stderr


def test_an_idempotency_key_submits_once(cli, skill):
    key = str(uuid.uuid4())
    first = cli.submit(skill, "--idempotency-key", key, a=1)
    assert cli.submit(skill, "--idempotency-key", key, a=1) == first
    cli.run("tasks", "submit", "cli.test", "-p", '{"a":2}', "--idempotency-key", key, status=1)


def test_dead_letters(cli, skill):
    kind = "dead." + skill.split(".")[1]
    task = cli.out("tasks", "submit", kind, "-c", skill, "--max-retries", "0")
    cli.agent('[ -e "$HOME/mended" ] && echo 1 || { echo broken >&2; exit 1; }', capability=skill)
    cli.wait_task(task, "failed")
    assert "broken" in cli.run("tasks", "watch", task, status=1).stderr
    assert task in cli.out("tasks", "dead-letters", "--type", kind)
    open(os.path.join(cli.home, "mended"), "w").close()
    cli.run("tasks", "dead-letters-retry", "--type", kind)
    cli.wait_task(task, "completed")
    assert task not in cli.out("tasks", "dead-letters", "--type", kind, "-q")


# ---- agents ----------------------------------------------------------------------------------------------


def test_agents(cli, skill, tmp_path):
    secret = tmp_path / "secrets" / "agent.json"
    agent = cli.json("agents", "register", "made-by-hand", "-c", skill, "--token-file", str(secret))
    agent_id = agent.get("agent_id")
    assert secret.stat().st_mode & 0o777 == 0o600
    kept = json.loads(secret.read_text())
    assert kept["agent_id"] == agent_id and kept["auth_token"]
    assert kept["auth_token"] not in json.dumps(agent)
    assert cli.json("agents", "show", agent_id)["name"] == "made-by-hand"
    assert agent_id in cli.out("agents", "list", "--capability", skill, "-q")
    cli.run("agents", "capabilities", agent_id, "--add", skill + ".more")
    assert cli.json("agents", "discover", "-c", f"{skill},{skill}.more", "-q".replace("-q", "--limit=5"))[0]["agent_id"] == agent_id
    cli.run("agents", "update", agent_id, "--slots", "3")
    assert cli.json("agents", "show", agent_id)["slots"] == 3
    cli.run("agents", "drain", agent_id)
    cli.run("agents", "undrain", agent_id)
    assert "overall_health" in cli.out("agents", "health", agent_id)
    assert "success_rate" in cli.out("agents", "metrics", agent_id)
    assert "made-by-hand" in cli.out("agents", "list", "--capability", skill)
    # what was registered by hand can be run
    task = cli.submit(skill)
    by_hand = cli.agent("echo 1", "--token-file", str(secret), "--once")
    assert cli.wait_task(task, "completed")["assigned_agent_id"] == agent_id
    assert by_hand.wait(20) == 0
    cli.run("agents", "delete", agent_id)
    cli.run("agents", "show", agent_id, status=4)


def test_delegate_and_assign(cli, skill):
    mine = cli.agent("echo 1", capability=skill, name="delegate-" + skill).says("agent ")
    agent_id = cli.json("agents", "list", "--capability", skill)[0]["agent_id"]
    assert mine.stop() == 0
    task = cli.submit(skill)
    missing = cli.run("tasks", "delegate", task, "--agent", str(uuid.uuid4()), status=None)
    assert missing.returncode in (4, 5)
    cli.agent("echo 1", capability=skill, name="delegate-" + skill)
    cli.wait_task(task, "completed")
    assert cli.panel.task(task)["assigned_agent_id"] == agent_id


# ---- users and keys --------------------------------------------------------------------------------------


def test_users(cli, tmp_path):
    name = "user" + uuid.uuid4().hex[:8]
    user = cli.json("users", "create", name, "--role", "supervisor", stdin="a long enough password\n")
    assert "password" not in json.dumps(user)
    assert name in cli.out("users", "list", "--all")
    cli.run("users", "update", user["user_id"], "--role", "worker")
    assert cli.json("users", "show", user["user_id"])["role"] == "worker"
    password = tmp_path / "pw"
    password.write_text("a long enough password")
    mine = ["--user", name, "--password-file", str(password)]
    assert cli.json("whoami", *mine)["name"] == name
    assert cli.run("users", "list", *mine, status=3).stderr.startswith("mcpctl: ")
    cli.run("users", "delete", user["user_id"])
    cli.run("whoami", *mine, status=3)


def test_api_keys(cli, panel, skill, tmp_path):
    file = tmp_path / "key"
    made = cli.json("api-keys", "create", "for tests", "--role", "admin", "--key-file", str(file))
    key = file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600 and len(key) > 20 and key not in json.dumps(made)
    assert "for tests" in cli.out("api-keys", "list", "--all")
    env = {"MCP_HOME": "", "MCP_URL": panel.url, "MCP_API_KEY": key}
    cli.run("tasks", "list", env=env)
    # with a key alone an agent can register, and its command never sees the key
    task = cli.submit(skill)
    cli.env.update(env)
    agent = cli.agent('echo "\\"${MCP_API_KEY-none}\\""', "--once", capability=skill)
    assert agent.wait(30) == 0, agent.log
    for name in env:
        cli.env.pop(name)
    cli.env["MCP_HOME"] = panel.home
    assert panel.task(task)["result"] == "none"
    cli.run("api-keys", "delete", made.get("key_id") or made.get("api_key_id"))
    cli.run("tasks", "list", env=env, status=3)


# ---- the panel -------------------------------------------------------------------------------------------


def test_the_panel_at_a_glance(cli, panel):
    text = cli.out("status")
    assert panel.url in text and "queued tasks" in text and "healthy" in text
    assert set(cli.json("status")) == {"health", "metrics"}
    assert "database" in cli.out("health")
    assert "mcp_tasks_created_total" in cli.out("metrics")
    assert cli.out("services")
    assert json.loads(cli.out("api", "get", "/tasks?limit=1"))["success"] is True
    assert "paths" in json.loads(cli.out("api", "GET", "//openapi.json"))


# ---- pipelines -------------------------------------------------------------------------------------------

STEP = r'''
import json, sys
task = json.loads(sys.stdin.readline())
given = task["parameters"].get("input")
items = given["items"] if given else [json.loads(line) for line in sys.stdin if line.strip()]
print(json.dumps({"items": [{**i, "stage": task["stage"], "n": i["n"] + 1} for i in items]}))
'''


def stages(skill, *names, **more):
    return json.dumps([{"name": n, "type": "cli.step", "capabilities": [skill], **more} for n in names])


@pytest.fixture
def stepper(cli, skill, tmp_path):
    """A command that adds one to every item, as two agents."""
    script = tmp_path / "step.py"
    script.write_text(STEP)
    return [cli.agent(f"exec python3 -SE {script}", "-n", "2", capability=skill) for _ in range(2)]


def test_a_pipeline_from_definition_to_output(cli, skill, stepper, tmp_path):
    pipeline = cli.out("pipelines", "create", "counting", "--stages", stages(skill, "one", "two", "three"), "--tag", "t1,t2")
    assert UUID.match(pipeline)
    shown = cli.json("pipelines", "show", pipeline)
    assert [s["name"] for s in shown["stages"]] == ["one", "two", "three"] and sorted(shown["tags"]) == ["t1", "t2"]
    assert pipeline in cli.out("pipelines", "list", "--all", "-q")
    given = tmp_path / "input.json"
    given.write_text(json.dumps({"items": [{"n": n} for n in range(5)]}))
    run = cli.out("pipelines", "execute", pipeline, "--input", f"@{given}")
    assert UUID.match(run)
    watched = cli.run("executions", "watch", run)
    assert "100%" in watched.stderr and "completed" in watched.stderr
    assert cli.json("executions", "show", run)["status"] == "completed"
    assert "three" in cli.out("executions", "show", run)
    output = json.loads(cli.out("executions", "output", run))
    items = output["items"] if isinstance(output, dict) else output
    assert [i["n"] for i in items] == [3, 4, 5, 6, 7]
    lines = cli.out("executions", "output", run, "-f", "ndjson", "--stage", "1").splitlines()
    assert [json.loads(line)["n"] for line in lines] == [1, 2, 3, 4, 5]
    table = tmp_path / "out.csv"
    cli.run("executions", "output", run, "--format", "csv", "-o", str(table))
    assert [row["n"] for row in csv.DictReader(io.StringIO(table.read_text()))] == ["3", "4", "5", "6", "7"]
    assert run in cli.out("executions", "list", "--pipeline", pipeline, "-q")
    assert "completed" in cli.out("pipelines", "progress", pipeline)
    assert "execution_id" in cli.out("executions", "progress", run)
    cli.run("pipelines", "update", pipeline, "--description", "counts")
    assert cli.json("pipelines", "show", pipeline)["description"] == "counts"
    cli.run("pipelines", "delete", pipeline)
    cli.run("pipelines", "show", pipeline, status=4)


def test_execute_and_watch_in_one(cli, skill, stepper):
    pipeline = cli.out("pipelines", "create", "watched", "--stages", stages(skill, "one"))
    done = cli.run("pipelines", "execute", pipeline, "--input", '{"items":[{"n":1}]}', "--watch", "--json")
    assert json.loads(done.stdout)["status"] == "completed"


def test_progress_bar_on_a_terminal(cli, skill, stepper):
    pipeline = cli.out("pipelines", "create", "drawn", "--stages", stages(skill, "one", "two"))
    status, seen = cli.on_terminal("pipelines", "execute", pipeline, "--input", '{"items":[{"n":1}]}', "-w")
    assert status == 0
    assert "██████" in seen and "\x1b[J" in seen and "✓ 2 two" in re.sub(r"\x1b\[[0-9;]*m", "", seen)


def test_one_stage_and_the_standard_six(cli, skill, stepper):
    pipeline = cli.out("pipelines", "create", "by stage", "--stages", stages(skill, "one", "two"))
    run = cli.out("pipelines", "execute", pipeline, "--input", '{"items":[{"n":1}]}')
    cli.run("executions", "watch", run)
    again = cli.out("pipelines", "run-stage", pipeline, "2", "-x", run)
    assert run in again
    cli.run("executions", "watch", run)
    quick = cli.json("pipelines", "agent-execute", "--pipeline", pipeline, "--input", '{"items":[{"n":5}]}', "--wait", "20")
    assert quick["status"] == "completed" and quick["results"] == {"items": [{"n": 7, "stage": 2}]}
    six = cli.out("pipelines", "agent-execute", "-q")
    assert UUID.match(six)
    cli.run("executions", "cancel", six)


def test_pause_resume_cancel_retry(cli, skill):
    pipeline = cli.out("pipelines", "create", "steered", "--stages", stages(skill, "one", max_retries=0))
    run = cli.out("pipelines", "execute", pipeline, "--input", "{}")
    cli.run("executions", "pause", run)
    assert cli.json("executions", "show", run)["status"] == "paused"
    cli.run("executions", "resume", run)
    cli.run("executions", "cancel", run)
    assert "cancelled" in cli.run("executions", "watch", run, status=1).stderr
    failing = cli.out("pipelines", "execute", pipeline, "--input", "{}")
    cli.agent('[ -e "$HOME/mended" ] && echo "{}" || exit 1', capability=skill)
    assert "failed" in cli.run("executions", "watch", failing, status=1).stderr
    open(os.path.join(cli.home, "mended"), "w").close()
    cli.run("executions", "retry", failing)
    cli.run("executions", "watch", failing)


# ---- agent run: outcomes -----------------------------------------------------------------------------------


def test_agent_success_and_environment(cli, panel, skill):
    script = """read -r task; printf '%s' "$task" | grep -q '"x":5' || exit 9
        echo "{\\"id\\":\\"$MCP_TASK_ID\\",\\"type\\":\\"$MCP_TASK_TYPE\\",\\"fence\\":$MCP_FENCE,\\"attempt\\":$MCP_ATTEMPT,
        \\"fd\\":$MCP_PROGRESS_FD,\\"admin\\":\\"$MCP_ADMIN_PASSWORD_FILE\\"}" """
    agent = cli.agent(script, "--max-tasks", "3", capability=skill)
    tasks = [cli.submit(skill, x=5) for _ in range(3)]
    assert agent.wait(30) == 0, agent.log
    for task in tasks:
        done = panel.task(task)
        assert done["status"] == "completed", done
        result = done["result"]
        assert (result["id"], result["type"], result["attempt"]) == (task, "cli.test", 1)
        assert result["fence"] == done["fence"] and result["fd"] == 3 and result["admin"] == ""
    assert "3 completed" in agent.log


@pytest.mark.parametrize("script, options, code, message", [
    ("echo first >&2; echo boo >&2; exit 3", [], "exit_3", "boo"),
    ("exit 4", [], "exit_4", "status 4"),
    ("echo this is no json", [], "bad_result", "not a JSON result"),
    ("true", [], "bad_result", "no result"),
    ("echo '{\"a\":1} {}'", [], "bad_result", "not a JSON result"),
    ("head -c 5000 /dev/zero | tr '\\0' 1", ["--max-result", "4096"], "result_too_large", "4096"),
    ("""echo '{"type":"validation","code":"E7","message":"row 7","retryable":false}' >&2; exit 1""", [], "E7", "row 7"),
])
def test_agent_failures_that_are_final(cli, skill, script, options, code, message):
    task = cli.submit(skill, "--max-retries", "3")
    agent = cli.agent(script, "--once", *options, capability=skill)
    failed = cli.wait_task(task, "failed")
    assert failed["error"]["code"] == code and message in failed["error"]["message"]
    assert failed["error"]["retryable"] is False and failed["attempt"] == 1
    assert agent.wait(20) == 0


def test_agent_failures_that_are_tried_again(cli, skill):
    script = """case $MCP_ATTEMPT in
        1) exit 75;;
        2) kill -SEGV $$;;
        3) echo '{"type":"validation","message":"not yet","retryable":true}' >&2; exit 1;;
        *) echo $MCP_ATTEMPT;; esac"""
    task = cli.out("tasks", "submit", "-d", json.dumps({
        "type": "cli.test", "requirements": {"capabilities": [skill]}, "max_retries": 5,
        "retry": {"strategy": "fixed", "initial_delay_ms": 10}}))
    cli.agent(script, capability=skill)
    done = cli.wait_task(task, "completed")
    assert done["result"] == 4
    codes = [a["error"]["code"] for a in done["attempts"] if a.get("error")]
    assert codes == ["exit_75", "signal_11", "exit_1"]


@pytest.mark.parametrize("mode, result", [("text", {"output": "a \"b\"\n"}), ("ignore", {})])
def test_agent_output_modes(cli, skill, mode, result):
    task = cli.submit(skill)
    cli.agent("echo 'a \"b\"'", "--once", "--output", mode, capability=skill)
    assert cli.wait_task(task, "completed")["result"] == result


def test_agent_progress_and_logs(cli, panel, skill):
    script = r"""echo '{"progress":0.25,"message":"a quarter"}' >&3
        echo '{"log":"careful","level":"warn"}' >&3; echo 'plain words' >&3
        echo 'on stderr' >&2
        while [ ! -e "$HOME/go" ]; do sleep 0.05; done; printf 'no newline at the end' >&3; echo 1"""
    task = cli.submit(skill)
    cli.agent(script, "--once", "--log-stderr", capability=skill)
    half = Panel.wait_for(lambda: panel.task(task)["progress"] == 0.25 and panel.task(task), 10, "progress")
    assert half["message"] == "a quarter" and half["status"] == "running"
    open(os.path.join(cli.home, "go"), "w").close()
    cli.wait_task(task, "completed")
    logs = {(line["level"], line["message"]) for line in cli.json("tasks", "logs", task)}
    assert logs == {("warn", "careful"), ("info", "plain words"), ("warn", "on stderr"), ("info", "no newline at the end")}


def test_agent_timeout(cli, skill):
    task = cli.submit(skill, "--max-retries", "0", "--timeout-task", "60")
    cli.agent("trap '' TERM; sleep 50 & while :; do wait; done", "--once", "--grace", "0.5", "--task-timeout", "1",
              capability=skill)
    failed = cli.wait_task(task, "failed")
    assert failed["error"]["type"] == "timeout"


def test_agent_cancel(cli, panel, skill):
    script = "trap 'touch \"$HOME/terminated\"; exit 0' TERM; sleep 50 & wait"
    task = cli.submit(skill)
    agent = cli.agent(script, "--once", "--heartbeat", "0.3", capability=skill).says("started")
    time.sleep(0.3)
    cli.run("tasks", "cancel", task)
    assert agent.wait(10) == 0
    assert os.path.exists(os.path.join(cli.home, "terminated"))
    assert panel.task(task)["status"] == "cancelled" and "cancelled" in agent.log


def test_agent_concurrency(cli, skill):
    tasks = [cli.submit(skill) for _ in range(4)]
    # each waits until all four are there, so they can only end if they run at the same time
    script = 'mkdir -p "$HOME/here/$MCP_TASK_ID"; while [ $(ls "$HOME/here" | wc -l) -lt 4 ]; do sleep 0.05; done; echo 1'
    cli.agent(script, "-n", "4", "--max-tasks", "4", capability=skill)
    for task in tasks:
        cli.wait_task(task, "completed")


def test_agent_takes_only_its_task_types(cli, panel, skill):
    other = cli.out("tasks", "submit", "other.type", "-c", skill)
    mine = cli.submit(skill)
    agent = cli.agent("echo 1", "--once", "--task-type", "cli.test", capability=skill)
    cli.wait_task(mine, "completed")
    assert agent.wait(10) == 0 and panel.task(other)["status"] == "pending"


def test_agent_takes_the_next_task_with_the_report(cli, skill):
    for _ in range(30):
        cli.submit(skill)
    agent = cli.agent("echo 1", "--max-tasks", "30", "-v", capability=skill)
    assert agent.wait(60) == 0
    assert agent.log.count("/claim") < 15, agent.log


def test_agent_reads_large_input_page_by_page(cli, skill, tmp_path):
    first = tmp_path / "first.py"
    first.write_text("import json\nprint(json.dumps({'items': [{'n': n, 'fill': 'x' * 400} for n in range(1500)]}))\n")
    count = tmp_path / "count.py"
    count.write_text("import json, sys\ntask = json.loads(sys.stdin.readline())\n"
                     "items = [json.loads(line)['n'] for line in sys.stdin]\n"
                     "refs = [k for p in (task['parameters'], task['parameters'].get('input') or {}) for k in p if k.endswith('_ref')]\n"
                     "print(json.dumps({'refs': refs, 'n': len(items), 'sum': sum(items)}))\n")
    cli.agent(f'case $MCP_STAGE in [12]) exec python3 {first};; *) exec python3 {count};; esac', "-n", "2", capability=skill)
    wide = {"type": "cli.step", "capabilities": [skill], "fan_out": True, "depends_on": []}
    whole = {"type": "cli.step", "capabilities": [skill]}
    # 4 x 600 kB each: more than a task may hold
    pipeline = cli.out("pipelines", "create", "large", "--stages", json.dumps([
        {"name": "left", **wide}, {"name": "right", **wide}, {"name": "one", **whole, "depends_on": [1]},
        {"name": "both", **whole, "depends_on": [1, 2]}]))
    run = cli.out("pipelines", "execute", pipeline, "--input", '{"items":[1,2,3,4]}', "--parameters", '{"batch_size":1}')
    cli.run("executions", "watch", run)
    assert json.loads(cli.out("executions", "output", run, "--stage", "3")) == {
        "refs": ["input_ref"], "n": 6000, "sum": 4 * sum(range(1500))}
    assert json.loads(cli.out("executions", "output", run, "--stage", "4")) == {
        "refs": ["left_ref", "right_ref"], "n": 12000, "sum": 8 * sum(range(1500))}


# ---- agent run: stopping, dying, coming back -----------------------------------------------------------------


def test_agent_stops_gracefully(cli, panel, skill):
    task = cli.submit(skill)
    agent = cli.agent("sleep 1; echo 5", capability=skill).says("started")
    assert agent.stop() == 0
    assert panel.task(task)["result"] == 5


def test_idle_agent_stops_at_once_and_leaves_nothing_behind(cli, panel, skill):
    agent = cli.agent("echo 1", capability=skill, name="idle-" + skill).says("agent ")
    time.sleep(0.5)
    begun = time.monotonic()
    assert agent.stop() == 0
    assert time.monotonic() - begun < 5
    task = cli.submit(skill)
    time.sleep(1)
    assert panel.task(task)["status"] == "pending", "the parked claim of the stopped agent took it"
    again = cli.agent("echo 1", "--once", capability=skill, name="idle-" + skill)
    cli.wait_task(task, "completed")
    assert again.wait(10) == 0


def test_agent_gives_back_after_the_deadline(cli, panel, skill):
    task = cli.submit(skill)
    agent = cli.agent("sleep 50", "--stop-timeout", "0.3", capability=skill).says("started")
    assert agent.stop() == 0
    back = panel.task(task)
    assert back["status"] == "pending" and back["attempt"] == 0, (back, agent.log)


def test_a_second_signal_gives_back_at_once(cli, panel, skill):
    task = cli.submit(skill)
    agent = cli.agent("trap '' TERM; sleep 50; sleep 50", capability=skill).says("started")
    agent.terminate()
    agent.says("stopping")
    begun = time.monotonic()
    agent.send_signal(signal.SIGINT)
    assert agent.wait(20) == 0 and time.monotonic() - begun < 4
    assert panel.task(task)["status"] == "pending"


def test_killed_agent_comes_back_as_the_same_and_the_task_is_done(cli, panel, skill):
    task = cli.submit(skill)
    name = "killed-" + skill
    agent = cli.agent("sleep 50", capability=skill, name=name).says("started")
    first = panel.task(task)
    agent.kill()
    agent.wait()
    begun = time.monotonic()
    cli.agent("echo 6", "--once", capability=skill, name=name)
    done = cli.wait_task(task, "completed")
    assert done["result"] == 6 and done["fence"] > first["fence"]
    assert done["assigned_agent_id"] == first["assigned_agent_id"]
    # not by the lease running out, which takes a minute
    assert time.monotonic() - begun < 15


def test_task_of_a_killed_agent_is_redone_by_another(cli, new_panel, skill, tmp_path):
    panel = new_panel(TASK_LEASE=5, AGENT_HEARTBEAT_INTERVAL=3)
    cli = Cli(panel, tmp_path)
    try:
        task = cli.submit(skill)
        agent = cli.agent("sleep 50", "--heartbeat", "0.5", capability=skill).says("started")
        time.sleep(6)   # longer than the lease: heartbeats keep it, also on a machine that is busy for a while
        assert panel.task(task)["status"] == "running" and panel.task(task)["attempt"] == 1
        agent.kill()
        agent.wait()
        cli.agent("echo 8", "--once", capability=skill)
        assert cli.wait_task(task, "completed", seconds=30)["result"] == 8
    finally:
        cli.close()


def test_agent_outlives_the_panel(cli, new_panel, skill, tmp_path):
    panel = new_panel()
    cli = Cli(panel, tmp_path)
    try:
        task = cli.submit(skill)
        agent = cli.agent("sleep 2; echo 9", capability=skill, name="outlive").says("started")
        panel.kill("api")
        panel.kill("scheduler")
        time.sleep(3)   # the command ends while nobody is there to be told
        panel.start()
        assert cli.wait_task(task, "completed", seconds=60)["result"] == 9
        other = cli.submit(skill)
        assert cli.wait_task(other, "completed", seconds=30)["result"] == 9
        assert agent.stop() == 0
    finally:
        cli.close()


def test_one_process_for_an_identity(cli, skill):
    cli.agent("echo 1", capability=skill, name="only-" + skill).says("agent ")
    second = cli.run("agent", "run", "--name", "only-" + skill, "--", "true", status=5)
    assert "another mcpctl" in second.stderr


def test_a_removed_agent_ends(cli, skill):
    agent = cli.agent("echo 1", "--heartbeat", "0.3", "--wait", "1", capability=skill, name="gone-" + skill).says("agent ")
    agent_id = cli.json("agents", "list", "--capability", skill)[0]["agent_id"]
    cli.run("agents", "delete", agent_id)
    assert agent.wait(30) == 3, agent.log
    # and registers anew when it is started again
    task = cli.submit(skill)
    assert cli.agent("echo 1", "--once", capability=skill, name="gone-" + skill).wait(30) == 0
    assert cli.wait_task(task, "completed")["assigned_agent_id"] != agent_id


def test_a_claim_left_behind_takes_nothing_away(cli, skill):
    """The claim of a killed agent still waits at the panel; what it takes is given back by the next run."""
    name = "left-" + skill
    agent = cli.agent("echo 1", capability=skill, name=name).says("agent ")
    time.sleep(0.5)
    agent.kill()
    agent.wait()
    tasks = [cli.submit(skill) for _ in range(3)]
    begun = time.monotonic()
    cli.agent("echo 2", capability=skill, name=name)
    for task in tasks:
        assert cli.wait_task(task, "completed", seconds=30)["result"] == 2
    assert time.monotonic() - begun < 20, "only when the lease ran out"
