// SPDX-License-Identifier: MIT
// Tasks that failed for good: look, choose, try again.
import { h, hold } from "../app/dom.js";
import * as api from "../app/api.js";
import * as f from "../app/format.js";
import { agentLink } from "../app/names.js";
import { Grid, Pages } from "../app/pages.js";
import { rewrite } from "../app/router.js";
import { act, badge, button, confirm, dialog, empty, icon, priority, select, time } from "../app/ui.js";
import { JsonView } from "../app/json.js";

export default function dead(view) {
	let query = view.query,
		asked = 0;
	const chosen = new Set();
	const pages = new Pages({ path: "/tasks/dead-letters", key: "task_id", signal: view.signal });
	const box = t =>
		h("input", {
			type: "checkbox",
			checked: chosen.has(t.task_id),
			"aria-label": `Choose ${t.type} ${f.short(t.task_id)}`,
			on: {
				change: e => {
					e.target.checked ? chosen.add(t.task_id) : chosen.delete(t.task_id);
					view.draw();
				}
			}
		});
	const columns = [
		{ label: "Choose", class: "c-box", head: h("span.hide", "Chosen"), cell: box },
		{ label: "Type", class: "c-type", cell: t => h("a", { href: "#/tasks/" + t.task_id }, t.type) },
		{
			label: "Error",
			class: "c-wide",
			cell: t => [
				h("code", t.error?.code ?? t.error?.type ?? "failed"),
				h("span.mute.cut", { title: t.error?.message }, t.error?.message ?? "")
			]
		},
		{ label: "Priority", class: "c-prio", cell: t => priority(t.priority) },
		{ label: "Tries", class: "c-num num", cell: t => t.attempt },
		{ label: "Agent", class: "c-agent", cell: t => agentLink(t.assigned_agent_id) },
		{ label: "Failed", class: "c-time num", cell: t => time(t.completed_at) },
		{
			label: "Look",
			class: "c-act",
			head: h("span.hide", "Look"),
			cell: t =>
				button("Inspect", {
					kind: "small",
					click: () => inspect(t),
					"aria-label": `Inspect ${t.type} ${f.short(t.task_id)}`
				})
		}
	];
	const narrow = t => [
		h("span.line", box(t), h("a", { href: "#/tasks/" + t.task_id }, t.type), h("span.right", time(t.completed_at))),
		h("span.line.mute", h("span.cut", t.error?.message ?? t.error?.code ?? "failed"))
	];
	const grid = new Grid({
		columns,
		narrow,
		key: "task_id",
		label: "Dead letters",
		link: t => "#/tasks/" + t.task_id,
		need: () => pages.more().then(more => more && grid.set(pages.rows, pages.done)),
		nothing: () =>
			empty(
				Object.keys(query).length ? "No dead letter matches." : "No dead letters.",
				"A task whose last try failed waits here until somebody decides."
			)
	});

	view.onEnd(() => grid.end());
	pages.reset(query);

	function filter(change) {
		query = Object.fromEntries(Object.entries({ ...query, ...change }).filter(([, v]) => v));
		rewrite("/dead-letters", query);
		chosen.clear();
		pages.reset(query);
		grid.top();
		view.refresh();
	}

	async function inspect(brief) {
		const t = await act(() => api.get("/tasks/" + brief.task_id));

		if (!t) return;
		const again = await dialog(
			t.type,
			close => [
				h(
					"div.body",
					h(
						"p",
						h("code", [t.error?.type, t.error?.code].filter(Boolean).join(" · ")),
						" ",
						t.error?.message ?? ""
					),
					t.error?.details ? new JsonView("the error’s details", 3).show(t.error.details).el : null,
					h("h3", "Attempts"),
					h(
						"ul.rows",
						t.attempts.map(a =>
							h(
								"li",
								badge(a.outcome ?? "failed", `attempt ${a.attempt}`),
								h("span.mute.cut", a.error?.message ?? ""),
								time(a.started_at ?? a.assigned_at)
							)
						)
					),
					h("h3", "Parameters"),
					new JsonView("the parameters").show(t.parameters).el
				),
				h(
					"footer",
					h("a.button", { href: "#/tasks/" + t.task_id, on: { click: () => close(false) } }, "Open the task"),
					button("Try again", { kind: "primary", icon: "retry", click: () => close(true) })
				)
			],
			{ wide: true }
		);

		if (again) {
			await act(() => api.post("/tasks/dead-letters/retry", { ids: [t.task_id] }), "It is tried again.");
			view.refresh();
		}
	}

	async function retry(ids) {
		if (ids) {
			let moved = 0;

			await act(
				async () => {
					for (let i = 0; i < ids.length; i += 500)
						moved += (await api.post("/tasks/dead-letters/retry", { ids: ids.slice(i, i + 500) })).retried;
				},
				() => `${f.count(moved)} are tried again.`
			);
			chosen.clear();
		} else {
			const filter_ = { ...query, ...(query.priority ? { priority: query.priority } : {}) };

			if (
				!(await confirm(
					"Try all of them again?",
					Object.keys(query).length
						? "All dead letters that match the filter go back to the queue."
						: "All dead letters go back to the queue.",
					"Try all again"
				))
			)
				return;
			let moved = 0;

			await act(
				async () => {
					for (let n = 500; n === 500;) {
						n = (await api.post("/tasks/dead-letters/retry", { filter: filter_, limit: 500 })).retried;
						moved += n;
					}
				},
				() => `${f.count(moved)} are tried again.`
			);
		}
		view.refresh();
	}

	return {
		name: "list",
		title: () => "Dead letters",
		wants: e => ["task.failed", "task.retrying", "task.completed"].includes(e.type),
		requery(q) {
			query = q;
			pages.reset(q);
			view.refresh();
		},
		async load() {
			const [from, to] = grid.range();

			await pages.refresh(from, to, grid.atTop);
			grid.set(pages.rows, pages.done);
		},
		actions: () => [
			chosen.size
				? button(`Try ${chosen.size} again`, {
						icon: "retry",
						kind: "primary",
						click: () => retry([...chosen])
					})
				: null,
			pages.rows.length ? button("Try all again", { icon: "retry", click: () => retry(null) }) : null
		],
		view: () => [
			h(
				"div.filters",
				h(
					"div.search",
					icon("search"),
					h("input", {
						type: "search",
						placeholder: "Type",
						"aria-label": "Find by type",
						value: query.type ?? "",
						on: {
							input: e => {
								clearTimeout(asked);
								const type = e.target.value
									.trim()
									.toLowerCase()
									.replaceAll(/[^a-z0-9._:/-]/g, "");
								asked = setTimeout(() => filter({ type }), 250);
							}
						}
					})
				),
				select(
					query.priority ?? "",
					[["", "Any priority"], "critical", "high", "medium", "low"],
					v => filter({ priority: v }),
					{ "aria-label": "Priority" }
				),
				button(chosen.size ? "Choose none" : "Choose those loaded", {
					kind: "small",
					click: () => {
						if (chosen.size) chosen.clear();
						else for (const t of pages.rows) chosen.add(t.task_id);
						view.draw();
						grid.draw();
					}
				}),
				h("span.mute.tally", `${f.count(pages.rows.length)}${pages.done ? "" : "+"} dead letters`)
			),
			hold(grid.el)
		],
		painted: () => grid.draw()
	};
}
