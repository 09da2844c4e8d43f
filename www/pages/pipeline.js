// SPDX-License-Identifier: MIT
// One definition: its graph, its stages, its runs; and the button that runs it.
import { h, hold } from "../app/dom.js";
import * as api from "../app/api.js";
import * as f from "../app/format.js";
import { graph } from "../app/graph.js";
import { JsonView } from "../app/json.js";
import {
	act,
	badge,
	bar,
	button,
	card,
	confirm,
	copyable,
	dialog,
	empty,
	facts,
	field,
	problem,
	time,
	toast
} from "../app/ui.js";
import { patch } from "../app/dom.js";
import { ran, toneOf } from "./runs.js";

export async function runDialog(p) {
	const input = h("textarea", { rows: 7, spellcheck: "false" }, "{}"),
		parameters = h("textarea", { rows: 3, spellcheck: "false" }, "{}");
	const webhook = h("input", { type: "url", placeholder: "https://", autocomplete: "off" });
	const wrong = h("div");
	const read = (area, what) => {
		try {
			return area.value.trim() ? JSON.parse(area.value) : undefined;
		} catch (error) {
			area.focus();
			throw new Error(`${what}: ${error.message}`);
		}
	};

	const run = await dialog(
		`Run ${p.name}`,
		close =>
			h(
				"form",
				{
					on: {
						submit: async event => {
							event.preventDefault();
							try {
								close(
									await api.post(`/pipelines/${p.pipeline_id}/execute`, {
										input_data: read(input, "Input"),
										parameters: read(parameters, "Parameters"),
										...(webhook.value.trim()
											? { notification: { webhook: webhook.value.trim() } }
											: {})
									})
								);
							} catch (error) {
								patch(wrong, problem(error));
							}
						}
					}
				},
				h(
					"div.body",
					wrong,
					field("Input", input, {
						id: "run-input",
						help: 'JSON. A stage that fans out splits {"items": […]} into tasks.'
					}),
					field("Parameters", parameters, {
						id: "run-parameters",
						help: "JSON. Every task gets them; batch_size and parallel_workers steer fanning out."
					}),
					field("Tell this address at the end", webhook, {
						id: "run-webhook",
						help: "A signed webhook; may stay empty."
					})
				),
				h(
					"footer",
					button("Not now", { click: () => close() }),
					button("Run", { type: "submit", kind: "primary", icon: "play" })
				)
			),
		{ wide: true }
	);

	if (run) {
		toast("It runs.", "good");
		location.hash = "#/runs/" + run.execution_id;
	}
}

export default function pipeline(view) {
	const path = "/pipelines/" + encodeURIComponent(view.params.pipeline_id);
	const metadata = new JsonView("the metadata");
	let p = null,
		runs = [];

	async function load() {
		[p, runs] = await Promise.all([
			api.get(path, {}, view.signal),
			api.get("/executions", { pipeline_id: view.params.pipeline_id, limit: 20 }, view.signal)
		]);
	}
	async function drop() {
		if (
			(await confirm(
				"Delete this pipeline?",
				`The definition ${p.name} goes; runs that have ended stay on record.`,
				"Delete the pipeline"
			)) &&
			(await act(() => api.remove(path), "Deleted."))
		)
			location.hash = "#/pipelines";
	}

	return {
		name: "detail",
		title: () => p?.name ?? "Pipeline",
		back: ["#/pipelines", "Pipelines"],
		load,
		wants: e => e.data?.pipeline_id === view.params.pipeline_id && /^(pipeline|stage)\./.test(e.type),
		actions: () => [
			button("Run", { icon: "play", kind: "primary", permission: "pipeline:manage", click: () => runDialog(p) }),
			button("Edit", { icon: "edit", permission: "pipeline:manage", href: `#/pipelines/${p.pipeline_id}/edit` }),
			button("Delete", { icon: "trash", kind: "danger", permission: "pipeline:manage", click: drop })
		],
		view: () => [
			p.description ? h("p.lead.mute", p.description) : null,
			card("Graph", null, graph(p.stages, { label: `Stages of ${p.name}` })),
			h(
				"div.columns.wide-left",
				h(
					"div.stack",
					card(
						"Runs",
						h("a", { href: "#/runs?pipeline_id=" + p.pipeline_id }, "All of them"),
						runs.length
							? h(
									"table.lean",
									h(
										"thead",
										h(
											"tr",
											h("th", "Status"),
											h("th", "Run"),
											h("th", "Progress"),
											h("th.num.wide", "Tasks"),
											h("th.num.wide", "Took"),
											h("th.num", "Started")
										)
									),
									h(
										"tbody",
										runs.map(r =>
											h(
												"tr",
												{ key: r.execution_id },
												h("td", badge(r.status)),
												h(
													"td",
													h(
														"a",
														{ href: "#/runs/" + r.execution_id },
														f.short(r.execution_id)
													)
												),
												h("td.bar-cell", bar(r.progress, { label: "progress", tone: toneOf(r) })),
												h("td.num.wide", f.count(r.metrics?.tasks)),
												h("td.num.wide", ran(r)),
												h("td.num", time(r.started_at ?? r.created_at))
											)
										)
									)
								)
							: empty(
									"It never ran.",
									"Give it input and watch it go.",
									button("Run", {
										kind: "primary",
										icon: "play",
										permission: "pipeline:manage",
										click: () => runDialog(p)
									})
								)
					),
					card(
						"Stages",
						null,
						h(
							"div.table",
							{ tabindex: "0", role: "region", "aria-label": "Stages" },
							h(
								"table",
								h(
									"thead",
									h(
										"tr",
										h("th.num", "#"),
										h("th", "Stage"),
										h("th", "Waits for"),
										h("th", "Needs"),
										h("th.num", "Limit"),
										h("th.num", "Retries"),
										h("th", "Kind")
									)
								),
								h(
									"tbody",
									p.stages.map((s, i) =>
										h(
											"tr",
											h("td.num", i + 1),
											h("td", h("span.strong", s.name), h("small.mute", s.type)),
											h(
												"td",
												(s.depends_on ?? []).map(d => h("span.tag", `${d}`))
											),
											h(
												"td",
												(s.capabilities ?? []).map(c => h("span.tag", c))
											),
											h("td.num", f.duration(s.timeout * 1000)),
											h("td.num", s.max_retries ?? h("span.mute", "default")),
											h(
												"td",
												[
													s.required === false ? "optional" : "",
													s.fan_out ? "fans out" : "",
													s.validation ? "validates" : ""
												]
													.filter(Boolean)
													.join(", ") || h("span.mute", "plain")
											)
										)
									)
								)
							)
						)
					)
				),
				h(
					"div.stack",
					card(
						"Facts",
						null,
						facts([
							["Id", h("span.nowrap", h("code.cut", p.pipeline_id), copyable(p.pipeline_id))],
							["Tags", p.tags.map(t => h("span.tag", t))],
							["Created", time(p.created_at)],
							["Changed", time(p.updated_at)]
						])
					),
					Object.keys(p.metadata ?? {}).length
						? card("Metadata", null, hold(metadata.show(p.metadata).el))
						: null
				)
			)
		]
	};
}
