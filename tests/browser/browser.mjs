// SPDX-License-Identifier: MIT
// Debian's Chromium with the dashboard in it. Whatever the page complains about (an error on its console, something its
// policy forbade, an exception) is kept, and a test that leaves complaints behind has failed.
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

export const CHROMIUM = process.env.CHROMIUM || ["/usr/bin/chromium", "/usr/bin/chromium-browser"].find(existsSync);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

export const WIDE = { width: 1280, height: 800 },
	NARROW = { width: 390, height: 844 };

export const launch = () =>
	chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", "--disable-dev-shm-usage"] });

export class Tab {
	static async open(browser, panel, { viewport = WIDE, theme = "light" } = {}) {
		const tab = new Tab();

		tab.panel = panel;
		tab.context = await browser.newContext({ viewport, colorScheme: theme, reducedMotion: "reduce" });
		tab.page = await tab.context.newPage();
		tab.complaints = [];
		tab.page.setDefaultTimeout(15000);
		tab.page.on(
			"console",
			m => m.type() === "error" && tab.complaints.push(`console: ${m.text()} (${m.location().url})`)
		);
		tab.page.on("pageerror", e => tab.complaints.push(`exception: ${e.stack ?? e}`));
		await tab.page.addInitScript(() =>
			document.addEventListener("securitypolicyviolation", e =>
				console.error(`policy: ${e.violatedDirective} ${e.blockedURI} ${e.sourceFile}:${e.lineNumber}`)
			)
		);
		return tab;
	}

	// What is expected while a part of the panel is killed.
	forgive(pattern) {
		this.complaints = this.complaints.filter(c => !pattern.test(c));
	}
	take() {
		return this.complaints.splice(0);
	}

	async login(user = this.panel.user, password = this.panel.password, at = "/") {
		await this.page.goto(this.panel.url + at);
		await this.page.fill("#username", user);
		await this.page.fill("#password", password);
		await this.page.click("button[type=submit]");
		await this.page.waitForSelector(".frame");
		return this;
	}

	async go(hash) {
		await this.page.evaluate(h => {
			location.hash = h;
		}, "#" + hash);
		await this.ready();
	}
	// The page named by the address is there, with its data.
	async ready() {
		await this.page.waitForFunction(() => {
			const page = document.querySelector(".page");

			return (
				page &&
				!page.hasAttribute("aria-busy") &&
				(page.dataset.at ?? location.hash.split("?")[0]) === location.hash.split("?")[0]
			);
		});
	}

	text(selector = "#main") {
		return this.page.locator(selector).first().innerText();
	}
	button(name, scope = this.page) {
		return scope.getByRole("button", { name, exact: true });
	}
	mode() {
		return this.text(".pill");
	}
	async see(selector, text, options = {}) {
		await this.page
			.locator(selector, text === undefined ? {} : { hasText: text })
			.first()
			.waitFor(options);
	}
	async sees(what, test, argument, timeout = 15000) {
		await this.page.waitForFunction(test, argument, { timeout }).catch(error => {
			throw new Error(`${what}: ${error.message.split("\n")[0]}`);
		});
	}
	async gone(selector, text) {
		await this.see(selector, text, { state: "detached" });
	}

	// Serious and critical findings of axe-core, as lines.
	async axe() {
		await this.page.evaluate(axe);
		const found = await this.page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));

		return found.violations
			.filter(v => ["serious", "critical"].includes(v.impact))
			.flatMap(v =>
				v.nodes
					.slice(0, 3)
					.map(
						n =>
							`${v.id}: ${n.target.join(" ")} ${n.failureSummary?.split("\n").slice(1, 3).join(" ").trim()}`
					)
			);
	}

	close() {
		return this.context.close();
	}
}
