// SPDX-License-Identifier: MIT
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { NARROW, Tab, WIDE, launch } from "./browser.mjs";
import { Panel, STAGES, execute, fleet, pipelines, records, sleep, traffic, worker } from "./world.mjs";

const args = process.argv.slice(2),
	word = args.includes("-t") ? args[args.indexOf("-t") + 1] : "";
const [store = "sqlite", server = "lighttpd"] = args.filter((a, i) => !a.startsWith("-") && args[i - 1] !== "-t");
const EVIL = '<img src=x onerror="window.pwned=1"><script>window.pwned=2</script>';
const tests = [];
const test = (name, run) => tests.push({ name, run });

let panel, browser, tab, world, evil;

// ---- coming in --------------------------------------------------------------------------------------------------

test("a wrong password is refused in the API's words, with the request's id", async () => {
	const own = await Tab.open(browser, panel);

	await own.page.goto(panel.url + "/#/tasks?status=failed");
	await own.page.fill("#username", panel.user);
	await own.page.fill("#password", "not this one");
	await own.page.click("button[type=submit]");
	await own.see("form .wrong", /request [0-9a-f-]{36}/);
	own.forgive(/401/);
	await own.page.fill("#password", panel.password);
	await own.page.click("button[type=submit]");
	await own.see("h1", "Tasks");
	assert.match(own.page.url(), /#\/tasks\?status=failed$/, "the address asked for is the one shown");
	assert.deepEqual(own.take(), []);
	await own.close();
});

test("the token is out of reach of scripts, and a reload keeps session and view", async () => {
	await tab.go("/tasks?status=completed&priority=high");
	await tab.page.reload();
	await tab.see("h1", "Tasks");
	await tab.see(".chip.on", "completed");
	assert.match(tab.page.url(), /status=completed&priority=high/);
	const stored = await tab.page.evaluate(() =>
		JSON.stringify([
			{ ...localStorage },
			{ ...sessionStorage },
			document.cookie,
			Object.keys(window).filter(k => /token/i.test(k))
		])
	);

	assert.ok(!/ey[JI]|refresh/.test(stored), stored);
	const cookie = (await tab.context.cookies(panel.url + "/api/v1/auth/refresh")).find(c => c.name === "mcp_refresh");

	assert.ok(
		cookie?.httpOnly && cookie.sameSite === "Strict" && cookie.path === "/api/v1/auth",
		JSON.stringify(cookie)
	);
});

test("the first paint comes within a second", async () => {
	const own = await Tab.open(browser, panel);

	await own.page.goto(panel.url + "/");
	await own.page.waitForSelector("#username");
	const paint = await own.page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime);

	assert.ok(paint > 0 && paint <= 1000, `first contentful paint after ${paint} ms`);
	await own.close();
});

test("who lacks a right does not see its button", async () => {
	await panel.post("/users", { username: "shift-lead", password: "correct horse 7 battery", role: "supervisor" });
	const own = await (await Tab.open(browser, panel)).login("shift-lead", "correct horse 7 battery");

	await own.go("/pipelines/" + world.main.pipeline_id);
	await own.see("h1", "intake-records");
	assert.equal((await own.button("Run").count()) + (await own.button("Delete").count()), 0);
	await own.go("/agents");
	await own.see("td a", "reader");
	assert.equal(await own.page.getByRole("button", { name: /Drain|Remove/ }).count(), 0);
	assert.equal(await own.page.locator("a[href='#/audit']").count(), 0);
	await own.go("/pipelines/new");
	await own.see("h1", "Not for this account");
	assert.deepEqual(own.take(), []);
	await own.close();
});

// ---- looking ----------------------------------------------------------------------------------------------------

