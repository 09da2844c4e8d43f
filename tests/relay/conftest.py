# SPDX-License-Identifier: MIT
"""Fixtures of the relay's tests: a real panel, and clients of others (tests/package.json) in a node process.

A panel is shared by a whole run: tests use agents, tasks and names of their own. Tests that kill something take
`new_panel`.
"""
import os
import shutil

import pytest

from clients import Driver
from panel import Panel

HERE = os.path.dirname(os.path.abspath(__file__))


def pytest_collection_modifyitems(config, items):
    why = None
    if not shutil.which("node"):
        why = "no node here"
    elif not os.path.isdir(os.path.join(os.path.dirname(HERE), "node_modules", "socket.io-client")):
        why = "the npm packages are not there (npm ci --prefix tests)"
    for item in items if why else ():
        item.add_marker(pytest.mark.skip(reason=why))


NOBODY = {"capabilities": ["nobody-has-this"]}


def private_tasks(panel):
    """Tasks that name no capability are for nobody: any agent would take them."""
    submit = panel.submit
    panel.submit = lambda type="echo", **more: submit(type, **{"requirements": NOBODY, **more})
    return panel


@pytest.fixture(scope="session")
def panel(panel_options):
    """Its relay is the same process after all tests as before."""
    with Panel(**panel_options) as shared:
        before = shared.pid("relay")
        yield private_tasks(shared)
        assert shared.running("relay") and shared.pid("relay") == before, shared.log("relay")[-2000:]


@pytest.fixture(scope="module")
def driver():
    made = Driver()
    yield made
    made.close()


@pytest.fixture
def ws(driver, panel):
    """ws(path="", token=..., subscribe=...): an authenticated socket of npm's ws on the shared panel, through its web server."""
    opened = []

    def make(path="", token=None, on=None, **more):
        where = on or panel
        opened.append(driver.ws(where.ws_url + path, token=token or where.admin_token, **more))
        return opened[-1]

    yield make
    for client in opened:
        client.do("ws.terminate")


@pytest.fixture
def people(panel):
    """Tokens of a fresh worker (an agent) and a supervisor (a person)."""
    agent = panel.register_agent()
    name = "p" + os.urandom(5).hex()
    panel.post("/users", {"username": name, "password": "a long enough word", "role": "supervisor"}).expect(201)
    return {"agent": agent, "supervisor": panel.login(name, "a long enough word")}

