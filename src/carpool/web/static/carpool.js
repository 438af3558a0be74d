// What htmx needs: no inline style, no eval (the policy of the pages allows neither), and the token of the session.
"use strict";
htmx.config.includeIndicatorStyles = false;
htmx.config.allowEval = false;
htmx.config.historyCacheSize = 0;
document.addEventListener("htmx:configRequest", (event) => {
  const token = document.querySelector("input[name=token]");
  if (token) event.detail.headers["carpool-token"] = token.value;
});
// A page that cannot renew itself says so: what it shows is old.
let renewed = Date.now();
document.addEventListener("htmx:afterRequest", (event) => {
  if (event.detail.successful) renewed = Date.now();
});
setInterval(() => document.body.classList.toggle("stale", Date.now() - renewed > 3000 && document.getElementById("live") !== null), 500);

// A live part takes what differs of the new one and nothing else, so that focus, a selection, a table that is scrolled, opened details, and the place of
// a screen reader stay where they are. Nodes are paired by their place and what they are called; a row that is still there tells that those before it are new.
const ROWS_AHEAD = 50;
const isElement = (node) => node.nodeType === Node.ELEMENT_NODE;
const called = (node) => (isElement(node) ? node.id || node.getAttribute("aria-labelledby") : null);
const alike = (one, other) => one.nodeName === other.nodeName && called(one) === called(other);
function renew(old, now) {
  if (!isElement(old)) {
    if (old.nodeValue !== now.nodeValue) old.nodeValue = now.nodeValue;
    return;
  }
  for (const { name } of [...old.attributes]) {
    if (!now.hasAttribute(name) && !(name === "open" && old.nodeName === "DETAILS")) old.removeAttribute(name);
  }
  for (const { name, value } of now.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  renewChildren(old, now);
}
function renewChildren(parent, now) {
  const left = [...now.childNodes];
  let at = parent.firstChild;
  const passed = () => {
    const node = at;
    at = node.nextSibling;
    return node;
  };
  const isGone = (next) => !alike(at, next) && isElement(next) && !(isElement(at) && left.some((one) => alike(one, at)));
  while (left.length) {
    const next = left.shift();
    while (at !== null && isGone(next)) passed().remove();
    if (at === null || !alike(at, next)) {
      parent.insertBefore(next, at);
    } else if (at.isEqualNode(next)) {
      passed();
    } else {
      const isRow = at.nodeName === "LI" || at.nodeName === "TR";
      const ahead = isRow ? left.slice(0, ROWS_AHEAD).findIndex((one) => one.isEqualNode(at)) : -1;
      if (ahead < 0) renew(passed(), next);
      else for (const one of [next, ...left.splice(0, ahead)]) parent.insertBefore(one, at);
    }
  }
  while (at !== null) passed().remove();
}
htmx.defineExtension("renew", {
  isInlineSwap: (style) => style.startsWith("renew"),
  handleSwap: (style, target, fragment) => {
    if (style === "renew") {
      renewChildren(target, fragment);
      return [];
    }
    if (style !== "renewwhole") return false;
    const all = [...fragment.children];
    if (all.length === 1 && alike(target, all[0])) {
      renew(target, all[0]);
      return [];
    }
    target.replaceWith(fragment); // it is over: what comes renews something else, or nothing
    return all;
  },
});
