// SPDX-License-Identifier: MIT
// Pictures of every page, wide and narrow, light and dark.   node tests/browser/shots.mjs FOLDER   (make screenshots)
import { mkdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { NARROW, Tab, WIDE, launch } from "./browser.mjs";
import { Panel, execute, populate, sleep, traffic } from "./world.mjs";

const folder = resolve(process.argv[2] ?? "screenshots");
const panel = await new Panel().start();
const browser = await launch();

try {
	mkdirSync(folder, { recursive: true });
	const world = await populate(panel);

	await panel.until(
		"the failing run's end",
		"/executions/" + world.runs.failed.execution_id,
		r => r.status === "failed",
		60
	);
	await panel.until(
		"the long run's end",
		"/executions/" + world.runs.done.execution_id,
		r => r.status === "completed",
		60
	);
	for (const [width, viewport] of [
		[1280, WIDE],
		[390, NARROW]
	])
		for (const theme of ["light", "dark"]) {
			const tab = await Tab.open(browser, panel, { viewport, theme });
			const shot = async name => tab.page.screenshot({ path: join(folder, `${name}-${width}-${theme}.png`) });

			await tab.page.goto(panel.url + "/");
			await tab.page.waitForSelector("#username");
			await shot("login");
			await tab.login();
			await traffic(panel, 30);
			const running = await execute(panel, world.main, 60, { scale: 3 });
			const [failed] = await panel.get("/tasks/dead-letters?limit=1"),
				[done] = await panel.get("/tasks?type=ocr&status=completed&limit=1");

			for (const [name, address] of Object.entries({
				overview: "/overview",
				agents: "/agents",
				agent: "/agents/" + world.agents.reader.id,
				tasks: "/tasks",
				"task-failed": "/tasks/" + failed.task_id,
				task: "/tasks/" + done.task_id,
				submit: "/tasks/new",
				pipelines: "/pipelines",
				pipeline: "/pipelines/" + world.main.pipeline_id,
				editor: `/pipelines/${world.main.pipeline_id}/edit`,
				runs: "/runs",
				"run-live": `/runs/${running.execution_id}?stage=2`,
				"run-failed": "/runs/" + world.runs.failed.execution_id,
				run: "/runs/" + world.runs.done.execution_id,
				"dead-letters": "/dead-letters",
				events: "/events",
				alerts: "/alerts",
				audit: "/audit",
				api: "/api?find=tasks&open=post /api/v1/tasks"
			})) {
				await tab.go(address);
				await sleep(name === "overview" ? 1500 : 500);
				await shot(name);
			}
			for (const complaint of tab.take()) console.error(complaint);
			await tab.close();
		}
	console.log(`Pictures are in ${folder}.`);
} finally {
	await browser.close();
	await panel.stop();
}
