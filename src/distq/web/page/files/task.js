// One task: its facts, its life as a timeline, its arguments and outcome, and the tasks to which it is related.

import { read, session } from "./client.js";
import { count, duration, h, instant, visible } from "./dom.js";
import { actionButton, notice, progressOf, taskLink } from "./views.js";

const LIVE = ["ready", "held", "delayed", "leased"];

export async function taskView(main, id, reload) {
  const task = await read("show", { id });
  const said = notice();
  const why = h("p", { class: "quiet" }, task.why || "");
  main.replaceChildren(h("h1", null, `Task ${task.id}: ${task.name}`), said, actions(task, said, reload),
    why, facts(task), h("h2", null, "Timeline"), timeline(task), ...related(task), ...bodies(task));
  return async () => {
    if (!LIVE.includes(task.state) || document.querySelector("dialog[open]")) return;
    const present = await read("show", { id }).catch(() => task);
    why.textContent = visible(present.why || ""); // it says for how long, which is no reason to draw the task again
    if (JSON.stringify({ ...present, why: "" }) !== JSON.stringify({ ...task, why: "" })) await reload("");
  };
}

function actions(task, said, reload) {
  if (!session.acts) return h("div");
  const after = () => reload(said.textContent);
  const asked = { ids: [task.id] };
  const buttons = [];
  if (LIVE.includes(task.state)) {
    const runs = task.state === "leased";
    buttons.push(actionButton("Cancel", "cancel", { ...asked, running: runs }, `Cancel task ${task.id}?${runs ? " It runs, and will be stopped." : ""}`, said, after));
  }
  if (task.state === "dead") {
    buttons.push(actionButton("Retry", "dead_retry", asked, `Retry task ${task.id}?`, said, after));
    buttons.push(actionButton("Delete", "dead_purge", asked, `Delete task ${task.id}? This cannot be undone.`, said, after));
  }
  return h("div", { class: "buttons" }, buttons);
}

function facts(task) {
  const shown = [["State", task.state], ["Queue", task.queue], ["Attempt", `${count(task.attempt)} of ${count(task.retries + 1 + task.lost)}`], ["Failures", count(task.failures)],
    ["Lost", count(task.lost)], ["Deliveries", count(task.deliveries)], ["Priority", count(task.priority)], ["Slots", count(task.cost)],
    ["Time limit", duration(task.time_limit_s)], ["Worker", task.holder], ["Concurrency key", task.concurrency_key], ["Unique key", task.unique_key],
    ["Requires", (task.requires || []).join(", ")]];
  return h("dl", { class: "facts" }, shown.filter(([, value]) => value !== null && value !== undefined && value !== "")
    .map(([name, value]) => h("div", { class: "card" }, h("dt", null, name), h("dd", null, value))));
}

/** Returns the events of a task's life in order; a cause from before a restart of the master has no time. */
function timeline(task) {
  const step = (at, text, kind, note) => ({ at, node: h("li", { class: kind }, h("time", null, at === null ? "time unknown" : instant(at)), text, note || "") });
  const steps = [step(task.submitted_at, "Submitted.")];
  const causes = task.errors.map((error, at) => (task.causes ? task.causes[at] : error));
  const reason = task.state === "cancelled" ? causes.pop() : ""; // why it was cancelled, which is no attempt
  causes.forEach((cause, at) => steps.push(step(task.caused_at[at], `Attempt ended: ${cause}`, "failed")));
  if (task.leased_at !== null) {
    const note = task.progress ? h("p", null, h("progress", { value: task.progress[0], max: 1, "aria-label": "Progress" }), progressOf(task)) : null;
    steps.push(step(task.leased_at, `Attempt ${count(task.attempt)} began${task.holder ? ` on ${task.holder}` : ""}.`, "", note));
  } else if (!LIVE.includes(task.state)) {
    steps.push(step(task.since, `Ended: ${task.state}${reason && task.causes ? `, ${reason}` : ""}.`, task.state === "succeeded" ? "ended" : "failed"));
  } else {
    steps.push(step(task.since, `Is ${task.state}.`));
  }
  if (task.due_at !== null && task.state === "delayed") steps.push(step(task.due_at, "Next attempt is due."));
  if (task.expires_at !== null && LIVE.includes(task.state)) steps.push(step(task.expires_at, "Expires, unless it has begun."));
  return h("ol", { class: "timeline" }, steps.map((one) => one.node));
}

function related(task) {
  const { upstream, downstream, upstream_count: above, downstream_count: below } = task.related;
  if (!above && !below) return [];
  const list = (label, tasks, total) => h("ul", { "aria-label": label }, tasks.map((one) =>
    h("li", null, one.state === "gone" ? one.id : taskLink(one.id), ` ${one.name || ""} `, h("span", { class: "quiet" }, one.state))),
  total > tasks.length ? h("li", null, `and ${count(total - tasks.length)} more`) : null);
  const arrow = () => h("span", { class: "arrow", "aria-hidden": "true" }, "→");
  return [h("h2", null, "Dependencies"), h("div", { class: "related" },
    above ? [list("This task depends on", upstream, above), arrow()] : [],
    h("p", { class: "here" }, `${task.id} ${task.name} (this task)`),
    below ? [arrow(), list("These tasks depend on this task", downstream, below)] : [])];
}

function bodies(task) {
  if (task.causes === undefined) {
    return [h("p", { class: "quiet" }, "Sign in to see the arguments, the result, the causes and the traceback.")];
  }
  const part = (title, text) => (text ? [h("h2", null, title), h("pre", { tabindex: "0", role: "region", "aria-label": title }, text)] : []);
  const error = task.error ? `${task.error.type}: ${task.error.text}\n\n${task.error.traceback}` : "";
  const headers = Object.entries(task.headers || {}).map(([name, value]) => `${name}: ${value}`).join("\n");
  return [...part("Arguments", task.arguments), ...part("Result", task.result), ...part("Error and traceback", error), ...part("Headers", headers)];
}
