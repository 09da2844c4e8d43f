// SPDX-License-Identifier: MIT
// Elements and how they change. A page describes all of itself with h() each time something has changed, and patch()
// makes the document so: only what differs is touched, so that focus, scrolling and what is being typed stay.
// Text is only ever text: nothing here, or anywhere, parses data as HTML.

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set([
	"svg",
	"g",
	"path",
	"rect",
	"circle",
	"line",
	"text",
	"title_",
	"defs",
	"marker",
	"polyline"
]);

function dispatch(event) {
	this.$on?.[event.type]?.call(this, event);
}

function listen(node, on) {
	for (const type of Object.keys(on))
		if (!node.$listens?.has(type)) {
			(node.$listens ??= new Set()).add(type);
			node.addEventListener(type, dispatch);
		}
	node.$on = on;
}

function setProperty(node, name, value) {
	if (name === "on") listen(node, value);
	else if (name === "key") node.$key = String(value);
	else if (name === "style") for (const [property, v] of Object.entries(value)) node.style.setProperty(property, v);
	else if (name === "value" || name === "checked" || name === "indeterminate")
		node[name] = (node.$props ??= {})[name] = value;
	else if (name === "opaque") node.$opaque = true;
	else if (name === "class")
		node.setAttribute("class", Array.isArray(value) ? value.filter(Boolean).join(" ") : value);
	else node.setAttribute(name, value === true ? "" : value);
}

function append(node, child) {
	if (Array.isArray(child)) for (const c of child) append(node, c);
	else if (child instanceof Node) node.append(child);
	else if (child !== null && child !== undefined && child !== false && child !== true) node.append(String(child));
}

// h("div.card", { on: { click } }, "text", [more]) — "title_" is SVG's title.
export function h(tag, props, ...children) {
	const [name, ...classes] = tag.split(".");
	const node = SVG_TAGS.has(name)
		? document.createElementNS(SVG, name === "title_" ? "title" : name)
		: document.createElement(name);

	if (props && (typeof props !== "object" || props instanceof Node || Array.isArray(props))) {
		children.unshift(props);
		props = null;
	}
	if (classes.length) node.setAttribute("class", classes.join(" "));
	let late = null;
	for (const [key, value] of Object.entries(props ?? {})) {
		if (value === null || value === undefined || value === false) {
			if (key === "checked" || key === "indeterminate") setProperty(node, key, false);
			continue;
		}
		if (key === "class" && classes.length)
			setProperty(node, "class", [...classes, ...(Array.isArray(value) ? value : [value])]);
		else if (key === "value" && name === "select") late = value;
		else setProperty(node, key, value);
	}
	append(node, children);
	if (late !== null) setProperty(node, "value", late);
	return node;
}

// A place in a description where a node lives that looks after itself (a chart, a list, an editor).
export function hold(node) {
	const place = document.createElement("template");

	node.$held = true;
	place.$hold = node;
	return place;
}

function syncAttributes(old, fresh) {
	for (const { name } of [...old.attributes])
		if (name !== "style" && !fresh.hasAttribute(name)) old.removeAttribute(name);
	for (const { name, value } of fresh.attributes)
		if (name !== "style" && old.getAttribute(name) !== value) old.setAttribute(name, value);
	// Written through the object model, which a strict style-src allows; the attribute it does not.
	if (old.style && old.style.cssText !== fresh.style.cssText) old.style.cssText = fresh.style.cssText;
}

function syncProperties(old, fresh) {
	for (const [name, value] of Object.entries(fresh.$props ?? {})) {
		const typing = name === "value" && old === document.activeElement && old.tagName !== "SELECT";

		// What stands in a field changes only when the page wants something else than before.
		if (
			!typing &&
			old[name] !== value &&
			(name !== "value" || old.$props?.value !== value || old.tagName === "SELECT")
		)
			old[name] = value;
	}
	old.$props = fresh.$props;
	listen(old, fresh.$on ?? {});
}

function sync(old, fresh) {
	if (old.nodeType === Node.TEXT_NODE) {
		if (old.data !== fresh.data) old.data = fresh.data;
		return;
	}
	syncAttributes(old, fresh);
	if (!fresh.$opaque) syncChildren(old, fresh);
	syncProperties(old, fresh);
}

const alike = (old, fresh) =>
	old && !old.$held && !old.$key && !fresh.$key && old.nodeType === fresh.nodeType && old.nodeName === fresh.nodeName;

// What is put in whole gets the nodes its placeholders stand for.
function settle(node) {
	if (node.querySelectorAll)
		for (const place of node.querySelectorAll("template")) if (place.$hold) place.replaceWith(place.$hold);
	return node;
}

function syncChildren(parent, fresh) {
	const keyed = new Map();
	let at = parent.firstChild;

	for (const child of parent.childNodes) if (child.$key) keyed.set(child.nodeName + child.$key, child);
	for (const child of [...fresh.childNodes]) {
		if (child.$hold) {
			if (at === child.$hold) at = at.nextSibling;
			else parent.insertBefore(child.$hold, at);
			continue;
		}
		const same = child.$key ? keyed.get(child.nodeName + child.$key) : alike(at, child) ? at : null;

		if (!same) {
			parent.insertBefore(settle(child), at);
			continue;
		}
		if (same === at) at = at.nextSibling;
		else parent.insertBefore(same, at);
		sync(same, child);
	}
	while (at) {
		const next = at.nextSibling;

		at.remove();
		at = next;
	}
}

// Make the children of parent what the description says (a node or a nested list of them).
export function patch(parent, ...description) {
	const fresh = document.createDocumentFragment();

	for (const d of description.flat(Infinity)) if (d !== null && d !== undefined && d !== false) fresh.append(d);
	// Placeholders are found by identity, so the fragment itself serves as the description.
	syncChildren(parent, fresh);
}

// The value of a colour token as the canvas wants it.
export function colour(token) {
	const probe = document.getElementById("probe");

	probe.style.color = `var(--${token})`;
	return getComputedStyle(probe).color;
}
