// SPDX-License-Identifier: MIT
// A panel of its own for the browser tests and the screenshots, started by ./mcp as a user starts one, and a small
// world in it: agents that take and do tasks over REST, tasks of every state, pipelines that run.
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const run = promisify(execFile);
export const TREE = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
export const sleep = ms => new Promise(done => setTimeout(done, ms));

const SETTINGS = {
	ENVIRONMENT: "test",
	BCRYPT_COST: "4",
	RATE_LIMIT_API: "100000000",
	RATE_LIMIT_SUBMIT: "100000000",
	RATE_LIMIT_HEARTBEAT: "1000000",
	RATE_LIMIT_AUTH_FAILURES: "100000",
	RATE_LIMIT_ACCOUNT_FAILURES: "100000",
	AGENT_HEARTBEAT_INTERVAL: "2"
};

export class ApiError extends Error {}

export class Panel {
	// home: a panel that is there already, else one of its own is made and removed again.
	constructor({ home = null, server = "lighttpd", store = "sqlite" } = {}) {
		this.own = !home;
		this.home = home ?? mkdtempSync(join(tmpdir(), "mcp-b."));
		Object.assign(this, { server, store, agents: [], token: null });
	}

	async mcp(...args) {
		const env = { ...process.env, MCP_HOME: this.home, MCP_NO_BUILD: "1" };
		return (await run(join(TREE, "mcp"), args, { env, timeout: 120000 })).stdout;
	}

	async start() {
		if (this.own)
			await this.mcp(
				"up",
				"--store",
				this.store,
				"--server",
				this.server,
				...Object.entries(SETTINGS).map(([k, v]) => `--set=${k}=${v}`)
			);
		const env = Object.fromEntries(
			readFileSync(join(this.home, "run/env"), "utf8")
				.trim()
				.split("\n")
				.map(line => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1).replaceAll("\\", "")])
		);
		this.url = env.MCP_URL;
		this.user = env.MCP_ADMIN_USER;
		this.password = readFileSync(env.MCP_ADMIN_PASSWORD_FILE, "utf8").trim();
		this.token = (await this.post("/auth/login", { username: this.user, password: this.password })).access_token;
		return this;
	}

	async stop() {
		for (const agent of this.agents) agent.stop();
		if (!this.own) return;
		await this.mcp("down").catch(() => {});
		rmSync(this.home, { recursive: true, force: true });
	}

	pid(part) {
		return Number(readFileSync(join(this.home, `run/${part}.pid`), "utf8").split(" ")[0]);
	}

	async call(method, path, body, token = this.token) {
		const headers = {};
		if (body !== undefined) headers["Content-Type"] = "application/json";
		if (token) headers.Authorization = "Bearer " + token;
		const answer = await fetch(this.url + "/api/v1" + path, {
			method,
			headers,
			body: body === undefined ? undefined : JSON.stringify(body)
		});
		const json = await answer.json();
		if (!json.success) throw new ApiError(`${method} ${path}: ${answer.status} ${JSON.stringify(json.error)}`);
		return json.data;
	}
	get(path) {
		return this.call("GET", path);
	}
	post(path, body = {}) {
		return this.call("POST", path, body);
	}

	// An agent that works: `work(task, tools)` gives the result or throws {type, code, message}.
	async agent(name, { type = "worker", capabilities = [], work = async () => ({}), slots = 2, ...more } = {}) {
		const made = await this.post("/agents/register", {
			name,
			type,
			capabilities,
			slots,
			version: "1.4.2",
			...more
		});
		const { access_token } = await this.call(
			"POST",
			"/auth/token",
			{ agent_id: made.agent_id, auth_token: made.auth_token },
			null
		);
		const agent = new Agent(this, made.agent_id, access_token, work, slots);
		this.agents.push(agent);
		return agent;
	}

	async until(what, path, test, seconds = 20) {
		for (const end = Date.now() + seconds * 1000; ;) {
			const data = await this.get(path);
			if (test(data)) return data;
			if (Date.now() > end) throw new Error(`${what} did not happen: ${JSON.stringify(data).slice(0, 600)}`);
			await sleep(50);
		}
	}
}

export class Agent {
	constructor(panel, id, token, work, slots) {
		Object.assign(this, { panel, id, token, work, slots, busy: 0, on: false });
	}

	call(path, body) {
		return this.panel.call("POST", path, body, this.token);
	}

