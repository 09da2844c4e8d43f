// SPDX-License-Identifier: MIT
// A run, live: the graph of its stages, its Gantt chart, and what each stage's tasks do.
import { h, hold } from "../app/dom.js";
import * as api from "../app/api.js";
import { cancelRun, pauseRun, resumeRun, retryRun } from "../app/actions.js";
import * as f from "../app/format.js";
import { gantt, graph, took } from "../app/graph.js";
import { JsonView } from "../app/json.js";
import { agentLink } from "../app/names.js";
import { rewrite } from "../app/router.js";
import { act, badge, bar, button, card, copyable, facts, time, id, toast } from "../app/ui.js";
import { took as tookTask } from "./tasks.js";
import { ran, toneOf } from "./runs.js";

const LIVE = ["created", "running", "paused"];

export default function run(view) {
	const path = "/executions/" + encodeURIComponent(view.params.execution_id);
	const parameters = new JsonView("the parameters"),
		output = new JsonView("the output", 2);
	let r = null,
		definition = null,
		tasks = [],
		chosen = Number(view.query.stage) || 0,
		shownOutput = null,
		was = null;

	async function load() {
		r = await api.get(path, {}, view.signal);
		// An ended run changes no more.
		if (was === r.updated_at && !LIVE.includes(r.status)) return;
		if (api.may("task:read"))
			tasks = await api.get("/tasks", { execution_id: view.params.execution_id, limit: 500 }, view.signal);
		definition ??= await api.get("/pipelines/" + r.pipeline_id, {}, view.signal).catch(() => ({ stages: [] }));
		was = r.updated_at;
	}

	function pick(stage) {
		chosen = chosen === stage ? 0 : stage;
		shownOutput = null;
		rewrite("/runs/" + r.execution_id, chosen ? { stage: chosen } : {});
		view.draw();
	}

	const save = (stage, format) =>
		act(() => api.download(path + "/output", { stage, format }, `${r.pipeline_name}-stage-${stage}.${format}`));

	async function showOutput(stage) {
		try {
			const data = await api.get(path + "/output", { stage, limit: 50 }, view.signal);

			output.show(data);
			shownOutput = stage;
			view.draw();
		} catch (error) {
			toast(error.message, "bad", error);
		}
	}

	function stage(s) {
		const own = tasks.filter(t => t.stage === s.stage);

		return card(
			`Stage ${s.stage}: ${f.words(s.name)}`,
			h(
				"span.nowrap",
				badge(s.status),
				" ",
				h("a", { href: `#/tasks?execution_id=${r.execution_id}&stage=${s.stage}` }, "its tasks")
			),
			s.error ? h("p.said", h("code", s.error.code ?? s.error.type), " ", s.error.message ?? "") : null,
			h(
				"div.split",
				facts([
					["Tasks", `${f.count(s.task_counts.completed)} of ${f.count(s.tasks)}`],
					["Failed", f.count(s.task_counts.failed)],
					["Started", time(s.started_at)],
					["Took", f.duration(took(s))]
				])
			),
			own.length
				? h(
						"div.table.short",
						{ tabindex: "0", role: "region", "aria-label": "Tasks of the stage" },
						h(
							"table",
							h(
								"thead",
								h(
									"tr",
									h("th", "Status"),
									h("th", "Task"),
									h("th", "Agent"),
									h("th", "Progress"),
									h("th.num.wide", "Tries"),
									h("th.num", "Took")
								)
							),
							h(
								"tbody",
								own
									.slice(0, 100)
									.map(t =>
										h(
											"tr",
											{ key: t.task_id },
											h("td", badge(t.status)),
											h("td", h("a.id", { href: "#/tasks/" + t.task_id }, f.short(t.task_id))),
											h("td.nowrap-cell", agentLink(t.assigned_agent_id)),
											h(
												"td.bar-cell",
												t.error && t.status !== "completed"
													? h("span.cut.mute", { title: t.error.message }, t.error.message)
													: bar(t.status === "completed" ? 1 : t.progress, {
															label: "progress",
															tone: t.status === "completed" ? "good" : "accent"
														})
											),
											h("td.num.wide", t.attempt),
											h("td.num", tookTask(t))
										)
									)
							)
						)
					)
				: h(
						"p.mute",
						s.status === "pending"
							? "It begins when the stages it waits for are done."
							: "No tasks to show."
					),
			s.status === "completed"
				? [
						h(
							"div.actions",
							shownOutput === s.stage
								? null
								: button("Show its output", { click: () => showOutput(s.stage) }),
							["ndjson", "csv"].map(format =>
								button(`As ${format.toUpperCase()}`, { click: () => save(s.stage, format) })
							)
						),
						shownOutput === s.stage ? hold(output.el) : null
					]
				: null
		);
	}

	const agents = () => {
		const busy = tasks.filter(t => ["running", "assigned"].includes(t.status) && t.assigned_agent_id);
		const by = Map.groupBy
			? Map.groupBy(busy, t => t.assigned_agent_id)
			: busy.reduce((m, t) => m.set(t.assigned_agent_id, [...(m.get(t.assigned_agent_id) ?? []), t]), new Map());

		return by.size
			? h(
					"ul.rows",
					[...by].map(([agent, own]) =>
						h(
							"li",
							{ key: agent },
							agentLink(agent),
							h("span.mute", `${own.length} × stage ${[...new Set(own.map(t => t.stage))].join(", ")}`)
						)
					)
				)
			: h("p.mute", LIVE.includes(r.status) ? "Nobody at this moment." : "The run has ended.");
	};

	// The graph's edges come with the run, names and kinds from its snapshot there.
	const stages = () => r.stages.map((s, i) => ({ ...definition?.stages?.[i], ...s, required: s.required }));

	return {
		name: "detail",
		title: () => r?.pipeline_name ?? "Run",
		back: ["#/runs", "Runs"],
		load,
		get always() {
			return r && LIVE.includes(r.status);
		},
		wants: e => e.data?.execution_id === view.params.execution_id,
		requery(q) {
			chosen = Number(q.stage) || 0;
			view.draw();
		},
		badge: () => (r ? badge(r.status) : null),
		actions: () => [
			r.status === "failed"
				? button("Retry from the failed stage", {
						icon: "retry",
						kind: "primary",
						permission: "pipeline:manage",
						click: () => retryRun(r).then(() => view.refresh())
					})
				: null,
			r.status === "running"
				? button("Pause", {
						icon: "pause",
						permission: "pipeline:manage",
						click: () => pauseRun(r).then(() => view.refresh())
					})
				: null,
			r.status === "paused"
				? button("Resume", {
						icon: "play",
						kind: "primary",
						permission: "pipeline:manage",
						click: () => resumeRun(r).then(() => view.refresh())
					})
				: null,
			LIVE.includes(r.status)
				? button("Cancel", {
						icon: "close",
						kind: "danger",
						permission: "pipeline:manage",
						click: () => cancelRun(r).then(() => view.refresh())
					})
				: null
		],
		view: () => [
			h(
				"div.progress",
				bar(r.progress, {
					label: "progress of the run",
					tone: toneOf(r)
				}),
				h("span.num", f.percent(r.progress)),
				h("span.mute.nowrap", ran(r))
			),
			r.error
				? h(
						"section.card.wrongs",
						h("p", h("code", r.error.code ?? r.error.type ?? ""), " ", r.error.message ?? "")
					)
				: null,
			card(
				"Stages",
				h("span.mute.small", "Choose one to see its tasks"),
				graph(stages(), { states: r.stages, chosen, pick, label: "Stages of the run" })
			),
			chosen && r.stages[chosen - 1] ? stage(r.stages[chosen - 1]) : null,
			h(
				"div.columns.wide-left",
				card("Gantt", null, gantt(r, tasks)),
				h(
					"div.stack",
					card("At work", null, agents()),
					card(
						"Facts",
						null,
						facts([
							["Id", h("span.nowrap", h("code.cut", r.execution_id), copyable(r.execution_id))],
							["Pipeline", h("a", { href: "#/pipelines/" + r.pipeline_id }, r.pipeline_name)],
							["Started", time(r.started_at)],
							["Ended", time(r.completed_at)],
							["Tasks", f.count(r.metrics?.tasks)],
							["Started by", id(r.created_by)],
							["Tells", r.notification?.webhook ?? r.notification?.email]
						])
					),
					Object.keys(r.parameters ?? {}).length
						? card("Parameters", null, hold(parameters.show(r.parameters).el))
						: null
				)
			)
		]
	};
}
