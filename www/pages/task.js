// SPDX-License-Identifier: MIT
// One task: what it is, how it went, what it says.
import { h, hold } from "../app/dom.js";
import * as api from "../app/api.js";
import { cancelTask, retryTask } from "../app/actions.js";
import * as f from "../app/format.js";
import { JsonView } from "../app/json.js";
import { agentLink } from "../app/names.js";
import { carry } from "../app/schema.js";
import { act, badge, bar, button, card, copyable, empty, facts, id, priority, select, time } from "../app/ui.js";
import { took } from "./tasks.js";

const LIVE = ["pending", "assigned", "running", "retrying"];
const WAITING = ["pending", "retrying"];

export default function task(view) {
	const path = "/tasks/" + encodeURIComponent(view.params.task_id);
	const parameters = new JsonView("the parameters"),
		result = new JsonView("the result"),
		details = new JsonView("the error’s details", 3);
	let t = null,
		metrics = null,
		nobody = false,
		logs = [],
		cursor,
		follow = true,
		was = null;
	const box = h("div.log", {
		tabindex: "0",
		role: "log",
		"aria-label": "Log lines",
		opaque: true,
		on: {
			scroll: () => {
				follow = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
			}
		}
	});

	// Log lines come oldest first: the last page is asked again until it is full, then the next.
	async function readLogs() {
		for (let rounds = 0; rounds < 20; rounds++) {
			const answer = await api.page(path + "/logs", { limit: 500, cursor }, view.signal);
			const base = logs.length - (readLogs.last ?? 0);

			logs = [...logs.slice(0, base), ...answer.data];
			readLogs.last = answer.data.length;
			if (!answer.next_cursor) break;
			cursor = answer.next_cursor;
			readLogs.last = 0;
		}
		for (let i = box.childElementCount; i < logs.length; i++) {
			const l = logs[i];

			box.append(
				h(
					"div.line",
					{ class: l.level },
					h("time", { datetime: l.timestamp }, f.clock(Date.parse(l.timestamp), true)),
					h("b", l.level),
					h("span", l.message)
				)
			);
		}
		if (follow) box.scrollTop = box.scrollHeight;
	}

	async function load() {
		t = await api.get(path, {}, view.signal);
		const ended = !LIVE.includes(t.status);

		if (!(ended && was === t.updated_at)) {
			[metrics] = await Promise.all([api.get(path + "/metrics", {}, view.signal).catch(() => null), readLogs()]);
		}
		await seek();
		was = t.updated_at;
	}

	// A task that waits for an agent nobody runs would wait for ever, and look like any other.
	async function seek() {
		const needs = t.requirements?.capabilities ?? [];

		nobody = false;
		if (!WAITING.includes(t.status) || !needs.length || !api.may("agent:read")) return;
		nobody = !(await api.get("/agents/discover", { capabilities: needs, limit: 1 }, view.signal)).length;
	}

	// Waiting and attempts on one line of time.
	function timeline() {
		const now = Date.now(),
			start = f.ms(t.created_at),
			end = Math.max(start + 1, f.ms(t.completed_at) ?? now);
		const share = at => `${Math.min(100, Math.max(0, ((at - start) / (end - start)) * 100))}%`;
		const attempts = t.attempts ?? [];
		// Seconds would be all the same.
		const stamps = { absolute: true, withMs: end - start < 60e3 };

		return [
			h(
				"div.track",
				{ role: "img", "aria-label": `${attempts.length} attempts over ${f.duration(end - start)}` },
				attempts.map(a => {
					const from = f.ms(a.started_at ?? a.assigned_at),
						to = f.ms(a.ended_at) ?? now;

					return h("i", {
						class: a.outcome === "completed" ? "good" : a.outcome ? "bad" : "info",
						title: `attempt ${a.attempt}: ${a.outcome ?? t.status}`,
						style: {
							left: share(from),
							width: `max(3px, ${Math.max(0, ((to - from) / (end - start)) * 100)}%)`
						}
					});
				})
			),
			h(
				"div.scale.mute",
				h("span", f.stamp(start, stamps.withMs)),
				h("span", f.duration(end - start)),
				h("span", t.completed_at ? f.stamp(end, stamps.withMs) : "now")
			),
			h(
				"ol.timeline",
				h(
					"li.mute-dot",
					h("div", h("strong", "Created"), h("span.mute", t.created_by ? [" by ", id(t.created_by)] : "")),
					time(t.created_at, stamps)
				),
				attempts.map((a, i) => {
					const before = f.ms(attempts[i - 1]?.ended_at ?? t.created_at),
						from = f.ms(a.started_at ?? a.assigned_at),
						to = f.ms(a.ended_at);

					return h(
						"li",
						{ class: a.outcome === "completed" ? "good" : a.outcome ? "bad" : "info" },
						h(
							"div",
							h("strong", `Attempt ${a.attempt}`),
							" ",
							badge(a.outcome ?? t.status),
							h(
								"p.mute",
								from - before > 20 ? `after ${f.duration(from - before)} of waiting · ` : "",
								a.agent_id
									? ["on ", agentLink(a.agent_id)]
									: "",
								` · fence ${a.fence} · `,
								f.duration((to ?? now) - from)
							),
							a.error
								? h("p.said", h("code", a.error.code ?? a.error.type), " ", a.error.message ?? "")
								: null
						),
						time(a.started_at ?? a.assigned_at, stamps)
					);
				}),
				t.status === "retrying"
					? h(
							"li.warn",
							h(
								"div",
								h("strong", "Waits for its next try"),
								t.run_at ? h("p.mute", "comes ", time(t.run_at)) : null
							)
						)
					: null,
				WAITING.includes(t.status) && !attempts.length
					? h("li.info", h("div", h("strong", "Waits"), h("p.mute", why())))
					: null,
				t.completed_at
					? h(
							"li",
							{ class: { completed: "good", failed: "bad" }[t.status] ?? "mute-dot" },
							h("div", h("strong", f.words(t.status)[0].toUpperCase() + t.status.slice(1))),
							time(t.completed_at, stamps)
						)
					: null
			)
		];
	}

	function why() {
		const needs = t.requirements?.capabilities ?? [];

		if (t.run_at && f.ms(t.run_at) > Date.now()) return ["not before ", time(t.run_at)];
		if (nobody)
			return h("span.warn-text", "No agent that is online can ", needs.map((c, i) => [i ? ", " : "", h("code", c)]), ".");
		return needs.length
			? ["for an agent that can ", needs.map((c, i) => [i ? ", " : "", h("code", c)]), "."]
			: "for a free agent.";
	}

	function change() {
		if (!WAITING.includes(t.status) || !api.may("task:manage")) return priority(t.priority);
		return select(
			t.priority,
			["critical", "high", "medium", "low"],
			v => act(() => api.put(path, { priority: v }), `Priority ${v}.`).then(() => view.refresh()),
			{ "aria-label": "Priority" }
		);
	}

	function view_() {
		const m = metrics;

		return [
			t.status === "running" || t.message
				? h(
						"div.progress",
						bar(t.progress, {
							label: "progress of the task",
							tone: { completed: "good", failed: "bad" }[t.status] ?? "accent"
						}),
						h("span.num", f.percent(t.progress)),
						t.message ? h("span.mute.cut", t.message) : null
					)
				: null,
			t.error && t.status !== "completed"
				? h(
						"section.card.wrongs",
						h(
							"header",
							h("h2", t.status === "failed" ? "Why it failed" : "The last error"),
							badge(
								t.error.retryable ? "retrying" : "failed",
								t.error.retryable ? "can be tried again" : "not tried again by itself"
							)
						),
						h(
							"p",
							h("code", [t.error.type, t.error.code].filter(Boolean).join(" · ")),
							" ",
							t.error.message ?? ""
						),
						t.error.details ? hold(details.show(t.error.details).el) : null
					)
				: null,
			h(
				"div.columns.wide-left",
				h(
					"div.stack",
					card("Timeline", null, timeline()),
					card(
						"Log",
						h(
							"span.mute.small",
							`${f.count(logs.length)} lines${LIVE.includes(t.status) ? ", as they come" : ""}`
						),
						logs.length
							? hold(box)
							: empty("No log lines.", "An agent adds them with POST /tasks/{id}/logs.")
					),
					card("Parameters", null, hold(parameters.show(t.parameters).el)),
					t.result !== null && t.result !== undefined
						? card("Result", null, hold(result.show(t.result).el))
						: null
				),
				h(
					"div.stack",
					card(
						"Facts",
						null,
						facts([
							["Id", h("span.nowrap", h("code.cut", t.task_id), copyable(t.task_id))],
							["Priority", change()],
							["Data class", t.classification],
							[
								"Needs",
								t.requirements?.capabilities?.length
									? t.requirements.capabilities.map(c => h("span.tag", c))
									: null
							],
							["Agent", agentLink(t.assigned_agent_id)],
							t.execution_id
								? ["Run", h("a", { href: "#/runs/" + t.execution_id }, `stage ${t.stage}`)]
								: null,
							["Created", time(t.created_at)],
							["Started", time(t.started_at)],
							["Ended", time(t.completed_at)],
							["Took", took(t)],
							["Tries", `${t.attempt} of at most ${t.max_retries + 1}`],
							["Time limit", f.duration(t.timeout * 1000)],
							t.lease_expires_at ? ["Lease until", time(t.lease_expires_at)] : null,
							t.run_at ? ["Not before", time(t.run_at)] : null,
							t.deadline ? ["Deadline", time(t.deadline)] : null,
							t.concurrency_key ? ["Concurrency key", t.concurrency_key] : null,
							t.dependencies?.length
								? ["Waits for", t.dependencies.map(d => [id(d, "#/tasks/" + d), " "])]
								: null
						])
					),
					m
						? card(
								"Figures",
								null,
								facts([
									["Waited", f.duration(m.queue_time * 1000)],
									["Worked", f.duration(m.execution_time * 1000)],
									["Share of the time limit", f.percent(m.agent_utilization, 1)],
									["Efficiency", f.percent(m.efficiency_score)]
								])
							)
						: null
				)
			)
		];
	}

	return {
		name: "detail",
		title: () => t?.type ?? "Task",
		back: ["#/tasks", "Tasks"],
		load,
		view: view_,
		get always() {
			return t && LIVE.includes(t.status) && t.status !== "pending";
		},
		wants: event => event.data?.task_id === view.params.task_id,
		badge: () => (t ? badge(t.status) : null),
		actions: () => [
			["failed", "cancelled"].includes(t.status)
				? button("Try again", {
						icon: "retry",
						kind: "primary",
						permission: "task:manage",
						click: () => retryTask(t).then(() => view.refresh())
					})
				: null,
			LIVE.includes(t.status)
				? button("Cancel", {
						icon: "close",
						kind: "danger",
						permission: "task:manage",
						click: () => cancelTask(t).then(() => view.refresh())
					})
				: null,
			button("Another like this", {
				icon: "copy",
				permission: "task:manage",
				click: () => {
					carry.task = {
						type: t.type,
						parameters: t.parameters,
						priority: t.priority,
						requirements: t.requirements ?? undefined,
						max_retries: t.max_retries,
						timeout: t.timeout
					};
					location.hash = "#/tasks/new";
				}
			})
		]
	};
}
