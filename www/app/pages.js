// SPDX-License-Identifier: MIT
// A cursor-paged list, newest first, of which only the pages that were asked for are held, and a table that draws only
// the rows in sight. At the top it follows what is new; further down rows stand still and only their pages are asked
// again, so that nothing moves under the reader's eyes. Depth costs nothing: a cursor is as quick at the millionth row.
import * as api from "./api.js";
import { h, patch } from "./dom.js";

export class Pages {
	constructor({ path, key, size = 100, signal }) {
		Object.assign(this, {
			path,
			key,
			size,
			signal,
			query: {},
			pages: [],
			rows: [],
			done: false,
			loading: false,
			era: 0,
			pause: 0
		});
	}

	reset(query) {
		this.query = query;
		this.pages = [];
		this.rows = [];
		this.done = false;
		this.era++;
	}

	async fetch(cursor) {
		const era = this.era;
		const answer = await api.page(this.path, { ...this.query, limit: this.size, cursor }, this.signal);

		// The filter has changed meanwhile: an answer to an old question.
		return era === this.era ? { cursor, rows: answer.data, next: answer.next_cursor ?? null } : null;
	}

	flatten() {
		const seen = new Set();

		this.rows = this.pages.flatMap(p => p.rows).filter(r => !seen.has(r[this.key]) && seen.add(r[this.key]));
		this.done = !this.pages.at(-1)?.next;
	}

	// At the top: the newest page. Elsewhere: the pages that hold rows from..to.
	async refresh(from, to, top) {
		if (top || !this.pages.length) {
			const head = await this.fetch(undefined);

			if (!head) return;
			// What was loaded further down stays only while it still joins on.
			this.pages =
				this.pages.length && this.pages[0].next === head.next ? [head, ...this.pages.slice(1)] : [head];
		} else {
			let at = 0;

			for (const [i, p] of this.pages.entries()) {
				const end = at + p.rows.length;

				if (i > 0 && at <= to && end >= from) {
					const fresh = await this.fetch(p.cursor);

					if (!fresh) return;
					p.rows = fresh.rows;
				}
				at = end;
			}
		}
		this.flatten();
	}

	// The next page; answers whether there was one. Not twice at a time, and after a failure not at once again.
	async more() {
		if (this.loading || this.done || !this.pages.length || Date.now() < this.pause) return false;
		this.loading = true;
		try {
			const next = await this.fetch(this.pages.at(-1).next);

			if (!next) return false;
			this.pages.push(next);
			this.flatten();
			return true;
		} catch {
			this.pause = Date.now() + 1000;
			return false;
		} finally {
			this.loading = false;
		}
	}

	// An event tells of a row in hand.
	touch(id, change) {
		const row = this.rows.find(r => r[this.key] === id);

		return row ? (Object.assign(row, change), true) : false;
	}
}

const TALL = 36,
	TALL_NARROW = 60;
const narrowScreen = matchMedia("(max-width: 820px)");

// columns: [{ name, label, cell(row), class, width }]; link(row) is where a row leads, or open(row) shows it.
export class Grid {
	constructor({ columns, link, open, label, key, need, narrow, nothing, moved }) {
		Object.assign(this, {
			columns,
			open_:
				open ??
				(row => {
					location.hash = link(row);
				}),
			label,
			key,
			need,
			narrow,
			nothing,
			moved,
			top_: true,
			rows: [],
			done: false,
			focus: -1
		});
		this.body = h("div.rows");
		this.scroller = h(
			"div.scroller",
			{
				tabindex: "0",
				"aria-label": label,
				on: { scroll: () => this.scrolled(), keydown: e => this.key_(e) }
			},
			(this.head = h(
				"div.head",
				{ role: "rowgroup" },
				h(
					"div.row",
					{ role: "row" },
					columns.map(c => h("span", { role: "columnheader", class: c.class ?? "" }, c.head ?? c.label))
				)
			)),
			this.body
		);
		this.el = h("div.grid", { opaque: true }, this.scroller);
		this.watch = new ResizeObserver(() => this.draw());
		this.watch.observe(this.scroller);
	}
	end() {
		this.watch.disconnect();
	}

	get tall() {
		return narrowScreen.matches ? TALL_NARROW : TALL;
	}
	get atTop() {
		return this.scroller.scrollTop < this.tall;
	}
	range() {
		const from = Math.max(0, Math.floor(this.scroller.scrollTop / this.tall) - 8);

		return [from, Math.min(this.rows.length, from + Math.ceil(this.scroller.clientHeight / this.tall) + 16)];
	}
	top() {
		this.scroller.scrollTop = 0;
	}

	set(rows, done) {
		this.rows = rows;
		this.done = done;
		this.draw();
	}

	draw() {
		const [from, to] = this.range();
		const narrow = narrowScreen.matches;

		// Without rows it is no table, neither to look at nor to listen to.
		this.head.hidden = !this.rows.length;
		this.scroller.setAttribute("role", this.rows.length ? "table" : "region");
		if (this.rows.length) {
			this.body.setAttribute("role", "rowgroup");
			this.scroller.setAttribute("aria-rowcount", this.done ? this.rows.length + 1 : -1);
		} else {
			this.body.removeAttribute("role");
			this.scroller.removeAttribute("aria-rowcount");
		}
		patch(
			this.body,
			h("div.pad", { style: { height: from * this.tall + "px" } }),
			this.rows
				.slice(from, to)
				.map((row, i) =>
					h(
						"div.row",
						{
							key: row[this.key],
							role: "row",
							"aria-rowindex": from + i + 2,
							class: from + i === this.focus ? "at" : "",
							on: { click: e => this.open(e, row) }
						},
						narrow
							? h("span.cell", { role: "cell" }, this.narrow(row))
							: this.columns.map(c => h("span", { role: "cell", class: c.class ?? "" }, c.cell(row)))
					)
				),
			h("div.pad", { style: { height: (this.rows.length - to) * this.tall + "px" } }),
			this.rows.length
				? h("div.tail", this.done ? "That is all." : "Looking further …")
				: this.done
					? this.nothing?.()
					: null
		);
		if (!this.done && to > this.rows.length - 30 && this.rows.length) this.need();
	}

	// moved() is told when the top is left or reached.
	scrolled() {
		this.draw();
		if (this.atTop !== this.top_) {
			this.top_ = this.atTop;
			this.moved?.();
		}
	}

	open(event, row) {
		if (event.target.closest("a, button, input, label") || getSelection().toString()) return;
		this.open_(row);
	}

	// Arrow keys walk the rows, Enter opens one.
	key_(event) {
		const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 12, PageUp: -12, Home: -1e9, End: 1e9, j: 1, k: -1 }[
			event.key
		];

		if (event.key === "Enter" && event.target === this.scroller && this.rows[this.focus])
			this.open_(this.rows[this.focus]);
		if (!step || event.target !== this.scroller) return;
		event.preventDefault();
		this.focus = Math.min(this.rows.length - 1, Math.max(0, this.focus + step));
		const at = this.focus * this.tall,
			s = this.scroller;

		if (at < s.scrollTop) s.scrollTop = at;
		else if (at + this.tall * 2 > s.scrollTop + s.clientHeight) s.scrollTop = at + this.tall * 2 - s.clientHeight;
		this.draw();
	}
}
