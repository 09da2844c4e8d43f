// SPDX-License-Identifier: MIT
// The panel at a glance: health, the last hour, the queue, what needs a look.
import { h, hold } from "../app/dom.js";
import * as api from "../app/api.js";
import { Chart } from "../app/charts.js";
import * as f from "../app/format.js";
import * as live from "../app/live.js";
import { badge, bar, button, card, empty, priority, time } from "../app/ui.js";
import { about, look } from "./alerts.js";

// How many rows "Needs a look" has, and how many of each are looked for.
const SHOWN = 7,
	ALERTS = 50,
	LETTERS = 50;
const CHECKS = {
	database: "Store",
	redis: "Redis",
	relay: "Relay",
	external_services: "External services",
	system_resources: "Machine"
};

export default function overview(view) {
	const hour = new Map(); // minute -> point
	let health,
		figures,
		alerts = null,
		runs = [],
		services = [],
		failed = [],
		turn = 0;

	const throughput = new Chart({
		kind: "bar",
		label: "Tasks that ended, a minute, over the last hour",
		unit: v => f.count(v),
		series: [
			{ key: "completed", label: "completed", tone: "good-solid" },
			{ key: "failed", label: "failed", tone: "bad-solid" },
			{ key: "cancelled", label: "cancelled", tone: "mute-solid" }
		]
	});
	const latency = new Chart({
		kind: "line",
		label: "Latency of API calls and of assignment over the last hour, in milliseconds",
		unit: v => f.duration(v),
		log: true,
		series: [
			{ key: "request_p95_ms", label: "API p95", tone: "accent", fill: true },
			{ key: "request_p50_ms", label: "API median", tone: "accent", dash: [3, 3] },
			{ key: "assignment_p95_ms", label: "assignment p95", tone: "warn-solid" }
		]
	});

	view.onEnd(() => {
		throughput.end();
		latency.end();
	});

	async function load() {
		// Events tell of these; where none come, they are asked for like the rest.
		const rare = turn++ % 5 === 0 || live.mode() !== "live";
		const series = hour.size < 60 || turn % 60 === 0 ? "1h" : "1m";
		const may = (p, path, query) => (api.may(p) ? api.get(path, query, view.signal) : Promise.resolve([]));
		const optional = (path, query) =>
			api.get(path, query, view.signal).catch(error => {
				if (error.name === "AbortError" || error.code === "offline") throw error;
				return null; // this panel has no such route, or not for this caller
			});

		[health, figures, runs] = await Promise.all([
			api.get("/health", {}, view.signal),
			api.get("/system/metrics", { series }, view.signal),
			may("pipeline:read", "/executions", { status: "running,paused", limit: 6 })
		]);
		if (rare) {
			services = await api.get("/discovery/services", {}, view.signal);
			failed = await may("task:manage", "/tasks/dead-letters", { limit: LETTERS });
			alerts =
				api.may("system:config") && alerts !== undefined
					? ((await optional("/alerts", { status: "active", limit: ALERTS })) ?? undefined)
					: alerts;
		}
		for (const p of figures.series ?? []) hour.set(p.at, p);
		const oldest = Date.now() - 61 * 60e3;

		for (const at of hour.keys()) if (Date.parse(at) < oldest) hour.delete(at);
	}

	const points = () => [...hour.values()].sort((a, b) => (a.at < b.at ? -1 : 1));

	// Tasks that ended a minute, over five minutes or as long as the panel has been seen to work. The minute that runs
	// counts by the part of it that has passed, by the panel's clock; the first one counts whole, as its bar does.
	function pace(last) {
		const now = Date.parse(health.timestamp);
		const ended = p => p.completed + p.failed + p.cancelled;
		const first = last.findIndex(p => p.requests || p.created || ended(p));
		const seen = first < 0 ? [] : last.slice(first).slice(-5);
		const minutes = seen.reduce((n, p) => n + Math.min(1, Math.max(0, (now - Date.parse(p.at)) / 60e3)), 0);
		const n = seen.reduce((sum, p) => sum + ended(p), 0) / Math.max(1, minutes);

		return {
			value: n > 0 && n < 10 ? n.toFixed(1) : f.count(Math.round(n)),
			note: seen.length > 1 ? `mean of ${seen.length} minutes` : "in this minute"
		};
	}

	function tiles(last) {
		const rate = pace(last);
		const all = last.reduce((n, p) => n + p.requests, 0),
			errors = last.reduce((n, p) => n + p.errors, 0);
		const recent = [...last].reverse().find(p => p.request_p95_ms !== null);
		const tile = (name, value, note, tone) =>
			h("div.tile", { class: tone }, h("span", name), h("strong", value), h("small", note));

		return h(
			"div.tiles",
			tile(
				"Health",
				h("span.words", figures.overall_health),
				alerts?.length
					? h("a", { href: "#/alerts?status=active" }, alerts.length === 1 ? "1 alert" : `${alerts.length} alerts`)
					: `version ${health.version ?? ""}`,
				{ healthy: "good", degraded: "warn" }[figures.overall_health] ?? "bad"
			),
			tile("Agents online", f.count(figures.active_agents), h("a", { href: "#/agents" }, "the fleet")),
			tile(
				"Queued",
				f.count(figures.queued_tasks),
				h(
					"a",
					{
						href: "#/tasks?status=pending,retrying",
						title: "Not due yet: a later start, a retry’s wait, other tasks first, or a concurrency key in use"
					},
					`${f.count(figures.waiting_tasks)} not due yet`
				)
			),
			tile(
				"Running",
				f.count(figures.running_tasks),
				h("a", { href: "#/tasks?status=running,assigned" }, "show them")
			),
			tile("Tasks a minute", rate.value, rate.note),
			tile(
				"API p95",
				recent ? f.duration(recent.request_p95_ms) : "–",
				all ? `${f.percent(errors / all, 2)} errors` : "no calls yet"
			)
		);
	}

	function queue() {
		const most = Math.max(1, ...figures.queue.map(q => q.depth));

		return h(
			"table.lean",
			h(
				"thead",
				h(
					"tr",
					h("th", "Priority"),
					h("th.grow", h("span.hide", "Share")),
					h("th.num", "Tasks"),
					h("th.num", "Oldest")
				)
			),
			h(
				"tbody",
				figures.queue.map(q =>
					h(
						"tr",
						h("th", { scope: "row" }, priority(q.priority)),
						h("td.grow", bar(q.depth / most, { label: `${q.priority}: ${q.depth}`, tone: q.priority })),
						h("td.num", f.count(q.depth)),
						h("td.num", q.depth ? f.duration(q.oldest_s * 1000) : "–")
					)
				)
			)
		);
	}

	// What needs somebody: [badge, text, since] each, the worst first.
	function trouble() {
		const rows = [];

		for (const [name, c] of Object.entries(health.checks ?? {}))
			if (c.status !== "healthy") rows.push([badge(c.status), [h("strong", CHECKS[name] ?? name), " is not well."]]);
		for (const s of services)
			if (s.state === "unhealthy" && !health.checks?.[s.name])
				rows.push([badge("unhealthy"), [h("strong", s.name), " does not answer."]]);
		for (const a of worst(alerts ?? []))
			rows.push([
				badge(a.severity),
				[
					h("button.link", { type: "button", on: { click: () => look(a) } }, f.words(a.kind)),
					" ",
					/^agent_/.test(a.kind) ? [about(a), ": "] : "",
					a.message
				],
				a.since
			]);
		if (failed.length)
			rows.push([
				badge("failed"),
				[h("a", { href: "#/dead-letters" }, waiting()), " for a decision: ", kindsOf(failed)],
				failed[0].completed_at
			]);
		return rows;
	}

	const worst = list => [...list].sort((a, b) => (b.severity === "critical") - (a.severity === "critical"));
	const waiting = () =>
		failed.length === 1
			? "1 dead letter waits"
			: `${failed.length}${failed.length === LETTERS ? " or more" : ""} dead letters wait`;

	function kindsOf(tasks) {
		const by = new Map();

		for (const t of tasks) by.set(t.type, (by.get(t.type) ?? 0) + 1);
		const shown = [...by].sort((a, b) => b[1] - a[1]);

		return (
			shown
				.slice(0, 3)
				.map(([type, n]) => (n > 1 ? `${n}\u00a0×\u00a0${type}` : type))
				.join(", ") + (shown.length > 3 ? " …" : ".")
		);
	}

	function needs() {
		const rows = trouble(),
			rest = rows.length - SHOWN;

		if (!rows.length) return empty("Nothing needs you.", "Failing checks, alerts and dead letters appear here.");
		return [
			h(
				"ul.alerts",
				rows
					.slice(0, rest > 0 ? SHOWN - 1 : SHOWN)
					.map(([mark, text, since]) => h("li", mark, h("span", text), since ? time(since) : null))
			),
			rest > 0
				? h(
						"p.more-rows",
						`and ${rest + 1}${alerts?.length === ALERTS ? " or more" : ""} others: `,
						h("a", { href: "#/alerts?status=active" }, "all alerts"),
						failed.length ? [", ", h("a", { href: "#/dead-letters" }, "dead letters")] : null
					)
				: null
		];
	}

	function under() {
		if (!runs.length) return empty("No pipeline runs now.", "", button("Pipelines", { href: "#/pipelines" }));
		return h(
			"ul.rows",
			runs.map(r =>
				h(
					"li",
					{ key: r.execution_id },
					h("a", { href: "#/runs/" + r.execution_id }, r.pipeline_name),
					badge(r.status),
					h("span.mute.stage", `stage ${r.current_stage} of ${r.stages.length}`),
					bar(r.progress, { label: `${r.pipeline_name} progress` }),
					h("span.num", f.percent(r.progress))
				)
			)
		);
	}

	function parts() {
		const rows = Object.entries(health.checks ?? {}).map(([name, c]) => [
			CHECKS[name] ?? name,
			c.status,
			c.latency_ms !== undefined
				? f.duration(c.latency_ms)
				: c.disk_free !== undefined
					? `${f.percent(c.disk_free)} disk, ${f.percent(c.memory_free)} memory free`
					: ""
		]);

		for (const s of services)
			if (s.name !== "store" && !health.checks?.[s.name]) rows.push([s.name, s.state, s.kind]);
		return h(
			"table.lean",
			h(
				"tbody",
				rows.map(([name, status, note]) =>
					h("tr", h("th", { scope: "row" }, name), h("td", badge(status)), h("td.num.mute", note))
				)
			)
		);
	}

	return {
		name: "overview",
		always: true,
		event(e) {
			if (e.type === "system.alert" || e.type === "task.failed") turn = 0;
		},
		title: () => "Overview",
		load,
		view() {
			const last = points();

			throughput.update(last);
			latency.update(last);
			return [
				tiles(last),
				h(
					"div.columns.even",
					card("Tasks a minute", throughput.legend(), hold(throughput.el)),
					card("Latency", latency.legend(), hold(latency.el))
				),
				h(
					"div.columns.even.free",
					h(
						"div.stack",
						card(
							"Needs a look",
							api.may("system:config") ? h("a", { href: "#/alerts" }, "All alerts") : null,
							needs()
						),
						card(
							"Queue by priority",
							h("a", { href: "#/tasks?status=pending" }, "Pending tasks"),
							queue()
						)
					),
					h(
						"div.stack",
						api.may("pipeline:read")
							? card("Runs under way", h("a", { href: "#/runs" }, "All runs"), under())
							: null,
						card("Parts", null, parts())
					)
				)
			];
		}
	};
}
