// SPDX-License-Identifier: MIT
import { h } from "../app/dom.js";
import * as api from "../app/api.js";

export default function login(done) {
	const wrong = h("p.wrong", { role: "alert", hidden: true });
	const input = (id, type, autocomplete, extra = {}) =>
		h("input", { id, name: id, type, autocomplete, required: true, ...extra });
	const user = input("username", "text", "username", { autocapitalize: "none", spellcheck: "false" });
	const password = input("password", "password", "current-password");
	const code = input("totp", "text", "one-time-code", { inputmode: "numeric", required: false, maxlength: 12 });
	const codeField = h("div.field", { hidden: true }, h("label", { for: "totp" }, "One-time code"), code);
	const submit = h("button.button.primary", { type: "submit" }, "Sign in");

	async function enter(event) {
		event.preventDefault();
		submit.disabled = true;
		wrong.hidden = true;
		try {
			await api.login(user.value.trim(), password.value, code.value.trim());
			done();
		} catch (error) {
			if (/totp|mfa/.test(error.code ?? "") && codeField.hidden) {
				codeField.hidden = false;
				code.focus();
			}
			wrong.textContent = error.message + (error.requestId ? ` (request ${error.requestId})` : "");
			wrong.hidden = false;
			submit.disabled = false;
			if (codeField.hidden) password.select();
		}
	}
	return h(
		"main.login",
		{ id: "main", tabindex: "-1" },
		h(
			"form",
			{ on: { submit: enter } },
			h("img", { src: "panel.svg", alt: "", width: 40, height: 40 }),
			h("h1", "Control Panel"),
			h("p.mute", "Agents, tasks and pipelines of this panel."),
			h("div.field", h("label", { for: "username" }, "Name"), user),
			h("div.field", h("label", { for: "password" }, "Password"), password),
			codeField,
			wrong,
			submit,
			h(
				"p.mute.small",
				"The first administrator’s password is in the file that ",
				h("code", "./mcp"),
				" names."
			)
		)
	);
}
