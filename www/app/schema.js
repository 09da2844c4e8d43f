// SPDX-License-Identifier: MIT
// A form made from a JSON Schema of /openapi.json, so that what the API takes and what the form offers are the same.
import * as api from "./api.js";
import { h } from "./dom.js";
import * as f from "./format.js";

let document_ = null;

export async function openapi() {
	document_ ??= api.text("/openapi.json").then(
		d => d,
		error => {
			document_ = null;
			throw error;
		}
	);
	return document_;
}

// What a $ref names; and of "this or null" the this.
export function resolve(doc, schema) {
	for (let i = 0; i < 20; i++) {
		const real = (schema?.anyOf ?? schema?.oneOf)?.filter(x => x.type !== "null");

		if (schema?.$ref)
			schema = schema.$ref
				.split("/")
				.slice(1)
				.reduce((at, part) => at?.[part], doc);
		else if (real?.length === 1) schema = { description: schema.description, ...real[0] };
		else break;
	}
	return schema ?? {};
}

// What one page hands to the next, in memory only.
export const carry = { task: null };

const types = s => (Array.isArray(s.type) ? s.type : s.type ? [s.type] : (s.anyOf ?? s.oneOf ?? []).flatMap(types));
const main = s => types(s).find(t => t !== "null");
const choices = s => (s.enum ?? s.anyOf?.find(x => x.enum)?.enum)?.filter(x => x !== null);

// One field: { el, get() } where get() answers undefined for "left out" and throws { path, message }.
class Field {
	constructor(form, path, name, schema, required) {
		Object.assign(this, { form, path, name, schema, required });
		this.id = "f" + path.replaceAll(/[^a-z0-9]+/gi, "-");
		this.wrong = h("small.wrong", { id: this.id + "-wrong", hidden: true, role: "alert" });
		this.control = this.make();
		this.control.id = this.id;
		const about = [this.help && this.id + "-help", this.id + "-wrong"].filter(Boolean).join(" ");

		this.control.setAttribute("aria-describedby", about);
		this.el = h(
			"div.field",
			{ class: this.kind === "json" ? "full" : "" },
			h("label", { for: this.id }, f.words(name), required ? h("b.star", { title: "required" }, " *") : null),
			this.control,
			this.help ? h("small", { id: this.id + "-help" }, this.help) : null,
			this.wrong
		);
	}

	make() {
		const s = this.schema,
			t = main(s),
			items = resolve(this.form.doc, s.items ?? s.anyOf?.find(x => x.items)?.items);

		this.help = s.description ?? "";
		if (choices(s)) {
			this.kind = "choice";
			return h(
				"select",
				{},
				this.required ? null : h("option", { value: "" }, "default"),
				choices(s).map(c => h("option", { value: c }, c))
			);
		}
		if (t === "boolean") {
			this.kind = "boolean";
			return h(
				"select",
				{},
				h("option", { value: "" }, "default"),
				h("option", { value: "true" }, "yes"),
				h("option", { value: "false" }, "no")
			);
		}
		if (t === "integer" || t === "number") {
			this.kind = t;
			return h("input", {
				type: "number",
				step: t === "integer" ? 1 : "any",
				min: s.minimum,
				max: s.maximum,
				placeholder: s.default ?? ""
			});
		}
		if (t === "array" && (main(items) === "string" || choices(items))) {
			this.kind = "list";
			this.help = [this.help, "Separated by commas."].filter(Boolean).join(" ");
			if (choices(items)) this.help += ` Any of: ${choices(items).join(", ")}.`;
			return h("input", { type: "text", autocomplete: "off", spellcheck: "false" });
		}
		if (t === "string") {
			this.kind = s.format === "date-time" ? "time" : "string";
			return h("input", {
				type: this.kind === "time" ? "datetime-local" : "text",
				step: this.kind === "time" ? 1 : null,
				autocomplete: "off",
				spellcheck: "false",
				maxlength: s.maxLength
			});
		}
		this.kind = "json";
		return h("textarea", { rows: 6, spellcheck: "false", placeholder: t === "object" ? "{ }" : "any JSON" });
	}

