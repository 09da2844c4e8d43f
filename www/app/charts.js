// SPDX-License-Identifier: MIT
// Charts by Chart.js, which Debian packages and our own web server serves under /lib/. It is fetched when the first
// chart is drawn, so that no page waits for it; without it a page shows its figures all the same.
import { h, colour } from "./dom.js";
import { clock } from "./format.js";

let library = null;

function load() {
	library ??= new Promise((resolve, reject) => {
		const script = document.createElement("script");

		script.src = "/lib/chart.js/chart.min.js";
		script.onload = () => resolve(window.Chart);
		script.onerror = () => {
			library = null;
			reject(new Error("Chart.js is not there."));
		};
		document.head.append(script);
	});
	return library;
}

const alpha = (rgb, a) => rgb.replace(/rgba?\(([^)]+)\)/, (_, c) => `rgba(${c.split(",").slice(0, 3)}, ${a})`);

const tens = (min, max) =>
	Array.from({ length: 7 }, (_, i) => ({ value: (Math.ceil(min / 600e3) + i) * 600e3 })).filter(t => t.value <= max);

// A point without neighbours makes no line: it is drawn as a dot.
const alone = ({ dataset, dataIndex: i }) => {
	const there = k => typeof dataset.data[k]?.y === "number";

	return there(i) && !there(i - 1) && !there(i + 1) ? 2.5 : 0;
};

// series: [{ key, label, tone, fill }]; kind "bar" stacks them. unit(value) is text for axis and tip.
export class Chart {
	constructor({ kind, series, unit, label, log = false, span = 3600e3 }) {
		Object.assign(this, { kind, series, unit, span, log, points: [], chart: null });
		this.canvas = h("canvas", { role: "img", "aria-label": label });
		this.note = h("p.mute", { hidden: true }, "The charts need Debian’s libjs-chart.js; the figures are below.");
		this.el = h("div.chart", { opaque: true }, this.canvas, this.note);
		this.theme = () => this.build();
		window.addEventListener("theme", this.theme);
		load().then(
			() => this.build(),
			() => {
				this.note.hidden = false;
				this.canvas.hidden = true;
			}
		);
	}
	end() {
		window.removeEventListener("theme", this.theme);
		this.chart?.destroy();
		this.chart = null;
		this.ended = true;
	}

	data() {
		return this.series.map(({ key }) => this.points.map(p => ({ x: Date.parse(p.at) + 30000, y: p[key] })));
	}

	build() {
		if (!window.Chart || this.ended) return;
		const text = colour("mute"),
			grid = colour("line"),
			data = this.data();

		this.chart?.destroy();
		this.chart = new window.Chart(this.canvas, {
			type: this.kind,
			data: {
				datasets: this.series.map((s, i) => {
					const c = colour(s.tone);

					return {
						label: s.label,
						data: data[i],
						borderColor: c,
						backgroundColor: this.kind === "bar" ? alpha(c, 0.85) : alpha(c, s.fill ? 0.14 : 0),
						borderWidth: this.kind === "bar" ? 0 : 1.75,
						borderDash: s.dash ?? [],
						pointRadius: alone,
						pointBackgroundColor: c,
						pointBorderWidth: 0,
						pointHitRadius: 8,
						fill: Boolean(s.fill),
						tension: 0.25,
						spanGaps: false,
						barPercentage: 0.9,
						categoryPercentage: 1,
						borderRadius: 1.5
					};
				})
			},
			options: {
				animation: false,
				responsive: true,
				maintainAspectRatio: false,
				parsing: false,
				normalized: true,
				interaction: { mode: "index", intersect: false, axis: "x" },
				scales: {
					x: {
						type: "linear",
						stacked: this.kind === "bar",
						...this.range(),
						offset: false,
						grid: { display: false, borderColor: grid },
						afterBuildTicks: axis => {
							axis.ticks = tens(axis.min, axis.max);
						},
						ticks: { color: text, maxRotation: 0, callback: v => clock(v).slice(0, 5), font: { size: 11 } }
					},
					y: {
						type: this.log ? "logarithmic" : "linear",
						stacked: this.kind === "bar",
						beginAtZero: !this.log,
						grid: { color: grid, drawBorder: false },
						grace: "5%",
						afterBuildTicks: axis => {
							if (this.log) axis.ticks = axis.ticks.filter(t => Number.isInteger(Math.log10(t.value)));
						},
						ticks: {
							color: text,
							maxTicksLimit: 5,
							precision: this.kind === "bar" ? 0 : undefined,
							callback: v => (this.log ? this.unit(v).replace(/(\d)\.0 /, "$1 ") : this.unit(v)),
							font: { size: 11 }
						}
					}
				},
				plugins: {
					legend: { display: false },
					tooltip: {
						backgroundColor: colour("tip"),
						titleColor: colour("tip-fg"),
						bodyColor: colour("tip-fg"),
						padding: 8,
						cornerRadius: 6,
						boxPadding: 4,
						callbacks: {
							title: items => clock(items[0].parsed.x - 30000).slice(0, 5),
							label: i => ` ${i.dataset.label}  ${this.unit(i.parsed.y)}`
						}
					}
				}
			}
		});
	}

	// Up to the end of the minute that runs, by whichever clock is ahead: its bar is seen whole.
	range() {
		const max = Math.max(
			Math.ceil(Date.now() / 60e3) * 60e3,
			this.points.length ? Date.parse(this.points.at(-1).at) + 60e3 : 0
		);

		return { min: max - this.span, max };
	}

	update(points) {
		this.points = points;
		if (!this.chart) return;
		this.data().forEach((d, i) => {
			this.chart.data.datasets[i].data = d;
		});
		Object.assign(this.chart.options.scales.x, this.range());
		this.chart.update("none");
	}

	legend() {
		return h(
			"ul.legend",
			this.series.map(s => h("li", h("i", { class: s.tone, "aria-hidden": "true" }), s.label))
		);
	}
}
