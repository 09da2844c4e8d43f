// SPDX-License-Identifier: MIT
// The panel at a glance: health, the last hour, the queue, what needs a look.
import { h, hold } from "../app/dom.js";
import * as api from "../app/api.js";
import { Chart } from "../app/charts.js";
import * as f from "../app/format.js";
import { badge, bar, button, card, empty, priority, time, id } from "../app/ui.js";

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
		const rare = turn++ % 5 === 0;
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
			failed = await may("task:manage", "/tasks/dead-letters", { limit: 5 });
			alerts =
				api.may("system:config") && alerts !== undefined
					? ((await optional("/alerts", { status: "active", limit: 6 })) ?? undefined)
					: alerts;
		}
		for (const p of figures.series ?? []) hour.set(p.at, p);
		const oldest = Date.now() - 61 * 60e3;

		for (const at of hour.keys()) if (Date.parse(at) < oldest) hour.delete(at);
	}

	const points = () => [...hour.values()].sort((a, b) => (a.at < b.at ? -1 : 1));

	function tiles(last) {
		const full = last.slice(-6, -1);
		const ended = full.reduce((n, p) => n + p.completed + p.failed + p.cancelled, 0);
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
				`version ${health.version ?? ""}`,
				{ healthy: "good", degraded: "warn" }[figures.overall_health] ?? "bad"
			),
			tile("Agents at work", f.count(figures.active_agents), h("a", { href: "#/agents" }, "the fleet")),
			tile("Queued", f.count(figures.queued_tasks), `${f.count(figures.waiting_tasks)} wait for a reason`),
			tile(
				"Running",
				f.count(figures.running_tasks),
				h("a", { href: "#/tasks?status=running,assigned" }, "show them")
			),
			tile("Tasks a minute", f.count(Math.round(ended / Math.max(1, full.length))), "mean of 5 minutes"),
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

	function trouble() {
		const rows = [];

		for (const [name, c] of Object.entries(health.checks ?? {}))
			if (c.status !== "healthy")
				rows.push(h("li", badge(c.status), h("span", h("strong", CHECKS[name] ?? name), " is not well.")));
		for (const s of services)
			if (s.state === "unhealthy" && !health.checks?.[s.name])
				rows.push(h("li", badge("unhealthy"), h("span", h("strong", s.name), " does not answer.")));
		for (const a of alerts ?? [])
			rows.push(
				h(
					"li",
					{ key: a.alert_id },
					badge(a.severity),
					h("span", h("strong", f.words(a.kind)), " ", a.message),
					time(a.since)
				)
			);
		if (failed.length)
			rows.push(
				h(
					"li",
					badge("failed"),
					h(
						"span",
						h("a", { href: "#/dead-letters" }, "Dead letters"),
						" wait for a decision; the latest: ",
						h("a", { href: "#/tasks/" + failed[0].task_id }, failed[0].type),
						"."
					),
					time(failed[0].completed_at)
				)
			);
		return rows.length
			? h("ul.alerts", rows)
			: empty("Nothing needs you.", "Failing checks, alerts and dead letters appear here.");
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
					"div.columns.even",
					card("Queue by priority", h("a", { href: "#/tasks?status=pending" }, "Pending tasks"), queue()),
					card("Needs a look", null, trouble())
				),
				h(
					"div.columns.even",
					api.may("pipeline:read")
						? card("Runs under way", h("a", { href: "#/runs" }, "All runs"), under())
						: null,
					card("Parts", null, parts())
				)
			];
		}
	};
}
