// SPDX-License-Identifier: MIT
// The definitions.
import { h } from "../app/dom.js";
import * as api from "../app/api.js";
import { sketch } from "../app/graph.js";
import * as f from "../app/format.js";
import { rewrite } from "../app/router.js";
import { badge, button, empty, icon, tabs, time } from "../app/ui.js";

export const TABS = [
	["pipelines", "#/pipelines", "Definitions"],
	["runs", "#/runs", "Runs"]
];

export default function pipelines(view) {
	let list = [],
		latest = new Map(),
		next = null,
		query = view.query;

	async function load() {
		const answer = await api.page("/pipelines", { limit: 200 }, view.signal);

		list = answer.data;
		next = answer.next_cursor;
		latest = new Map();
		for (const r of await api.get("/executions", { limit: 200 }, view.signal))
			if (!latest.has(r.pipeline_id)) latest.set(r.pipeline_id, r);
	}

	function row(p) {
		const run = latest.get(p.pipeline_id);

		return h(
			"tr",
			{ key: p.pipeline_id },
			h(
				"td",
				h("a.strong", { href: "#/pipelines/" + p.pipeline_id }, p.name),
				h("small.mute.cut", p.description ?? "")
			),
			h("td.wide", sketch(p.stages, run?.stages)),
			h("td.num.wide", p.stages.length),
			h(
				"td.tags.wide",
				p.tags.map(t => h("span.tag", t))
			),
			h(
				"td",
				run
					? h(
							"a.plain-link",
							{ href: "#/runs/" + run.execution_id },
							badge(run.status),
							h("span.mute.num", run.status === "running" ? f.percent(run.progress) : "")
						)
					: h("span.mute", "never ran")
			),
			h("td.num.wide", run ? time(run.started_at ?? run.created_at) : h("span.mute", "–"))
		);
	}

	return {
		name: "pipelines-page",
		title: () => "Pipelines",
		load,
		wants: e => /^(pipeline|stage)\./.test(e.type ?? ""),
		requery(q) {
			query = q;
			view.draw();
		},
		actions: () => [
			button("New pipeline", {
				icon: "plus",
				kind: "primary",
				permission: "pipeline:create",
				href: "#/pipelines/new"
			})
		],
		view() {
			const shown = list.filter(
				p => !query.find || (p.name + " " + p.tags.join(" ")).toLowerCase().includes(query.find.toLowerCase())
			);

			return [
				tabs("Pipelines", TABS, "pipelines"),
				list.length > 5
					? h(
							"div.filters",
							h(
								"div.search",
								icon("search"),
								h("input", {
									type: "search",
									placeholder: "Name or tag",
									"aria-label": "Find a pipeline",
									value: query.find ?? "",
									on: {
										input: e => {
											query = { ...query, find: e.target.value };
											rewrite("/pipelines", query);
											view.draw();
										}
									}
								})
							)
						)
					: null,
				shown.length
					? h(
							"div.table",
							{ tabindex: "0", role: "region", "aria-label": "Definitions" },
							h(
								"table",
								h(
									"thead",
									h(
										"tr",
										h("th", "Pipeline"),
										h("th.wide", "Shape"),
										h("th.num.wide", "Stages"),
										h("th.wide", "Tags"),
										h("th", "Latest run"),
										h("th.num.wide", "Started")
									)
								),
								h("tbody", shown.map(row))
							),
							next ? h("p.mute.tail", "The newest 200.") : null
						)
					: empty(
							list.length ? "No pipeline matches." : "No pipelines yet.",
							list.length ? "" : "A pipeline is one to six stages; each becomes tasks for agents.",
							button("New pipeline", {
								href: "#/pipelines/new",
								kind: "primary",
								permission: "pipeline:create"
							})
						)
			];
		}
	};
}
