// Passkeys: what a browser asks an authenticator, and its answer, as the field of a form that is sent like any other.
"use strict";
(() => {
  const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (one) => one.charCodeAt(0));
  const text = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  const ask = async (kind, options) => {
    options.challenge = bytes(options.challenge);
    if (kind === "get") return navigator.credentials.get({ publicKey: options });
    options.user.id = bytes(options.user.id);
    for (const one of options.excludeCredentials) one.id = bytes(one.id);
    return navigator.credentials.create({ publicKey: options });
  };
  const told = (key) => {
    const response = {};
    for (const name of ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"]) {
      if (key.response[name]) response[name] = text(key.response[name]);
    }
    return JSON.stringify({ id: key.id, rawId: text(key.rawId), type: key.type, clientExtensionResults: {}, response });
  };
  for (const box of document.querySelectorAll("[data-passkey]")) {
    if (!window.PublicKeyCredential) continue;
    const form = box.querySelector("form"), said = box.querySelector("[role=alert]");
    box.hidden = false;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      said.hidden = true;
      try {
        form.elements.answer.value = told(await ask(box.dataset.passkey, JSON.parse(box.dataset.options)));
        form.submit();
      } catch (error) {
        said.textContent = `The browser says: ${error.message}`;
        said.hidden = false;
      }
    });
  }
})();
