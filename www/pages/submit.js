// SPDX-License-Identifier: MIT
import { h, hold } from "../app/dom.js";
import * as api from "../app/api.js";
import { discard, draft, keep } from "../app/drafts.js";
import { SchemaForm, carry, openapi } from "../app/schema.js";
import { button, card, problem, toast, unsent } from "../app/ui.js";

const AT = "/tasks/new";

export default function submit(view) {
	let form = null,
		wrong = null,
		busy = false,
		kept = false;

	async function load() {
		if (form) return;
		const doc = await openapi();
		const post = doc.paths["/api/v1/tasks"]?.post ?? doc.paths["/tasks"].post;

		form = new SchemaForm(doc, post.requestBody.content["application/json"].schema, [
			"type",
			"priority",
			"requirements",
			"parameters"
		]);
		kept = false;
		if (carry.task) {
			form.set(carry.task);
			form.unfold();
		} else if (draft(AT)) {
			form.setTexts(draft(AT));
			kept = true;
		}
		carry.task = null;
		for (const kind of ["input", "change"]) form.el.addEventListener(kind, () => keep(AT, form.texts()));
	}

	function afresh() {
		discard(AT);
		form = wrong = null;
		view.refresh();
	}

	async function send(event) {
		event.preventDefault();
		const body = form.get();

		if (!body || busy) return;
		busy = true;
		wrong = null;
		view.draw();
		try {
			const made = await api.post("/tasks", body);

			discard(AT);
			toast(`${made.type} is submitted.`, "good");
			location.hash = "#/tasks/" + made.task_id;
		} catch (error) {
			const rest = form.complain(error);

			wrong = error.fields?.length && !rest.length ? null : error;
		}
		busy = false;
		view.draw();
	}

	return {
		name: "form",
		title: () => "Submit a task",
		back: ["#/tasks", "Tasks"],
		load,
		wants: () => false,
		view: () =>
			h(
				"form",
				{ on: { submit: send }, novalidate: true },
				wrong ? problem(wrong) : null,
				kept ? unsent(afresh) : null,
				card(null, null, hold(form.el)),
				h(
					"div.bottom",
					button("Submit", { type: "submit", kind: "primary", disabled: busy }),
					button("Back", { href: "#/tasks" })
				)
			)
	};
}
