// SPDX-License-Identifier: MIT
// Addresses. Each view is a path and a query behind the #, so that it can be shared and reloaded from any static server.

// "#/tasks?status=failed" -> { path: ["tasks"], query: { status: "failed" } }
export function here() {
	const [path, search = ""] = location.hash.replace(/^#\/?/, "").split("?");

	return {
		path: path.split("/").filter(Boolean).map(decodeURIComponent),
		query: Object.fromEntries(new URLSearchParams(search))
	};
}

export function address(path, query = {}) {
	const search = new URLSearchParams();

	for (const [name, value] of Object.entries(query))
		if (value !== null && value !== undefined && value !== "" && !(Array.isArray(value) && !value.length))
			search.set(name, Array.isArray(value) ? value.join(",") : value);
	return "#" + path + (search.size ? "?" + search : "");
}

export const go = (path, query) => {
	location.hash = address(path, query).slice(1);
};

// The same page with another query: no new step back.
export function rewrite(path, query) {
	history.replaceState(null, "", address(path, query));
}
