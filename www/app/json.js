// SPDX-License-Identifier: MIT
// JSON to look at: a tree that folds, and the text to copy.
import { h } from "./dom.js";
import { copyable } from "./ui.js";

const MANY = 100,
	LONG = 400;

function leaf(value) {
	if (typeof value === "string")
		return h(
			"span.j-str",
			value.length > LONG ? `"${value.slice(0, LONG)}…" (${value.length} characters)` : JSON.stringify(value)
		);
	return h(
		"span",
		{ class: value === null ? "j-null" : typeof value === "number" ? "j-num" : "j-bool" },
		String(value)
	);
}

function node(name, value, depth, open) {
	const label = name === null ? null : h("span.j-key", String(name));

	if (value === null || typeof value !== "object") return h("div.j-row", label, label ? ": " : null, leaf(value));
	const entries = Array.isArray(value) ? value.map((v, i) => [i, v]) : Object.entries(value);
	const size = Array.isArray(value) ? `[${entries.length}]` : `{${entries.length}}`;

	if (!entries.length)
		return h("div.j-row", label, label ? ": " : null, h("span.j-null", Array.isArray(value) ? "[]" : "{}"));
	// What is folded is built when it is opened: a result may hold a hundred thousand values.
	const inside = h("div.j-in");
	let shown = 0;
	const fill = () => {
		const until = Math.min(entries.length, shown + MANY);

		for (; shown < until; shown++) inside.append(node(entries[shown][0], entries[shown][1], depth + 1, open));
		if (shown < entries.length) {
			const more = h(
				"button.link",
				{
					type: "button",
					on: {
						click: () => {
							more.remove();
							fill();
						}
					}
				},
				`${entries.length - shown} more`
			);

			inside.append(more);
		}
	};
	const details = h(
		"details",
		{ open: depth < open, on: { toggle: () => details.open && !shown && fill() } },
		h("summary", label, label ? " " : null, h("span.j-size", size)),
		inside
	);

	if (depth < open) fill();
	return details;
}

// A viewer that looks after itself; show(value) draws anew only when the value is another.
export class JsonView {
	constructor(label, open = 2) {
		this.label = label;
		this.open = open;
		this.text = null;
		this.el = h("div.json", { opaque: true });
	}
	show(value) {
		const text = value === undefined ? "" : JSON.stringify(value, null, 2);

		if (text === this.text) return this;
		this.text = text;
		this.el.replaceChildren(
			...(value === undefined || value === null
				? [h("p.mute", "Nothing.")]
				: [
						h("div.j-tools", h("span.mute.small", size(text.length)), copyable(text, `Copy ${this.label}`)),
						h(
							"div.j-tree",
							{ tabindex: "0", role: "region", "aria-label": this.label },
							node(null, value, 0, this.open)
						)
					])
		);
		return this;
	}
}

const size = n =>
	n < 1024 ? `${n} B` : n < 1048576 ? `${(n / 1024).toFixed(1)} KiB` : `${(n / 1048576).toFixed(1)} MiB`;
