// SPDX-License-Identifier: MIT
// A pipeline's stages as a graph: columns by depth, lines from what a stage waits for. And a run's Gantt chart.
import { h } from "./dom.js";
import * as f from "./format.js";
import { tone } from "./ui.js";

const W = 152,
	H = 64,
	GAP_X = 32,
	GAP_Y = 20,
	PAD = 4;

// stages: [{ name, depends_on: [1-based numbers] }] -> { x, y } for each
function place(stages) {
	const depth = stages.map(() => 0);

	// As deep as its deepest predecessor; as many rounds as there are stages end even where the definition has a circle.
	for (let round = 0; round < stages.length; round++)
		stages.forEach((s, i) => {
			for (const d of s.depends_on ?? [])
				if (d >= 1 && d <= stages.length && d - 1 !== i)
					depth[i] = Math.max(depth[i], Math.min(stages.length - 1, depth[d - 1] + 1));
		});
	const found = [];

	depth.forEach((d, i) => (found[d] ??= []).push(i));
	// A circle drives depths up and leaves columns empty.
	const columns = found.filter(Boolean);
	const tallest = Math.max(...columns.map(c => c.length));
	const at = [];

	columns.forEach((members, x) =>
		members.forEach((i, k) => {
			at[i] = { x: PAD + x * (W + GAP_X), y: PAD + ((tallest - members.length) / 2 + k) * (H + GAP_Y) };
		})
	);
	return {
		at,
		width: PAD * 2 + columns.length * (W + GAP_X) - GAP_X,
		height: PAD * 2 + tallest * (H + GAP_Y) - GAP_Y
	};
}

// A line from one stage to a later one, beside what stands between them, not through it.
function route(at, from, to) {
	const a = at[from],
		b = at[to],
		x1 = a.x + W,
		y1 = a.y + H / 2,
		y2 = b.y + H / 2,
		half = GAP_X / 2;
	const bend = (x, y, toX, toY) => `C${x + half} ${y} ${toX - half} ${toY} ${toX} ${toY}`;

	if (b.x - x1 <= GAP_X || b.x <= a.x) return `M${x1} ${y1}${bend(x1, y1, b.x, y2)}`;
	const between = at.filter(n => n.x > a.x && n.x < b.x);
	const free = y => between.every(n => y < n.y - 4 || y > n.y + H + 4);
	const lane = [y1, y2, y1 - H / 2 - 10, y1 + H / 2 + 10].find(free) ?? Math.max(...between.map(n => n.y)) + H + 10;

	return `M${x1} ${y1}${bend(x1, y1, x1 + GAP_X, lane)}H${b.x - GAP_X}${bend(b.x - GAP_X, lane, b.x, y2)}`;
}

const cut = (text, n) => (text.length > n ? text.slice(0, n - 1) + "…" : text);

function share(s) {
	return s.status === "completed"
		? 1
		: s.tasks
			? ((s.task_counts?.completed ?? 0) + (s.task_counts?.cancelled ?? 0)) / s.tasks
			: 0;
}

export function took(s) {
	return s.started_at ? (f.ms(s.completed_at) ?? Date.now()) - f.ms(s.started_at) : null;
}

// states: the run's stages, when there is one; pick(number) when a stage can be chosen.
export function graph(stages, { states = [], chosen = 0, pick = null, label = "Stages" } = {}) {
	const { at, width, height } = place(stages);
	const lines = stages.flatMap((s, i) =>
		(s.depends_on ?? [])
			.filter(d => d >= 1 && d <= stages.length && d - 1 !== i)
			.map(d => {
				const done = states[d - 1]?.status === "completed";

				return h("path", {
					class: ["edge", done && "done", done && states[i]?.status === "running" && "flows"],
					d: route(at, d - 1, i)
				});
			})
	);
	const nodes = stages.map((s, i) => {
		const state = states[i],
			status = state?.status ?? "",
			part = state ? share(state) : 0,
			t = state ? took(state) : null;
		const go = pick
			? {
					click: () => pick(i + 1),
					keydown: e => {
						if (e.key === "Enter" || e.key === " ") {
							e.preventDefault();
							pick(i + 1);
						}
					}
				}
			: {};
		const note = state
			? [
					status,
					state.tasks > 1 && status === "running"
						? `${state.task_counts?.completed ?? 0}/${state.tasks}`
						: "",
					t !== null ? f.duration(t) : ""
				]
					.filter(Boolean)
					.join(" · ")
			: [s.type && s.type !== s.name ? s.type : "", s.fan_out ? "fans out" : "", s.required === false ? "optional" : ""]
					.filter(Boolean)
					.join(" · ");
		// A name alone stands in the middle of its box.
		const line = note ? 25 : H / 2 + 4;

		return h(
			"g",
			{
				key: "s" + i,
				class: [
					"node",
					state && tone(status),
					status,
					chosen === i + 1 && "chosen",
					pick && "pickable",
					s.required === false && "optional"
				],
				transform: `translate(${at[i].x} ${at[i].y})`,
				tabindex: pick ? "0" : null,
				role: pick ? "button" : "img",
				"aria-pressed": pick ? String(chosen === i + 1) : null,
				"aria-label": pick ? null : [`stage ${i + 1}, ${s.name}`, note].filter(Boolean).join(": "),
				on: go
			},
			pick ? null : h("title_", `${i + 1}. ${s.name}${s.required === false ? " (optional)" : ""}`),
			h("rect", { class: "box", width: W, height: H, rx: 8 }),
			h("text", { class: "number", x: 12, y: line }, `${i + 1}`),
			h("text", { class: "name", x: 26, y: line }, cut(f.words(s.name || "unnamed"), 18)),
			note ? h("text", { class: "note", x: 12, y: 45 }, cut(note, 25)) : null,
			state ? h("rect", { class: "rail-line", x: 12, y: 53, width: W - 24, height: 3, rx: 1.5 }) : null,
			state && part > 0
				? h("rect", { class: "fill-line", x: 12, y: 53, width: (W - 24) * part, height: 3, rx: 1.5 })
				: null
		);
	});

	return h(
		"div.graph",
		{ tabindex: "0", role: "group", "aria-label": label },
		h(
			"svg",
			{ viewBox: `0 0 ${width} ${height}`, style: { "--width": width + "px" } },
			h("g", lines),
			h("g", nodes)
		)
	);
}