	set(value) {
		if (value === undefined || value === null) return;
		this.control.value =
			this.kind === "json"
				? JSON.stringify(value, null, 2)
				: this.kind === "list"
					? value.join(", ")
					: String(value);
	}

	get() {
		const text = this.control.value.trim();

		this.say("");
		if (!text) return this.required ? this.say("is needed") : undefined;
		if (this.kind === "json") {
			try {
				return JSON.parse(text);
			} catch (error) {
				return this.say(error.message);
			}
		}
		if (this.kind === "integer" || this.kind === "number")
			return Number.isFinite(Number(text)) ? Number(text) : this.say("is not a number");
		return this.kind === "list"
			? text
					.split(",")
					.map(x => x.trim())
					.filter(Boolean)
			: this.kind === "boolean"
				? text === "true"
				: this.kind === "time"
					? new Date(text).toISOString()
					: text;
	}

	say(text) {
		this.wrong.textContent = text;
		this.wrong.hidden = !text;
		this.el.classList.toggle("invalid", Boolean(text));
		this.control.setAttribute("aria-invalid", String(Boolean(text)));
		if (text) this.form.bad.push(this);
		return undefined;
	}
}

export class SchemaForm {
	// first: the names that come first; the rest is folded under "More".
	constructor(doc, schema, first = []) {
		this.doc = doc;
		this.bad = [];
		this.fields = new Map();
		const s = resolve(doc, schema),
			names = Object.keys(s.properties ?? {}).filter(n => !s.properties[n].deprecated);
		const shown = [
			...first.filter(n => names.includes(n)),
			...names.filter(n => s.required?.includes(n) && !first.includes(n))
		];

		this.el = h(
			"div.schema",
			h(
				"div.fields",
				shown.map(n => this.add("$", n, s))
			),
			h(
				"details",
				h("summary", "More"),
				h(
					"div.fields",
					names.filter(n => !shown.includes(n)).map(n => this.add("$", n, s))
				)
			)
		);
	}

	add(path, name, parent) {
		const schema = resolve(this.doc, parent.properties[name]),
			here = `${path}.${name}`;

		// An older spelling of another field is left to programs.
		if (main(schema) === "object" && schema.properties)
			return h(
				"fieldset",
				h("legend", f.words(name)),
				h(
					"div.fields",
					Object.keys(schema.properties).map(n => this.add(here, n, schema))
				)
			);
		const field = new Field(this, here, name, schema, Boolean(parent.required?.includes(name)) && path === "$");

		this.fields.set(here, field);
		return field.el;
	}

	// What stands in the fields as it was typed, right or wrong; and back again.
	texts() {
		return new Map([...this.fields].map(([path, field]) => [path, field.control.value]));
	}
	setTexts(texts) {
		for (const [path, text] of texts) if (this.fields.has(path)) this.fields.get(path).control.value = text;
		this.unfold();
	}

	set(value, path = "$") {
		for (const [name, v] of Object.entries(value ?? {})) {
			const here = `${path}.${name}`;

			if (this.fields.has(here)) this.fields.get(here).set(v);
			else if (v && typeof v === "object" && !Array.isArray(v)) this.set(v, here);
		}
	}

	// The body; null when a field is wrong (it says so and has the focus).
	get() {
		const body = {};

		this.bad = [];
		for (const [path, field] of this.fields) {
			const value = field.get();

			if (value === undefined) continue;
			const names = path.slice(2).split(".");
			let at = body;

			for (const name of names.slice(0, -1)) at = at[name] ??= {};
			at[names.at(-1)] = value;
		}
		this.focus();
		return this.bad.length ? null : body;
	}

	// The API's own complaints, each at its field; those without one are returned.
	complain(error) {
		const rest = [];

		this.bad = [];
		for (const d of error.fields ?? []) {
			const field = this.fields.get(d.field.replace(/\[\d+\].*$/, ""));

			if (field) field.say(d.message);
			else rest.push(d);
		}
		this.focus();
		return rest;
	}

	// What is filled in is in sight.
	unfold() {
		for (const { el, control } of this.fields.values())
			if (control.value) el.closest("details")?.setAttribute("open", "");
	}

	focus() {
		const field = this.bad[0];

		if (!field) return;
		field.el.closest("details")?.setAttribute("open", "");
		field.control.focus();
	}
}
