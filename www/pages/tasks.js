// SPDX-License-Identifier: MIT
// All tasks: a list that stays quick however many there are.
import { h, hold } from "../app/dom.js";
import * as f from "../app/format.js";
import { agentLink } from "../app/names.js";
import { Grid, Pages } from "../app/pages.js";
import { rewrite } from "../app/router.js";
import { badge, bar, button, chips, empty, icon, id, priority, select, time } from "../app/ui.js";

export const STATES = ["pending", "assigned", "running", "retrying", "completed", "failed", "cancelled"];
const PRIORITIES = ["critical", "high", "medium", "low"];
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

export function took(t) {
	const start = f.ms(t.started_at);

	return start ? f.duration((f.ms(t.completed_at) ?? Date.now()) - start) : "–";
}

export const columns = [
	{ label: "Status", class: "c-status", cell: t => badge(t.status) },
	{ label: "Type", class: "c-type", cell: t => h("a", { href: "#/tasks/" + t.task_id }, t.type) },
	{ label: "Priority", class: "c-prio", cell: t => priority(t.priority) },
	{
		label: "Progress",
		class: "c-bar",
		cell: t =>
			t.status === "running"
				? bar(t.progress, { label: `${t.type} progress` })
				: t.error && t.status !== "completed"
					? h("span.mute.cut", { title: t.error.message }, t.error.message ?? t.error.code)
					: ""
	},
	{ label: "Tries", class: "c-num num", cell: t => `${t.attempt} / ${t.max_retries + 1}` },
	{ label: "Agent", class: "c-agent", cell: t => agentLink(t.assigned_agent_id) },
	{ label: "Run", class: "c-id", cell: t => id(t.execution_id, "#/runs/" + t.execution_id) },
	{ label: "Took", class: "c-num num", cell: took },
	{ label: "Created", class: "c-time num", cell: t => time(t.created_at) },
	{ label: "Id", class: "c-id", cell: t => id(t.task_id) }
];

export const narrow = t => [
	h(
		"span.line",
		badge(t.status),
		h("a", { href: "#/tasks/" + t.task_id }, t.type),
		h("span.right", time(t.created_at))
	),
	h(
		"span.line.mute",
		priority(t.priority),
		t.status === "running"
			? bar(t.progress, { label: "progress" })
			: h("span.cut", t.error?.message ?? f.short(t.task_id)),
		h("span.right.num", took(t))
	)
];

const list = text => (text ? text.split(",") : []);

export default function tasks(view) {
	const pages = new Pages({ path: "/tasks", key: "task_id", signal: view.signal });
	let query = view.query,
		open = false,
		asked = null,
		typed = {};
	const grid = new Grid({
		columns,
		narrow,
		key: "task_id",
		label: "Tasks",
		link: t => "#/tasks/" + t.task_id,
		need: () => pages.more().then(more => more && grid.set(pages.rows, pages.done)),
		nothing,
		moved: () => view.draw()
	});

	view.onEnd(() => grid.end());
	pages.reset(ask());

	function ask() {
		const q = { ...query };

		// What no clock knows the API refuses in its words.
		for (const name of ["created_from", "created_to"])
			if (!Number.isNaN(Date.parse(q[name]))) q[name] = new Date(q[name]).toISOString();
		return q;
	}
	function filter(change) {
		query = Object.fromEntries(
			Object.entries({ ...query, ...change })
				.filter(([, v]) => v && v.length)
				.map(([k, v]) => [k, Array.isArray(v) ? v.join(",") : v])
		);
		rewrite("/tasks", query);
		pages.reset(ask());
		grid.top();
		view.refresh();
		view.draw();
	}
	const later = change => {
		clearTimeout(asked);
		typed = { ...typed, ...change };
		asked = setTimeout(() => {
			filter(typed);
			typed = {};
		}, 250);
	};

	function nothing() {
		return Object.keys(query).length
			? empty(
					"No task matches.",
					"Loosen the filter to see more.",
					button("Clear the filter", {
						click: () => filter(Object.fromEntries(Object.keys(query).map(k => [k, ""])))
					})
				)
			: empty(
					"No tasks yet.",
					"Submit one here, with mcpctl, or over the API.",
					button("Submit a task", { href: "#/tasks/new", kind: "primary", permission: "task:manage" })
				);
	}

	function find(event) {
		const text = event.target.value.trim();

		if (UUID.test(text)) location.hash = "#/tasks/" + text.toLowerCase();
		else later({ type: text.toLowerCase().replaceAll(/[^a-z0-9._:/-]/g, "") });
	}

	const more = ["agent_id", "execution_id", "pipeline_id", "stage", "created_from", "created_to"];
	const halves = new Set(); // fields in which what stands is no id
	const input = (name, label, type = "text", rest = {}) =>
		h(
			"label.mini",
			h("span", label),
			h("input", {
				type,
				value: query[name] ?? "",
				...rest,
				"aria-invalid": halves.has(name) ? "true" : null,
				on: {
					input: e => {
						const text = e.target.value.trim();
						const whole = type !== "text" || !text || UUID.test(text);

						halves[whole ? "delete" : "add"](name);
						if (whole) later({ [name]: text });
						view.draw();
					}
				}
			}),
			halves.has(name) ? h("small.wrong", "A whole id is needed.") : null
		);

	return {
		name: "list",
		title: () => "Tasks",
		requery(q) {
			query = q;
			pages.reset(ask());
			grid.top();
			view.refresh();
		},
		wants: event => event.type?.startsWith("task."),
		event(event) {
			const d = event.data;

			if (
				event.type?.startsWith("task.") &&
				pages.touch(d.task_id, {
					status: d.status,
					progress: d.progress,
					attempt: d.attempt,
					assigned_agent_id: d.agent_id ?? null
				})
			)
				view.draw();
		},
		async load() {
			const [from, to] = grid.range();

			await pages.refresh(from, to, grid.atTop);
			grid.set(pages.rows, pages.done);
		},
		actions: () => [
			button("Submit a task", { icon: "plus", kind: "primary", permission: "task:manage", href: "#/tasks/new" })
		],
		view: () => [
			h(
				"div.filters",
				h(
					"div.search",
					icon("search"),
					h("input", {
						type: "search",
						placeholder: "Type, or a task’s id",
						"aria-label": "Find by type or id",
						value: query.type ?? "",
						on: { input: find }
					})
				),
				chips("Status", STATES, list(query.status), on => filter({ status: on })),
				select(query.priority ?? "", [["", "Any priority"], ...PRIORITIES], v => filter({ priority: v }), {
					"aria-label": "Priority"
				}),
				button(open ? "Fewer filters" : "More filters", {
					icon: "filter",
					click: () => {
						open = !open;
						view.draw();
					},
					"aria-expanded": String(open || more.some(m => query[m]))
				})
			),
			open || more.some(m => query[m])
				? h(
						"div.filters.second",
						input("agent_id", "Agent’s id"),
						input("execution_id", "Run’s id"),
						input("pipeline_id", "Pipeline’s id"),
						input("stage", "Stage", "number", { min: 1, max: 6 }),
						input("created_from", "Created from", "datetime-local"),
						input("created_to", "Created before", "datetime-local")
					)
				: null,
			hold(grid.el),
			grid.atTop
				? null
				: h(
						"div.newer",
						button("Newest", {
							icon: "up",
							click: () => {
								grid.top();
								view.refresh();
							}
						})
					)
		],
		painted: () => grid.draw()
	};
}
