// The requests to the master, the session, and the dialogs.

import { count } from "./dom.js";

const byId = (id) => document.getElementById(id);

/** Whether the browser is signed in, and whether its key sees everything and may act. */
export const session = { signedIn: false, reads: false, acts: false };

/** Returns an answer's JSON; throws an Error with the sentence of a refusal. */
async function answered(response) {
  const text = await response.text();
  let body = {};
  try {
    body = JSON.parse(text);
  } catch {
    body = { detail: text };
  }
  if (!response.ok) throw Object.assign(new Error(body.detail || `The master answered ${response.status}.`), { code: body.code });
  return body;
}

export function query(parameters) {
  const given = Object.entries(parameters).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return new URLSearchParams(given).toString();
}

export const read = async (what, parameters) => answered(await fetch(`page/read/${what}?${query(parameters)}`));

const send = async (method, path, body) =>
  answered(await fetch(path, { method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) }));

export async function checkSession() {
  const state = await answered(await fetch("page/session"));
  Object.assign(session, { signedIn: state.signed_in, reads: Boolean(state.reads), acts: Boolean(state.acts) });
}

/** Shows a dialog; returns whether it was confirmed. */
function ask(dialog) {
  return new Promise((resolve) => {
    dialog.returnValue = "no";
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
    dialog.showModal();
  });
}

/** Signs in or out; returns whether that has changed. */
export async function toggleSession() {
  const token = byId("token");
  if (session.signedIn) {
    await send("DELETE", "page/session", {});
  } else {
    byId("sign-in-error").textContent = "";
    for (;;) {
      token.value = "";
      if (!(await ask(byId("sign-in")))) return false;
      try {
        await send("POST", "page/session", { token: token.value });
        break;
      } catch (error) {
        byId("sign-in-error").textContent = error.message;
      } finally {
        token.value = "";
      }
    }
  }
  await checkSession();
  return true;
}

/** Asks the reader, then makes an action; returns a sentence about its outcome, or "" if the reader declined. */
export async function act(what, asked, question) {
  byId("confirm-text").textContent = question;
  if (!(await ask(byId("confirm")))) return "";
  try {
    const answer = await send("POST", `page/act/${what}`, asked);
    const running = answer.running?.length ? ` ${count(answer.running.length)} run and were left alone.` : "";
    return `Done${answer.done === undefined ? "" : `: ${count(answer.done)}`}.${running}`;
  } catch (error) {
    return `Refused: ${error.message}`;
  }
}

/** Returns how many tasks an action would change. */
export const dryRun = async (what, asked) => (await send("POST", `page/act/${what}`, { ...asked, dry_run: true })).done;