test("the overview shows the last hour, also after a reload", async () => {
	for (const again of [false, true]) {
		if (again) await tab.page.reload();
		else await tab.go("/overview");
		await tab.ready();
		await tab.see(".tile", /Health\s*healthy/i);
		await tab.sees(
			"charts with bars",
			() =>
				window.Chart &&
				Object.values(window.Chart.instances).length === 2 &&
				Object.values(window.Chart.instances)[0].data.datasets[0].data.some(p => p.y > 0)
		);
		assert.equal(await tab.page.locator("th .prio").count(), 4);
	}
	assert.equal(await tab.mode(), "live");
});

// The API's answer to `path` goes through `change` on its way.
async function changed(path, change) {
	const pattern = new RegExp(`/api/v1${path}(\\?|$)`);

	await tab.page.route(pattern, async route => {
		try {
			const response = await route.fetch();
			const json = await response.json();

			change(json.data);
			await route.fulfill({ response, json });
		} catch {
			// on its way when the page, or the test, had gone on
		}
	});
	return () => tab.page.unroute(pattern);
}

test("a fresh panel's first minute counts, and its one point is a dot in sight", async () => {
	const restore = await changed("/system/metrics", data => {
		data.series.forEach((p, i, all) => {
			const now = i === all.length - 1;

			for (const key of Object.keys(p).filter(k => k !== "at")) p[key] = /_ms$/.test(key) ? null : 0;
			if (now) Object.assign(p, { created: 150, completed: 140, requests: 300, request_p95_ms: 8, request_p50_ms: 2 });
		});
	});

	try {
		await tab.go("/agents");
		await tab.go("/overview");
		await tab.see(".tile", /Tasks a minute\s*140\s*in this minute/);
		await tab.sees("the dot", () => {
			const chart = window.Chart && Object.values(window.Chart.instances)[1];
			const dots = chart?.getDatasetMeta(0).data.filter(p => p.options.radius > 0) ?? [];

			return dots.length === 1 && dots[0].x > chart.chartArea.left && dots[0].x <= chart.chartArea.right;
		});
	} finally {
		await restore();
	}
});

