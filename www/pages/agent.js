// SPDX-License-Identifier: MIT
import { h, hold } from "../app/dom.js";
import * as api from "../app/api.js";
import { drain, removeAgent, undrain } from "../app/actions.js";
import * as f from "../app/format.js";
import { JsonView } from "../app/json.js";
import { badge, bar, button, card, copyable, empty, facts, priority, time } from "../app/ui.js";
import { load as loadBar, state } from "./agents.js";
import { took } from "./tasks.js";

export default function agent(view) {
	const path = "/agents/" + encodeURIComponent(view.params.agent_id);
	const extra = new JsonView("what the agent says of itself");
	let a = null,
		health = null,
		metrics = null,
		tasks = [];

	async function load() {
		[a, health, metrics, tasks] = await Promise.all([
			api.get(path, {}, view.signal),
			api.get(path + "/health", {}, view.signal),
			api.get(path + "/metrics", {}, view.signal),
			api.may("task:read") ? api.get("/tasks", { agent_id: view.params.agent_id, limit: 25 }, view.signal) : []
		]);
	}

	function figures() {
		const spans = [
			["1h", "Last hour"],
			["24h", "Last day"],
			["all", "All time"]
		];
		const row = (name, show) =>
			h(
				"tr",
				h("th", { scope: "row" }, name),
				spans.map(([key]) => h("td.num", show(metrics[key] ?? {})))
			);
		const s = x => (x === null || x === undefined ? "–" : f.duration(x * 1000));
		const d = (m, name) => (m[name + "_ms"] !== undefined ? f.duration(m[name + "_ms"]) : s(m[name]));

		return h(
			"table.lean",
			h(
				"thead",
				h(
					"tr",
					h("th", h("span.hide", "Figure")),
					spans.map(([, text]) => h("th.num", text))
				)
			),
			h(
				"tbody",
				row("Completed", m => f.count(m.completed)),
				row("Failed", m => f.count(m.failed)),
				row("Success rate", m => f.percent(m.success_rate)),
				row("Mean duration", m => d(m, "avg_duration")),
				row("Median", m => d(m, "p50_duration")),
				row("95th percentile", m => d(m, "p95_duration")),
				row("Availability", m =>
					m.availability === undefined
						? "–"
						: f.percent(m.availability > 1 ? m.availability / 100 : m.availability, 1)
				)
			)
		);
	}

	return {
		name: "detail",
		always: true,
		title: () => a?.name ?? "Agent",
		back: ["#/agents", "Agents"],
		load,
		badge: () => (a ? state(a) : null),
		actions: () => [
			a.draining
				? button("Undrain", {
						icon: "play",
						permission: "agent:manage",
						click: () => undrain(a).then(() => view.refresh())
					})
				: button("Drain", {
						icon: "drain",
						permission: "agent:manage",
						click: () => drain(a).then(() => view.refresh())
					}),
			button("Remove", {
				icon: "trash",
				kind: "danger",
				permission: "agent:manage",
				click: async () => {
					if (await removeAgent(a)) location.hash = "#/agents";
				}
			})
		],
		view: () => [
			health.anomalies?.length
				? h(
						"section.card.wrongs",
						h("header", h("h2", "Something is odd")),
						h(
							"ul.alerts",
							health.anomalies.map(x => h("li", badge("warning", f.words(x.code)), h("span", x.message)))
						)
					)
				: null,
			h(
				"div.columns.wide-left",
				h(
					"div.stack",
					card(
						"Its tasks",
						h("a", { href: "#/tasks?agent_id=" + a.agent_id }, "All of them"),
						tasks.length
							? h(
									"table.lean",
									h(
										"thead",
										h(
											"tr",
											h("th", "Status"),
											h("th", "Type"),
											h("th.wide", "Priority"),
											h("th.num.wide", "Took"),
											h("th.num", "Created")
										)
									),
									h(
										"tbody",
										tasks.map(t =>
											h(
												"tr",
												{ key: t.task_id },
												h("td", badge(t.status)),
												h(
													"td",
													h("a", { href: "#/tasks/" + t.task_id }, t.type),
													t.status === "running" ? bar(t.progress) : null
												),
												h("td.wide", priority(t.priority)),
												h("td.num.wide", took(t)),
												h("td.num", time(t.created_at))
											)
										)
									)
								)
							: empty("No tasks yet.", "It gets what fits its capabilities.")
					),
					card("Figures", null, figures()),
					metrics.reported && Object.keys(metrics.reported).length
						? card("What it says of itself", null, hold(extra.show(metrics.reported).el))
						: null
				),
				h(
					"div.stack",
					card(
						"Health",
						badge(health.overall_health),
						facts([
							["Score", `${Math.round(health.performance_score)} of 100`],
							["Available in 24 h", `${(+health.availability).toFixed(1)} %`],
							["Load", loadBar(a)],
							["Last heartbeat", time(a.last_heartbeat)],
							["Last look", time(health.last_health_check)]
						])
					),
					card(
						"Facts",
						null,
						facts([
							["Id", h("span.nowrap", h("code.cut", a.agent_id), copyable(a.agent_id))],
							["Type", a.type],
							["Role", a.role],
							["Cleared for", a.clearance_level],
							["Version", a.version],
							["Slots", a.slots || "no limit"],
							["Capabilities", a.capabilities.map(c => h("span.tag", c))],
							[
								"Reached by",
								a.endpoints?.task ? h("code", a.endpoints.task) : "it asks for tasks itself"
							],
							Object.keys(a.resources ?? {}).length
								? [
										"Resources",
										Object.entries(a.resources ?? {}).map(([k, v]) =>
											h("span.tag", `${k} ${typeof v === "object" ? JSON.stringify(v) : v}`)
										)
									]
								: null,
							["Registered", time(a.registered_at)]
						])
					)
				)
			)
		]
	};
}
