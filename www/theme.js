// SPDX-License-Identifier: MIT
// Before the first paint, so that a chosen theme does not flash.
try {
	const theme = localStorage.getItem("mcp.theme");

	if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
	// storage is blocked: the system's theme it is
}
