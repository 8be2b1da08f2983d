// The requests to the master, the session, and the dialogs.

import { count, visible } from "./dom.js";

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
  if (!response.ok) {
    throw Object.assign(new Error(visible(body.detail || `The master answered ${response.status}.`)), { code: body.code, status: response.status });
  }
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

/** Asks the reader, then makes an action; shows and returns a sentence about its outcome, "" if the reader declined. */
export async function act(what, asked, question, said) {
  byId("confirm-text").textContent = visible(question);
  if (!(await ask(byId("confirm")))) return "";
  said.textContent = "In progress.";
  try {
    said.textContent = outcome(what, await send("POST", `page/act/${what}`, asked));
  } catch (error) {
    said.textContent = `Refused: ${error.message}`;
    if (error.status === 401) await checkSession().catch(() => {}); // another tab has signed out, or the token was changed
    byId("sign").textContent = session.signedIn ? "Sign out" : "Sign in";
  }
  return said.textContent;
}

/** Returns a sentence about what an action has changed, and what it has left alone and why. */
function outcome(what, answer) {
  const late = answer.over || answer.unknown?.length;
  const left = [[answer.running?.length, "run and were left alone"], [late, what === "cancel" ? "had ended already" : "are no longer dead letters"],
    [answer.taken?.length, "were left alone, because another task has their unique key"]];
  const sentences = left.filter(([number]) => number).map(([number, text]) => ` ${count(number)} ${text}.`);
  return `Done${answer.done === undefined ? "" : `: ${count(answer.done)}`}.${sentences.join("")}`;
}

/** Returns how many tasks an action would change. */
export const dryRun = async (what, asked) => (await send("POST", `page/act/${what}`, { ...asked, dry_run: true })).done;
