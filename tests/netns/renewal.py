"""What runs in the browser to see how a live part renews itself: carpool.js has `renewChildren`."""

from __future__ import annotations

LISTS = """before => after => {
  const made = text => {
    const list = document.createElement("ol");
    list.innerHTML = text;
    return list;
  };
  const old = made(before), last = old.lastElementChild;
  renewChildren(old, made(after));
  return [old.innerHTML === after, old.contains(last)];
}"""
LIST = '<li id="a">1</li> <li>2</li> <p aria-labelledby="x">3</p> <li>4</li>'


BECOMES = {
    f"<li>0</li> <li>0</li> {LIST}": True,  # came on top
    LIST.replace(">1<", ' class="old">5<'): True,
    LIST.replace('<p aria-labelledby="x">3</p> ', ""): True,
    LIST.replace("<p", '<p aria-labelledby="y">new</p> text <p'): True,
    LIST.replace("<li>2</li> ", ""): False,  # it could as well be the last one that is gone
    "<p>other</p>": False,
    "": False,
}

KEEP = """() => {
  const all = [...document.querySelectorAll("#live .scroll")];
  const table = all.find(one => one.scrollWidth >= one.clientWidth + 20);
  if (!table) return "";
  table.scrollLeft = 20;
  table.focus();
  const heading = document.querySelector("#verdict");
  getSelection().selectAllChildren(heading);
  const told = document.querySelector("#live [role=status]");
  window.kept = [table, heading.textContent, 0, 0];
  new MutationObserver(() => { window.kept[2] += 1; }).observe(
    told, {childList: true, characterData: true, subtree: true, attributes: true});
  document.addEventListener("htmx:afterSwap", () => { window.kept[3] += 1; });
  return told.textContent;
}"""
KEPT = """() => [document.activeElement === window.kept[0], window.kept[0].scrollLeft,
  getSelection().toString() === window.kept[1], window.kept[2]]"""

HEAR = """() => {
  const told = document.querySelector("#live [role=status]");
  window.heard = [];
  new MutationObserver(() => { window.heard.push(told.textContent); }).observe(
    told, {childList: true, characterData: true, subtree: true});
}"""