// The shape alone, small, for lists.
export function sketch(stages, states = []) {
	const { at, width, height } = place(stages);

	return h(
		"svg",
		{ class: "sketch", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${stages.length} stages` },
		stages.flatMap((s, i) =>
			(s.depends_on ?? [])
				.filter(d => at[d - 1] && d - 1 !== i)
				.map(d => h("line", { x1: at[d - 1].x + W, y1: at[d - 1].y + H / 2, x2: at[i].x, y2: at[i].y + H / 2 }))
		),
		at.map((p, i) =>
			h("rect", { class: states[i] ? tone(states[i].status) : "", x: p.x, y: p.y, width: W, height: H, rx: 14 })
		)
	);
}

const ticks = span =>
	[100, 200, 500, 1e3, 2e3, 5e3, 1e4, 15e3, 3e4, 6e4, 12e4, 3e5, 6e5, 18e5, 36e5, 72e5, 144e5, 432e5, 864e5].find(
		t => span / t <= 6
	) ?? span / 5;

// Stages and, thin below each, the tasks that did its work.
export function gantt(run, tasks) {
	const begin = f.ms(run.started_at ?? run.created_at),
		now = Date.now(),
		end = Math.max(begin + 50, f.ms(run.completed_at) ?? now);
	const span = (end - begin) * 1.02,
		step = ticks(span),
		x = t => `${Math.max(0, ((t - begin) / span) * 100)}%`,
		w = (a, b) => `max(2px, ${Math.max(0, ((b - a) / span) * 100)}%)`;
	const marks = Array.from({ length: Math.floor(span / step) + 1 }, (_, i) => i * step);

	return h(
		"div.gantt",
		{ role: "img", "aria-label": `Gantt chart of ${run.stages.length} stages over ${f.duration(end - begin)}` },
		h(
			"div.axis",
			marks.map(m => h("span", { style: { left: `${(m / span) * 100}%` } }, m ? f.duration(m) : "0"))
		),
		run.stages.map(s => {
			const from = f.ms(s.started_at),
				to = f.ms(s.completed_at) ?? (s.status === "running" ? now : from);
			const own = tasks.filter(t => t.stage === s.stage && t.started_at).slice(0, 60);
			// As many lanes as tasks ran side by side.
			const lanes = [];

			own.sort((a, b) => (a.started_at < b.started_at ? -1 : 1));
			for (const t of own) {
				const start = f.ms(t.started_at);
				let lane = lanes.findIndex(until => until <= start);

				if (lane < 0) lane = lanes.push(0) - 1;
				lanes[lane] = f.ms(t.completed_at) ?? now;
				t.$lane = lane;
			}
			return h(
				"div.lane",
				{ key: "g" + s.stage },
				h("span.who", `${s.stage}. ${f.words(s.name)}`),
				h(
					"div.bars",
					{ style: { height: `${18 + Math.min(8, lanes.length) * 5}px` } },
					marks.map(m => h("i.mark", { style: { left: `${(m / span) * 100}%` } })),
					from
						? h("i.stage", {
								class: tone(s.status),
								title: `${s.name}: ${f.duration(to - from)}`,
								style: { left: x(from), width: w(from, to) }
							})
						: null,
					own
						.filter(t => t.$lane < 8)
						.map(t =>
							h("i.task", {
								class: tone(t.status),
								title: `${t.type} ${t.status}`,
								style: {
									left: x(f.ms(t.started_at)),
									width: w(f.ms(t.started_at), f.ms(t.completed_at) ?? now),
									top: `${16 + t.$lane * 5}px`
								}
							})
						)
				),
				h("span.num", from ? f.duration(to - from) : "–")
			);
		})
	);
}
