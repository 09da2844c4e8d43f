# SPDX-License-Identifier: MIT
"""Fixtures of the API tests. A panel is shared by all modules of a run, so a test works with agents, capabilities
and names of its own (`unique()`), and no module may leave a process dead behind it.

Modules marked `extended` run on two pairs, SQLite behind lighttpd and MongoDB behind Apache; the others on all four.
"""
import pytest

from panel import Panel
from support import Receiver, unique

FULL = {("sqlite", "lighttpd"), ("mongo", "apache")}

# Times so short that a test can wait for them. A lease is renewed well within two seconds on a busy machine too.
QUICK = {
    "TASK_LEASE": 2,
    "AGENT_ASSIGNMENT_TIMEOUT": 1,
    "AGENT_HEARTBEAT_INTERVAL": 1,
    "AGENT_PROBE_INTERVAL": 1,
}


def pytest_configure(config):
    config.addinivalue_line("markers", "extended: needs only one web server and store of each kind")


def pytest_collection_modifyitems(config, items):
    pair = config.getoption("--store"), config.getoption("--server")
    if pair in FULL or config.getoption("keyword") or any("::" in arg or arg.endswith(".py") for arg in config.args):
        return
    kept = [item for item in items if not item.get_closest_marker("extended")]
    config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("extended")])
    items[:] = kept


@pytest.fixture(scope="session")
def quick(panel_options):
    """A second panel, whose leases and intervals last a second."""
    with Panel(settings={k: str(v) for k, v in QUICK.items()}, **panel_options) as made:
        yield made


def processes(panel):
    return {part: (panel.pid(part), panel.children(part) if part == "api" else []) for part in ("redis", "relay", "api", "scheduler", "web")}


@pytest.fixture(scope="module", autouse=True)
def nobody_died(request):
    """After the tests of a module every process of the shared panels still is the one it was before."""
    shared = [request.getfixturevalue(name) for name in ("panel", "quick") if uses(request, name)]
    before = [processes(p) for p in shared]
    yield
    for panel, were in zip(shared, before):
        assert processes(panel) == were, panel.log("api")[-2000:]
        assert all(panel.running(part) for part in were)
        assert not panel.sanitizer_findings()


def uses(request, name):
    return any(name in item.fixturenames for item in request.session.items if item.module is request.module)


@pytest.fixture
def receiver():
    """A web server on the loopback that keeps what it gets (see support.Receiver)."""
    with Receiver() as made:
        yield made


@pytest.fixture(scope="session")
def people(panel):
    """Access token of a person of each role."""
    tokens = {}
    for role in ("worker", "supervisor", "admin", "system"):
        name = unique(role)
        panel.post("/users", {"username": name, "password": "a long enough word", "role": role}).expect(201)
        tokens[role] = panel.login(name, "a long enough word")
    return tokens


@pytest.fixture(scope="session")
def agents(panel):
    """A registered agent of each role."""
    return {role: panel.register_agent(role=role) for role in ("worker", "supervisor", "admin", "system")}