	start() {
		this.on = true;
		this.loops = [this.beat(), ...Array.from({ length: this.slots }, () => this.loop())];
		return this;
	}
	stop() {
		this.on = false;
	}

	async beat() {
		while (this.on) {
			await this.call(`/agents/${this.id}/heartbeat`, {
				status: this.busy ? "busy" : "active",
				current_load: Math.min(1, this.busy / this.slots),
				resources: { cpu: 4, memory: "8GB" }
			}).catch(() => {});
			await sleep(700);
		}
	}

	async loop() {
		while (this.on) {
			let tasks = [];
			try {
				({ tasks } = await this.call(`/agents/${this.id}/claim`, { max: 1 }));
			} catch {
				// stopped, or the panel is away
			}
			if (!tasks.length) await sleep(120);
			for (const task of tasks) await this.perform(task);
		}
	}

	async perform(task) {
		const { task_id: id, fence } = task;
		const tools = {
			progress: (progress, message) =>
				this.call(`/tasks/${id}/progress`, { fence, progress, message }).catch(() => {}),
			log: (message, level = "info") =>
				this.call(`/tasks/${id}/logs`, { fence, logs: [{ level, message }] }).catch(() => {})
		};
		this.busy++;
		try {
			const result = await this.work(task, tools);
			await this.call(`/tasks/${id}/complete`, { fence, result }).catch(() => {});
		} catch (error) {
			const { type = "system", code = "agent_error", message = String(error), details } = error;
			await this.call(`/tasks/${id}/fail`, { fence, error: { type, code, message, details } }).catch(() => {});
		}
		this.busy--;
	}
}

// ---- the world ------------------------------------------------------------------------------------------------

const between = (a, b) => a + Math.random() * (b - a);

// Work in `steps` steps over `ms`, with progress and log lines.
export const worker =
	(ms, result = () => ({ ok: true }), steps = 4) =>
	async (task, { progress, log }) => {
		const scale = task.parameters?.scale ?? task.parameters?.parameters?.scale ?? 1;
		await log(`picked up ${task.type}, attempt ${task.attempt}`);
		for (let i = 1; i <= steps; i++) {
			await sleep((between(ms * 0.6, ms * 1.4) * scale) / steps);
			await progress((i / steps) * 0.99, `step ${i} of ${steps}`);
			await log(`step ${i} of ${steps}`);
		}
		await log("finished", "debug");
		return result(task);
	};

const items = task => ({ items: (task.parameters?.input?.items ?? []).map(item => ({ ...item, seen: task.type })) });

export const STAGES = [
	{ name: "ingestion", type: "ingestion", fan_out: true, timeout: 30, capabilities: ["ingest"] },
	{
		name: "standardization",
		type: "standardization",
		fan_out: true,
		timeout: 30,
		capabilities: ["standardize"],
		depends_on: [1]
	},
	{ name: "validation", type: "validation", timeout: 60, capabilities: ["validate"], depends_on: [2] },
	{ name: "processing", type: "processing", fan_out: true, timeout: 30, capabilities: ["process"], depends_on: [2] },
	{
		name: "quality_assessment",
		type: "quality_assessment",
		timeout: 60,
		capabilities: ["assess"],
		depends_on: [4],
		max_retries: 0
	},
	{ name: "export", type: "export", timeout: 60, capabilities: ["export"], depends_on: [3, 5] }
];

const FLEET = [
	["reader", "worker", ["ingest"], 150],
	["standardizer-1", "worker", ["standardize"], 260],
	["standardizer-2", "worker", ["standardize"], 300],
	["validator", "validator", ["validate"], 500],
	["bias-watch", "bias-detector", ["validate", "bias-check"], 600],
	["processor-1", "worker", ["process", "ocr"], 300],
	["processor-2", "worker", ["process", "ocr", "gpu"], 240],
	["assessor", "orchestrator", ["assess"], 500],
	["exporter", "worker", ["export", "thumbnail"], 300],
	["tone-reader", "emotion-analyzer", ["sentiment"], 200]
];

function flaky(work) {
	return async (task, tools) => {
		if (task.parameters?.fail === "always" || task.parameters?.parameters?.fail === task.type)
			throw {
				type: "validation",
				code: "schema_mismatch",
				message: "Record 17 has no field 'visit_date'.",
				details: { record: 17, missing: ["visit_date"] }
			};
		if (task.parameters?.fail === "once" && task.attempt < 2)
			throw { type: "network", code: "upstream_reset", message: "The scanner closed the connection." };
		return work(task, tools);
	};
}