test("what needs a look is capped and led on from, and the alerts' page keeps it", async () => {
	const alert = i => ({
		alert_id: `01900000-0000-7000-8000-0000000000${10 + i}`,
		kind: "agent_anomaly",
		subject: world.agents.reader.id,
		status: i % 2 ? "active" : "resolved",
		severity: i === 9 ? "critical" : "warning",
		message: `Only ${i} % succeeded.`,
		value: i / 100,
		threshold: 0.8,
		unit: "share",
		since: new Date(Date.now() - i * 60e3).toISOString(),
		last_seen: new Date().toISOString(),
		resolved_at: i % 2 ? null : new Date().toISOString(),
		runbook: "docs/guides/runbooks.md#agent_anomaly"
	});
	const restore = await changed("/alerts", data =>
		data.splice(0, data.length, ...Array.from({ length: 19 }, (_, i) => alert(i)))
	);

	try {
		await tab.go("/agents");
		await tab.go("/overview");
		await tab.see(".alerts li a", "reader");
		assert.equal(await tab.page.locator(".alerts li").count(), 6);
		assert.match(await tab.text(".alerts li"), /critical/);
		await tab.page.locator(".more-rows").getByRole("link", { name: "all alerts" }).click();
		await tab.see("h1", "Alerts");
		await tab.see(".grid .row", "resolved");
		await tab.page.locator(".grid .row", { hasText: "Only 3 %" }).locator(".c-wide").click();
		await tab.see("dialog", /runbooks\.md#agent_anomaly/);
		assert.match(await tab.text("dialog"), /80\.0 %/);
		await tab.page.keyboard.press("Escape");
		await tab.page.getByLabel("State").selectOption("active");
		assert.match(tab.page.url(), /#\/alerts\?status=active$/);
	} finally {
		await restore();
	}
});

test("an agent's page has its figures in sight, and a full agent is no bad one", async () => {
	const agent = (await panel.agent("both-hands", { capabilities: ["both-hands"], work: worker(60) })).start();
	const t = await panel.post("/tasks", { type: "carry", requirements: { capabilities: ["both-hands"] } });

	await panel.until("the task's end", "/tasks/" + t.task_id, x => x.status === "completed");
	agent.stop();
	await agent.call(`/agents/${agent.id}/heartbeat`, { status: "busy", current_load: 1 });
	await tab.go("/agents/" + agent.id);
	await tab.see(".facts", /Score\s*(99|100) of 100/);
	const figures = tab.page.locator("section", { has: tab.page.getByRole("heading", { name: "Figures" }) });

	assert.match(await figures.innerText(), /Last hour\s+Last day\s+All time/);
	assert.ok((await figures.boundingBox()).y < 200, "the figures come first");
	await tab.go("/tasks?type=carry");
	await tab.see(".grid .row", "both-hands");
	await panel.call("DELETE", "/agents/" + agent.id);
});

const pages = () => ({
	overview: "/overview",
	agents: "/agents",
	agent: "/agents/" + world.agents.reader.id,
	tasks: "/tasks",
	task: "/tasks/" + evil.task.task_id,
	submit: "/tasks/new",
	pipelines: "/pipelines",
	pipeline: "/pipelines/" + world.main.pipeline_id,
	editor: `/pipelines/${world.main.pipeline_id}/edit`,
	runs: "/runs",
	run: `/runs/${world.run.execution_id}?stage=2`,
	"dead letters": "/dead-letters",
	events: "/events",
	alerts: "/alerts",
	audit: "/audit",
	api: "/api"
});

for (const [width, viewport] of [
	["1280", WIDE],
	["390", NARROW]
])
	for (const theme of ["light", "dark"])
		test(`every page at ${width} in ${theme}: axe-core finds nothing serious, nothing sticks out`, async () => {
			const own = await Tab.open(browser, panel, { viewport, theme }),
				found = [];

			await own.page.goto(panel.url + "/");
			await own.page.waitForSelector("#username");
			await sleep(100);
			found.push(...(await own.axe()).map(x => `login: ${x}`));
			await own.login();
			for (const [name, address] of Object.entries(pages())) {
				await own.go(address);
				await sleep(250);
				found.push(...(await own.axe()).map(x => `${name}: ${x}`));
				const sticks = await own.page.evaluate(() => document.documentElement.scrollWidth - innerWidth);

				if (sticks > 1) found.push(`${name}: ${sticks} px too wide`);
			}
			assert.deepEqual([...found, ...own.take()], []);
			await own.close();
		});

test("what strangers write is text and nothing else", async () => {
	for (const [address, ...words] of [
		["/agents", EVIL],
		["/agents/" + evil.agent.id, EVIL],
		["/pipelines", EVIL],
		["/pipelines/" + evil.pipeline.pipeline_id, EVIL, EVIL],
		["/tasks/" + evil.task.task_id, EVIL, EVIL],
		["/dead-letters", EVIL],
		[`/pipelines/${evil.pipeline.pipeline_id}/edit`],
		["/runs/" + evil.run.execution_id],
		["/events"],
		["/tasks"],
		["/overview"]
	]) {
		await tab.go(address);
		for (const w of words) await tab.see("#main", w);
	}
	await tab.go("/dead-letters?type=evil");
	await tab
		.button(/^Inspect evil/)
		.first()
		.click();
	await tab.see("dialog", EVIL);
	await tab.page.keyboard.press("Escape");
	assert.equal(await tab.page.evaluate(() => window.pwned), undefined);
	assert.equal(await tab.page.locator("img[src='x'], #main script").count(), 0);
});

test("the list of tasks draws few rows, pages on as one scrolls, and keeps its filter in the address", async () => {
	await tab.go("/tasks?type=bulk");
	await tab.sees("the first page", () => document.querySelectorAll(".grid .rows .row").length > 10);
	const scroller = tab.page.locator(".scroller");

	for (let i = 0; i < 12; i++) {
		await scroller.evaluate(s => {
			s.scrollTop = s.scrollHeight;
		});
		await sleep(120);
	}
	await tab.sees(
		"rows beyond the first pages",
		() =>
			Math.max(
				...[...document.querySelectorAll(".grid .row[aria-rowindex]")].map(
					r => +r.getAttribute("aria-rowindex")
				)
			) > 600
	);
	assert.ok((await tab.page.locator(".grid .rows .row").count()) < 80, "rows in the document");
	await tab.button("Newest").click();
	await tab.sees("the top", () => document.querySelector(".scroller").scrollTop === 0);
	await tab.button("cancelled").click();
	await tab.see(".list .empty", "No task matches.");
	assert.match(tab.page.url(), /#\/tasks\?type=bulk&status=cancelled$/);
	await tab.page.reload();
	await tab.see(".chip.on", "cancelled");
	await tab.button("cancelled").click();
	await scroller.focus();
	for (const key of ["ArrowDown", "ArrowDown", "Enter"]) await tab.page.keyboard.press(key);
	await tab.see("h1", "bulk");
});

// ---- doing ------------------------------------------------------------------------------------------------------

test("the submit form is the schema's, and a wrong field says so itself", async () => {
	await tab.go("/tasks/new");
	await tab.page.getByLabel("type", { exact: false }).first().fill("Not A Slug");
	await tab.button("Submit").click();
	await tab.see(".field.invalid", /type/i);
	tab.forgive(/400/);
	await tab.page.locator("#f-type").fill("slow");
	await tab.page.locator("#f-requirements-capabilities").fill("slow");
	await tab.page.locator("#f-parameters").fill('{"document": "a.png"');
	await tab.button("Submit").click();
	await tab.see(".field.invalid small.wrong", /JSON/);
	await tab.page.locator("#f-parameters").fill('{"document": "a.png"}');
	await tab.page.locator("#f-priority").selectOption("critical");
	await tab.button("Submit").click();
	await tab.see("h1", "slow");
	// Its log comes while it runs.
	await tab.see(".log .line", "step 2 of 8");
	assert.match(await tab.text(".titles"), /running/);
	await tab.see(".titles .badge", "completed");
	await tab.see(".log .line", "finished");
	await tab.see(".j-tree", "weather");
});

test("a task that nobody can take says so", async () => {
	const t = await panel.post("/tasks", { type: "lost", requirements: { capabilities: ["a-modem"] } });

	await tab.go("/tasks/" + t.task_id);
	await tab.see(".timeline", /No agent that is online can a-modem/);
	await panel.post(`/tasks/${t.task_id}/cancel`);
});

test("a circle of stages is named and not sent", async () => {
	await tab.go("/pipelines/new");
	await tab.page.fill("#p-name", "round-and-round");
	await tab.page.locator(".stage-card").nth(1).getByRole("button", { name: "4", exact: true }).click();
	await tab.see(".wrong", "Stages 2, 3 and 4 wait for each other in a circle");
	await tab.button("Define it").click();
	await tab.see(".problem", "Stages 2, 3 and 4");
	assert.match(tab.page.url(), /#\/pipelines\/new$/);
});

test("what was typed waits for one who went elsewhere, until it is sent or dropped", async () => {
	await tab.go("/pipelines/new");
	await tab.page.fill("#p-name", "left-open");
	await tab.go("/overview");
	await tab.go("/pipelines/new");
	await tab.see(".note", "not saved yet");
	assert.equal(await tab.page.inputValue("#p-name"), "left-open");
	await tab.button("Start afresh").click();
	await tab.sees("an empty form", () => document.querySelector("#p-name").value === "");
	await tab.gone("div.note");
	assert.equal(await tab.page.locator(".graph .node").count(), 6);
	await tab.go("/overview");
	await tab.go("/pipelines/new");
	assert.equal(await tab.page.locator("div.note").count(), 0);
	await tab.go("/tasks/new");
	await tab.page.fill("#f-parameters", '{"half": ');
	await tab.go("/tasks");
	await tab.go("/tasks/new");
	assert.equal(await tab.page.inputValue("#f-parameters"), '{"half": ');
	await tab.button("Start afresh").click();
	await tab.sees("an empty form", () => document.querySelector("#f-parameters").value === "");
});

test("a session that ends asks for the password and goes on where it was", async () => {
	const password = "correct horse 8 battery";
	const { user_id: id } = await panel.post("/users", { username: "night-shift", password, role: "admin" });
	const own = await (await Tab.open(browser, panel)).login("night-shift", password);

	await own.go("/tasks/new?from=here");
	await own.page.fill("#f-type", "half-typed");
	await panel.call("PUT", "/users/" + id, { enabled: false });
	await own.button("Submit").click();
	await own.see(".toast", "Your session has ended");
	await own.see("button", "Sign in");
	own.forgive(/401/);
	await panel.call("PUT", "/users/" + id, { enabled: true });
	await own.page.fill("#username", "night-shift");
	await own.page.fill("#password", password);
	await own.page.click("button[type=submit]");
	await own.see("h1", "Submit a task");
	assert.match(own.page.url(), /#\/tasks\/new\?from=here$/);
	assert.equal(await own.page.inputValue("#f-type"), "half-typed");
	own.forgive(/401|WebSocket/);
	assert.deepEqual(own.take(), []);
	await own.close();
});

test("a pipeline is defined, run, and watched as it goes", async () => {
	await tab.go("/pipelines/new");
	await tab.page.fill("#p-name", "from-the-editor");
	assert.equal(await tab.page.locator(".graph .node").count(), 6);
	for (let n = 6; n > 3; n--) await tab.button(`Remove stage ${n}`).click();
	await tab.sees("three stages", () => document.querySelectorAll(".graph .node").length === 3);
	for (const [i, capability] of ["ingest", "standardize", "export"].entries()) {
		await tab.page.fill(`#s${i}-name`, `step-${i + 1}`);
		await tab.page.fill(`#s${i}-caps`, capability);
	}
	await tab.page.locator(".stage-card").nth(2).getByRole("button", { name: "1", exact: true }).click();
	await tab.sees("three lines", () => document.querySelectorAll(".graph .edge").length === 3);
	await tab.button("Define it").click();
	await tab.see("h1", "from-the-editor");
	await tab.button("Run").first().click();
	await tab.page.fill("#run-input", JSON.stringify(records(3)));
	await tab.page.locator("dialog").getByRole("button", { name: "Run" }).click();
	await tab.see(".graph .node.running");
	await tab.see(".gantt .stage");
	await tab.see(".titles .badge", "completed");
	assert.equal(await tab.page.locator(".graph .node.completed").count(), 3);
	assert.match(await tab.text(".progress"), /100 %/);
	await tab.page.locator(".graph .node").nth(1).click();
	assert.match(tab.page.url(), /\?stage=2$/);
	await tab.button("Show its output").click();
	await tab.see(".json", "items");
	const [file] = await Promise.all([tab.page.waitForEvent("download"), tab.button("As CSV").click()]);

	assert.equal(file.suggestedFilename(), "from-the-editor-stage-2.csv");
	assert.match(await readFile(await file.path(), "utf8"), /site/);
});

test("what a page shows is at most a second old", async () => {
	const run = await execute(panel, world.main, 20, { scale: 1 });

	await tab.go("/runs/" + run.execution_id);
	for (const end = Date.now() + 30000; Date.now() < end;) {
		const { status, completed_stages: done } = await panel.get("/executions/" + run.execution_id);

		// What the API said now the page says within a second.
		await tab.sees(
			`${done.length} stages done`,
			n => document.querySelectorAll(".graph .node.completed").length >= n,
			done.length,
			1000
		);
		if (status === "completed") return;
		await sleep(100);
	}
	assert.fail("the run did not end");
});

test("a run is paused, resumed, cancelled after one question; a failed one is retried from its failed stage", async () => {
	const run = await execute(panel, world.main, 60, { scale: 2 });

	await tab.go("/runs/" + run.execution_id);
	await tab.button("Pause").click();
	await tab.see(".titles .badge", "paused");
	await tab.button("Resume").click();
	await tab.see(".titles .badge", "running");
	await tab.button("Cancel").click();
	await tab.button("Keep it").click();
	await sleep(300);
	assert.match(await tab.text(".titles"), /running/);
	await tab.button("Cancel").click();
	await tab.button("Cancel the run").click();
	await tab.see(".titles .badge", "cancelled");

	await tab.go("/runs/" + world.failed.execution_id);
	await tab.see(".titles .badge", "failed");
	await tab.sees("the stages that succeeded", () => document.querySelectorAll(".graph .node.completed").length >= 3);
	world.mended = true;
	await tab.button("Retry from the failed stage").click();
	await tab.see(".titles .badge", "completed");
});

test("a failed task is tried again from its page, and many from the dead letters", async () => {
	world.mended = false;
	await panel.post("/tasks/batch", {
		tasks: Array.from({ length: 5 }, (_, i) => ({
			type: "mend",
			max_retries: 0,
			requirements: { capabilities: ["ocr"] },
			parameters: { broken: true, i }
		}))
	});
	const dead = await panel.until("five dead letters", "/tasks/dead-letters?type=mend", d => d.length === 5);

	world.mended = true;
	await tab.go("/tasks/" + dead[0].task_id);
	await tab.see(".wrongs", "scanner_jam");
	await tab.button("Try again").click();
	await tab.see(".titles .badge", "completed");
	assert.equal((await tab.page.locator(".timeline li").count()) >= 4, true);

	await tab.go("/dead-letters?type=mend");
	await tab.sees("four rows", () => document.querySelectorAll(".grid .rows .row").length === 4);
	for (const i of [0, 1]) await tab.page.locator(".grid .rows input[type=checkbox]").nth(i).check();
	await tab.button("Try 2 again").click();
	await tab.see(".toast", "2 are tried again.");
	await tab.sees("two rows", () => document.querySelectorAll(".grid .rows .row").length === 2);
	await tab.button("Try all again").click();
	await tab.page.locator("dialog").getByRole("button", { name: "Try all again" }).click();
	await tab.see(".list .empty", "No dead letter matches.");
});

test("an agent is drained, comes back, and is removed after one question", async () => {
	const agent = (await panel.agent("leaver", { capabilities: ["leave"] })).start();

	await tab.go("/agents/" + agent.id);
	await tab.button("Drain").click();
	await tab.see(".titles .badge", "draining");
	assert.equal((await panel.get("/agents/" + agent.id)).draining, true);
	await tab.button("Undrain").click();
	await tab.see(".titles .badge", /active|busy/);
	await tab.go("/agents?find=leaver");
	await tab.button("Drain leaver").click();
	await tab.see("tr .badge", "draining");
	agent.stop();
	await tab.button("Remove leaver").click();
	await tab.button("Keep it").click();
	await tab.button("Remove leaver").click();
	await tab.button("Remove the agent").click();
	await tab.see(".empty", "No agent matches.");
});

test("an error is shown in the API's words with the request's id", async () => {
	const [t] = await panel.get("/tasks?status=completed&limit=1");

	await tab.go("/tasks/00000000-0000-7000-8000-000000000000");
	await tab.see(".problem", /request [0-9a-f-]{36}/);
	tab.forgive(/404/);
	await tab.go("/tasks/" + t.task_id);
	await tab.see(".titles .badge", "completed");
});

test("events come in as they happen, and the audit log's chains are whole", async () => {
	await tab.go("/events");
	const t = await panel.post("/tasks", {
		type: "seen-live",
		requirements: { capabilities: ["ocr"] },
		parameters: {}
	});

	await tab.see(".feed li", t.task_id.slice(-8), { timeout: 1500 });
	await tab.go("/audit");
	await tab.sees("records", () => document.querySelectorAll(".grid .rows .row").length > 3);
	await tab.page.locator(".grid .rows .row").first().locator(".c-time").click();
	await tab.see("dialog .json", "audit_id");
	await tab.page.keyboard.press("Escape");
	await tab.button("Verify the chains").click();
	await tab.see(".note", /records in \d+ chains/);
});

// ---- losing and finding -----------------------------------------------------------------------------------------

test("without the relay the page asks each second; when the relay is back it is live again, and missed nothing", async () => {
	await tab.go("/events");
	await panel.mcp("down", "relay");
	await tab.see(".pill", "polling");
	const t = await panel.post("/tasks", {
		type: "behind-its-back",
		requirements: { capabilities: ["ocr"] },
		parameters: {}
	});

	await tab.go("/tasks/" + t.task_id);
	await tab.see(".titles .badge", "completed");
	await tab.go("/events");
	await tab.see(".feed li", t.task_id.slice(-8));
	await panel.mcp("up", "relay");
	await tab.see(".pill", "live");
	const later = await panel.post("/tasks", {
		type: "before-its-eyes",
		requirements: { capabilities: ["ocr"] },
		parameters: {}
	});

	await tab.see(".feed li", later.task_id.slice(-8));
	tab.forgive(/WebSocket|503|502|ws/);
});

test("a relay that hangs without a word is noticed within seconds", async () => {
	const pid = panel.pid("relay");

	await tab.go("/tasks");
	await tab.see(".pill", "live");
	process.kill(pid, "SIGSTOP");
	try {
		await tab.see(".pill", "polling", { timeout: 8000 });
		const t = await panel.post("/tasks", {
			type: "meanwhile",
			requirements: { capabilities: ["nobody"] },
			parameters: {}
		});

		await tab.see(".grid .row", t.task_id.slice(-8), { timeout: 1500 });
	} finally {
		process.kill(pid, "SIGCONT");
	}
	await tab.see(".pill", "live");
	tab.forgive(/WebSocket|ws/);
});

test("on a narrow screen every page is in reach of a thumb", async () => {
	const own = await (await Tab.open(browser, panel, { viewport: NARROW })).login();

	for (const [name, title] of [
		["Agents", "Agents"],
		["Tasks", "Tasks"],
		["Pipelines", "Pipelines"],
		["Overview", "Overview"]
	]) {
		await own.page.locator(".dock").getByRole("link", { name }).click();
		await own.see("h1", title);
	}
	for (const name of ["Dead letters", "Events", "API"]) {
		await own.page.locator(".dock").getByRole("button", { name: "More" }).click();
		await own.page.locator("dialog").getByRole("link", { name }).click();
		await own.see("h1", name);
	}
	assert.deepEqual(own.take(), []);
	await own.close();
});

test("when nothing answers the header says so, and it heals by itself", async () => {
	await tab.go("/overview");
	await panel.mcp("down", "api");
	await tab.see(".pill", "offline");
	await tab.see(".tile", /Health/);
	await panel.mcp("up", "api");
	await tab.see(".pill", "live");
	tab.forgive(/WebSocket|50\d|ws|Failed to load/);
	await tab.gone(".problem");

	// A reload meanwhile waits too, and does not ask for the password.
	await panel.mcp("down", "api");
	await tab.page.reload();
	await tab.see(".boot", "does not answer");
	await panel.mcp("up", "api");
	await tab.see(".pill", "live");
	await tab.see("h1", "Overview");
	tab.forgive(/WebSocket|50\d|ws|Failed to load/);
});

test("the theme's switch works and is kept", async () => {
	await tab.go("/overview");
	const ground = () => tab.page.evaluate(() => getComputedStyle(document.body).backgroundColor);
	const light = await ground();

	await tab.page.getByRole("button", { name: /^Theme: as the system/ }).click();
	await tab.page.getByRole("button", { name: /^Theme: light/ }).click();
	assert.notEqual(await ground(), light);
	await tab.page.reload();
	await tab.ready();
	assert.notEqual(await ground(), light);
	await tab.page.getByRole("button", { name: /^Theme: dark/ }).click();
});

test("signing out ends it", async () => {
	await tab.button("Sign out").click();
	await tab.see("button", "Sign in");
	await tab.page.reload();
	await tab.see("button", "Sign in");
	assert.equal(
		(await tab.context.cookies(panel.url + "/api/v1/auth/refresh")).filter(c => c.name === "mcp_refresh" && c.value)
			.length,
		0
	);
});

// ---- the world and the run --------------------------------------------------------------------------------------

async function evilThings() {
	const agent = (
		await panel.agent(EVIL, {
			capabilities: ["evil"],
			work: async (task, { log }) => {
				await log(EVIL);
				throw { type: "validation", code: "evil", message: EVIL, details: { [EVIL]: EVIL } };
			}
		})
	).start();
	const task = await panel.post("/tasks", {
		type: "evil",
		max_retries: 0,
		requirements: { capabilities: ["evil"] },
		concurrency_key: EVIL,
		parameters: { [EVIL]: EVIL }
	});
	const pipeline = await panel.post("/pipelines", {
		name: EVIL,
		description: EVIL,
		stages: [{ name: EVIL, type: "evil", capabilities: ["evil"], max_retries: 0 }]
	});
	const run = await panel.post(`/pipelines/${pipeline.pipeline_id}/execute`, { input_data: {} });

	await panel.until("the evil task's end", "/tasks/" + task.task_id, t => t.status === "failed");
	return { agent, task, pipeline, run };
}

async function build() {
	const agents = await fleet(panel, 1.5),
		defined = await pipelines(panel);

	world = { agents, ...defined, mended: false };
	const mender = async (task, tools) => {
		if (task.parameters?.broken && !world.mended)
			throw { type: "validation", code: "scanner_jam", message: "The paper is stuck." };
		return worker(120)(task, tools);
	};

	agents["processor-1"].work = agents["processor-2"].work = mender;
	const assess = agents.assessor.work;

	agents.assessor.work = (task, tools) => (world.mended ? worker(150)(task, tools) : assess(task, tools));
	(
		await panel.agent("slow-one", { capabilities: ["slow"], work: worker(4000, () => ({ weather: "fine" }), 8) })
	).start();
	await traffic(panel, 24);
	world.run = await execute(panel, world.main, 20);
	world.failed = await execute(panel, world.main, 10, { fail: "quality_assessment" });
	for (let i = 0; i < 2; i++)
		await panel.post("/tasks/batch", {
			tasks: Array.from({ length: 500 }, () => ({
				type: "bulk",
				priority: "low",
				requirements: { capabilities: ["bulk"] }
			}))
		});
	evil = await evilThings();
	await panel.until(
		"the first run's end",
		"/executions/" + world.run.execution_id,
		r => r.status === "completed",
		40
	);
	await panel.until(
		"the failing run's end",
		"/executions/" + world.failed.execution_id,
		r => r.status === "failed",
		40
	);
}

let passed = 0,
	failed = 0;

try {
	panel = await new Panel({ store, server }).start();
	browser = await launch();
	await build();
	tab = await (await Tab.open(browser, panel)).login();
	for (const { name, run } of tests.filter(t => t.name.includes(word))) {
		const begin = Date.now();

		try {
			await run();
			assert.deepEqual(tab.take(), [], "the page complained");
			passed++;
			console.log(`ok      ${name} (${Date.now() - begin} ms)`);
		} catch (error) {
			failed++;
			console.log(
				`FAILED  ${name} (${Date.now() - begin} ms)\n        at ${tab.page.url()}\n${String(error.stack ?? error).replace(/^/gm, "        ")}`
			);
			if (process.env.BROWSER_SHOTS)
				await tab.page
					.screenshot({ path: `${process.env.BROWSER_SHOTS}/failed-${failed}.png` })
					.catch(() => {});
			tab.take();
		}
	}
} catch (error) {
	failed++;
	console.error(error);
} finally {
	await browser?.close();
	await panel?.stop();
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
