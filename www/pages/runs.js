// SPDX-License-Identifier: MIT
// The runs of all pipelines, or of one.
import { h, hold } from "../app/dom.js";
import * as f from "../app/format.js";
import { sketch } from "../app/graph.js";
import { Grid, Pages } from "../app/pages.js";
import { rewrite } from "../app/router.js";
import { badge, bar, button, chips, empty, id, tabs, time } from "../app/ui.js";
import { TABS } from "./pipelines.js";

const STATES = ["created", "running", "paused", "completed", "failed", "cancelled"];
export const ran = r => (r.started_at ? f.duration((f.ms(r.completed_at) ?? Date.now()) - f.ms(r.started_at)) : "–");

export const toneOf = r => ({ failed: "bad", completed: "good" })[r.status] ?? "accent";

export const columns = [
	{ label: "Status", class: "c-status", cell: r => badge(r.status) },
	{ label: "Pipeline", class: "c-type", cell: r => h("a", { href: "#/runs/" + r.execution_id }, r.pipeline_name) },
	{ label: "Stages", class: "c-sketch", cell: r => sketch(r.stages, r.stages) },
	{
		label: "Progress",
		class: "c-bar",
		cell: r => [
			bar(r.progress, { label: `${r.pipeline_name} progress`, tone: toneOf(r) }),
			h("span.num", f.percent(r.progress))
		]
	},
	{ label: "Tasks", class: "c-num num", cell: r => f.count(r.metrics?.tasks) },
	{ label: "Took", class: "c-num num", cell: ran },
	{ label: "Started", class: "c-time num", cell: r => time(r.started_at ?? r.created_at) },
	{ label: "Id", class: "c-id", cell: r => id(r.execution_id) }
];
export const narrow = r => [
	h(
		"span.line",
		badge(r.status),
		h("a", { href: "#/runs/" + r.execution_id }, r.pipeline_name),
		h("span.right", time(r.started_at ?? r.created_at))
	),
	h("span.line.mute", bar(r.progress, { label: "progress", tone: toneOf(r) }), h("span.right.num", ran(r)))
];

export default function runs(view) {
	let query = view.query;
	const pages = new Pages({ path: "/executions", key: "execution_id", size: 50, signal: view.signal });
	const grid = new Grid({
		columns,
		narrow,
		key: "execution_id",
		label: "Runs",
		link: r => "#/runs/" + r.execution_id,
		need: () => pages.more().then(more => more && grid.set(pages.rows, pages.done)),
		nothing: () =>
			empty(
				"No runs here.",
				Object.keys(query).length ? "Loosen the filter to see more." : "Run a pipeline from its page.",
				button("Definitions", { href: "#/pipelines" })
			)
	});

	view.onEnd(() => grid.end());
	pages.reset(query);
	return {
		name: "list",
		title: () => "Runs",
		wants: e => /^(pipeline|stage)\./.test(e.type ?? ""),
		requery(q) {
			query = q;
			pages.reset(q);
			grid.top();
			view.refresh();
		},
		async load() {
			const [from, to] = grid.range();

			await pages.refresh(from, to, grid.atTop);
			grid.set(pages.rows, pages.done);
		},
		view: () => [
			tabs("Pipelines", TABS, "runs"),
			h(
				"div.filters",
				chips("Status", STATES, query.status ? query.status.split(",") : [], on => {
					query = { ...query, status: on.join(",") || undefined };
					rewrite("/runs", query);
					pages.reset(query);
					grid.top();
					view.refresh();
				})
			),
			hold(grid.el)
		],
		painted: () => grid.draw()
	};
}