export async function fleet(panel, speed = 1) {
	const made = {};
	for (const [name, type, capabilities, ms] of FLEET)
		made[name] = (await panel.agent(name, { type, capabilities, work: flaky(worker(ms / speed, items)) })).start();
	await panel.agent("old-scanner", { type: "worker", capabilities: ["ocr", "fax"] });
	return made;
}

export const records = n => ({
	items: Array.from({ length: n }, (_, i) => ({ id: i + 1, site: "ABC"[i % 3], age: 20 + (i % 60) }))
});

export async function pipelines(panel) {
	const main = await panel.post("/pipelines", {
		name: "intake-records",
		stages: STAGES,
		tags: ["health", "nightly"],
		description: "Visit records of three sites, checked for bias and exported"
	});
	const small = await panel.post("/pipelines", {
		name: "sentiment-sweep",
		tags: ["text"],
		description: "Tone of patient messages",
		stages: [
			{ name: "collect", type: "ingestion", capabilities: ["ingest"] },
			{ name: "read-tone", type: "sentiment", capabilities: ["sentiment"], depends_on: [1] },
			{ name: "spot-bias", type: "bias-check", capabilities: ["bias-check"], depends_on: [1], required: false },
			{ name: "report", type: "export", capabilities: ["export"], depends_on: [2, 3] }
		]
	});
	await panel.post("/pipelines", { name: "standard-six", description: "The six stages as they come" });
	return { main, small };
}

export const TYPES = [
	["ocr", ["ocr"]],
	["sentiment", ["sentiment"]],
	["thumbnail", ["thumbnail"]],
	["bias-check", ["bias-check"]]
];

export async function traffic(panel, n) {
	const priorities = ["critical", "high", "medium", "medium", "low"];
	const tasks = Array.from({ length: n }, (_, i) => {
		const [type, capabilities] = TYPES[i % TYPES.length];
		return {
			type,
			priority: priorities[i % 5],
			requirements: { capabilities },
			max_retries: 2,
			retry: { initial_delay_ms: 300, jitter: false },
			parameters: {
				document: `scan-${1000 + i}.png`,
				pages: 1 + (i % 9),
				language: "en",
				...(i % 11 === 5 ? { fail: "once" } : {}),
				...(i % 13 === 7 ? { fail: "always" } : {})
			}
		};
	});
	return panel.post("/tasks/batch", { tasks });
}

export async function execute(panel, pipeline, n, parameters = {}) {
	return panel.post(`/pipelines/${pipeline.pipeline_id}/execute`, {
		input_data: records(n),
		parameters: { batch_size: 5, parallel_workers: 6, ...parameters }
	});
}

export async function populate(panel) {
	const agents = await fleet(panel);
	const defined = await pipelines(panel);
	await traffic(panel, 60);
	await panel.post("/tasks", {
		type: "fax",
		requirements: { capabilities: ["fax", "modem"] },
		priority: "low",
		parameters: { number: "555-0142" }
	});
	await panel.post("/tasks", {
		type: "ocr",
		run_at: new Date(Date.now() + 3600e3).toISOString(),
		parameters: { document: "tonight.png" }
	});
	await panel.post("/tasks", {
		type: "<img src=x onerror=alert(1)>".replace(/[^a-z0-9.-]/g, "-").replace(/^-+/, ""),
		requirements: { capabilities: ["nobody"] },
		concurrency_key: "<script>alert(1)</script>",
		parameters: {
			note: '<img src=x onerror="window.pwned=1">',
			"<b>key</b>": "</script><script>window.pwned=1</script>"
		}
	});
	const runs = {
		done: await execute(panel, defined.main, 60),
		small: await execute(panel, defined.small, 4),
		failed: await execute(panel, defined.main, 20, { fail: "quality_assessment" })
	};
	return { agents, ...defined, runs };
}

// node tests/browser/world.mjs HOME: fill a panel that runs, and keep it busy until interrupted.
if (process.argv[1] === fileURLToPath(import.meta.url)) {
	const panel = await new Panel({ home: process.argv[2] }).start();
	const world = await populate(panel);
	console.log(panel.url, panel.user, panel.password);
	for (let i = 0; ; i++) {
		await traffic(panel, 4 + Math.floor(Math.random() * 5)).catch(e => console.error(String(e)));
		if (i % 20 === 0) await execute(panel, world.main, 60, { scale: 3 }).catch(e => console.error(String(e)));
		await sleep(2500);
	}
}
