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
