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

	const ended24 = () => (metrics["24h"]?.completed ?? 0) + (metrics["24h"]?.failed ?? 0);

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
		// A mean of nothing is no figure.
		const over = (n, show) => m => (n(m) ? show(m) : "–");
		const ended = m => m.completed + m.failed,
			done = m => m.completed;

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
				row(
					"Success rate",
					over(ended, m => f.percent(m.success_rate))
				),
				row(
					"Mean duration",
					over(done, m => f.duration(m.avg_duration_ms))
				),
				row(
					"Median",
					over(done, m => f.duration(m.p50_duration_ms))
				),
				row(
					"95th percentile",
					over(done, m => f.duration(m.p95_duration_ms))
				),
				row("Availability", m => f.percent(m.availability, 1))
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
					card("Figures", null, figures()),
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
													h(
														"span.beside",
														h("a", { href: "#/tasks/" + t.task_id }, t.type),
														t.status === "running"
															? bar(t.progress, { label: `${t.type} progress` })
															: null
													)
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
							[
								"Score",
								h(
									"span",
									{ title: "Success, availability and speed over 24 hours; load does not count" },
									ended24() ? `${Math.round(health.performance_score)} of 100` : "nothing done yet"
								)
							],
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
