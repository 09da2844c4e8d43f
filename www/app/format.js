// SPDX-License-Identifier: MIT
// Figures and times as people read them.

const pad = (n, width = 2) => String(n).padStart(width, "0");

export const ms = iso => (iso ? Date.parse(iso) : null);

export function duration(t) {
	if (t === null || t === undefined || Number.isNaN(t)) return "–";
	if (t === 0) return "0 ms";
	if (t < 0.01) return "< 0.01 ms";
	if (t < 1) return `${t.toFixed(2)} ms`;
	if (t < 1000) return `${t < 10 ? t.toFixed(1) : Math.round(t)} ms`;
	const s = t / 1000;

	if (s < 60) return `${s < 10 ? s.toFixed(1) : Math.round(s)} s`;
	if (s < 3600) return `${Math.floor(s / 60)} m ${pad(Math.floor(s % 60))} s`;
	if (s < 172800) return `${Math.floor(s / 3600)} h ${pad(Math.floor((s % 3600) / 60))} m`;
	return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

export function ago(t, now = Date.now()) {
	const d = now - t;

	if (Math.abs(d) < 1500) return "now";
	const s = Math.abs(d) / 1000;
	const text =
		s < 60
			? `${Math.floor(s)} s`
			: s < 3600
				? `${Math.floor(s / 60)} m`
				: s < 172800
					? `${Math.floor(s / 3600)} h`
					: `${Math.floor(s / 86400)} d`;

	return d < 0 ? `in ${text}` : `${text} ago`;
}

export function clock(t, withMs = false) {
	const d = new Date(t);

	return `${pad(d.getHours())}:${pad(d.getMinutes())}:${pad(d.getSeconds())}${withMs ? "." + pad(d.getMilliseconds(), 3) : ""}`;
}

export function stamp(t, withMs = false) {
	const d = new Date(t);
	const today = new Date().toDateString() === d.toDateString();

	return (today ? "" : `${d.getFullYear()}-${pad(d.getMonth() + 1)}-${pad(d.getDate())} `) + clock(t, withMs);
}

export const percent = (x, digits = 0) => (x === null || x === undefined ? "–" : `${(x * 100).toFixed(digits)} %`);
export const count = n => (n === null || n === undefined ? "–" : n.toLocaleString("en").replaceAll(",", " "));
// UUIDv7 begin alike when they were made at the same time; their ends tell them apart.
export const short = id => (id ? id.slice(-8) : "");
export const words = slug => String(slug ?? "").replaceAll(/[_-]/g, " ");
