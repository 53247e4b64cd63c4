// The API key: asked for when the server wants one, sent with every request, kept for this tab only.

import { byId } from "./dom.js";

const PLACE = "vssm-api-key";
let asking = null; // one question at a time, however many requests were refused

/** What a request is sent with. */
export function headers() {
  const key = sessionStorage.getItem(PLACE);
  return key ? { Authorization: `Bearer ${key}` } : {};
}

/** Asks for a key; resolves to whether one was given. `why` is what the server said of the last. */
export function ask(why) {
  asking ??= new Promise((resolve) => {
    const dialog = byId("key-dialog");
    byId("key-why").textContent = why;
    byId("key").value = "";
    dialog.addEventListener("close", () => {
      asking = null;
      if (dialog.returnValue) sessionStorage.setItem(PLACE, dialog.returnValue);
      resolve(Boolean(dialog.returnValue));
    }, { once: true });
    dialog.returnValue = "";
    dialog.showModal();
  });
  return asking;
}

/** The buttons of the dialog. */
export function listen() {
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    byId("key-dialog").close(byId("key").value.trim());
  });
  byId("key-cancel").addEventListener("click", () => byId("key-dialog").close(""));
}
