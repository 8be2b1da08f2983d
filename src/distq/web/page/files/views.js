// The views: each has a title, and draws itself into the main part. Live views get a page of rows with every event.

import { act, dryRun, query, read, session } from "./client.js";
import { bytes, count, duration, fill, h, instant, rate } from "./dom.js";

export const PAGE = 50;
const STATES = ["waiting", "running", "ended", "ready", "delayed", "held", "leased", "succeeded", "dead", "cancelled", "expired"];

export const goTo = (view, parameters) => {
  const text = query(parameters);
  location.hash = `#/${view}${text ? `?${text}` : ""}`;
};

export const taskLink = (id) => h("a", { href: `#/task/${encodeURIComponent(id)}` }, id);

/** Returns a table with its body; a column is [title, class, sort]. */
function table(label, columns, sorted, onSort) {
  const body = h("tbody");
  const heads = columns.map(([title, kind, sort]) =>
    h("th", { scope: "col", class: kind, "aria-sort": sort && sort === sorted ? "other" : null },
      sort ? h("button", { type: "button", click: () => onSort(sort) }, title) : title));
  const node = h("div", { class: "table", role: "region", "aria-label": label, tabindex: "0" },
    h("table", null, h("thead", null, h("tr", null, heads)), body));
  return { node, body };
}

const row = (key, columns, cells) =>
  h("tr", { "data-key": key }, cells.map((cell, at) => h("td", { class: columns[at][1] }, cell)));

/** Returns a form whose fields are [name, label, choices]; without choices a field is a text. */
function filterForm(view, parameters, fields) {
  const inputs = fields.map(([name, label, choices]) => {
    const id = `filter-${name}`;
    const input = choices
      ? h("select", { id, name }, ["", ...choices].map((one) => h("option", { value: one, selected: one === (parameters[name] || "") }, one || "any")))
      : h("input", { id, name, value: parameters[name] || "", autocomplete: "off", spellcheck: "false" });
    return h("p", null, h("label", { for: id }, label), input);
  });
  inputs.forEach((one) => one.setAttribute("class", "field"));
  const submit = (event) => {
    event.preventDefault();
    const given = Object.fromEntries(new FormData(event.target));
    if (given.id) goTo(`task/${encodeURIComponent(given.id.trim())}`, {});
    else goTo(view, { ...given, sort: parameters.sort });
  };
  return h("form", { class: "filter", role: "search", submit }, inputs, h("p", { class: "field" }, h("button", { type: "submit" }, "Search")));
}

/** Returns the buttons to other pages of rows. */
function pager(previous, next) {
  return h("div", { class: "buttons" },
    h("button", { type: "button", disabled: !previous, click: previous }, "Previous page"),
    h("button", { type: "button", disabled: !next, click: next }, "Next page"));
}

export function notice() {
  return h("p", { role: "status", class: "notice" });
}

/** Returns how many tasks an action would change, null if the master refuses to say it. */
async function counted(what, asked, said) {
  said.textContent = "Counting.";
  try {
    const number = await dryRun(what, asked);
    said.textContent = "";
    return number;
  } catch (refusal) {
    said.textContent = `Refused: ${refusal.message}`;
    return null;
  }
}

/** Returns a button for an action that a signed-in reader confirms. */
export function actionButton(label, what, asked, question, said, after) {
  const click = async () => {
    if ((await act(what, asked, question, said)) && after) after();
  };
  return h("button", { type: "button", click }, label);
}

// -- live views ------------------------------------------------------------------------------

const LIVE = {
  queues: {
    title: "Queues",
    sort: "ready",
    columns: [["Queue", "text", "name"], ["Ready", "number", "ready"], ["Running", "number", "running"], ["Delayed", "number", "delayed"],
      ["Held", "number"], ["Dead", "number", "dead"], ["Submitted", "number"], ["Completed", "number"], ["Oldest", "number"], ["Limits", "text"]],
    acts: [["Actions", "text"]],
    cells: (one, rates, said) => [
      h("a", { href: `#/tasks?${query({ queue: one.name })}` }, one.name), count(one.ready), count(one.leased), count(one.delayed), count(one.held),
      one.dead ? h("a", { href: `#/dead?${query({ queue: one.name })}`, "aria-label": `${count(one.dead)} dead letters of ${one.name}` }, count(one.dead)) : "0",
      rate(rates(`s ${one.name}`, one.submitted)), rate(rates(`c ${one.name}`, one.completed)), duration(one.oldest_age_s), limits(one),
      session.acts ? queueActions(one, said) : null],
    key: (one) => `${one.name} ${one.paused}`,
  },
  workers: {
    title: "Workers",
    sort: "name",
    columns: [["Worker", "text", "name"], ["Pool", "text"], ["Host", "text"], ["Busy", "number", "busy"], ["Memory", "number", "memory"], ["Seen", "number", "seen"], ["State", "text"]],
    cells: (one) => [one.name, one.pool, one.host, `${one.busy} of ${one.slots}`, bytes(one.memory_bytes), duration(one.seen_age_s),
      [one.draining ? "draining" : "", one.unknown_names ? `unknown tasks: ${one.unknown_first.join(", ")}` : ""].filter(Boolean).join("; ") || "connected"],
    key: (one) => `${one.name} ${one.host}`,
    publicColumns: [["Pool", "text"], ["Workers", "number"], ["Draining", "number"], ["Busy", "number"]],
    publicCells: (one) => [one.pool, count(one.workers), count(one.draining), `${one.busy} of ${one.slots}`],
    publicKey: (one) => one.pool,
  },
  running: {
    title: "Running tasks",
    sort: "longest",
    columns: [["Id", "text"], ["Name", "text", "name"], ["Queue", "text", "queue"], ["Attempt", "number"], ["Begun", "text", "longest"], ["Progress", "wide"]],
    reads: [["Worker", "text"]],
    cells: (one) => [taskLink(one.id), one.name, one.queue, count(one.attempt), instant(one.since), progressOf(one), session.reads ? one.holder || "" : null],
    key: (one) => one.id,
  },
};

export const progressOf = (one) => (one.progress ? `${Math.round(one.progress[0] * 100)} % ${one.progress[1]}` : "");

function limits(one) {
  return [one.paused ? "paused" : "", one.paused_names ? `${one.paused_names} names paused` : "", one.running_max === null ? "" : `${one.running_max} at once`,
    one.rate || ""].filter(Boolean).join(", ");
}

function queueActions(one, said) {
  const name = `the queue ${one.name}`;
  const purge = async () => {
    const number = await counted("cancel", { queue: one.name }, said);
    if (number === null) return;
    await act("cancel", { queue: one.name }, `Cancel the ${count(number)} waiting tasks of ${name}? This cannot be undone.`, said);
  };
  return h("div", { class: "buttons" },
    one.paused
      ? actionButton("Resume", "resume", { queue: one.name }, `Resume ${name}?`, said)
      : actionButton("Pause", "pause", { queue: one.name }, `Pause ${name}? Its tasks then wait.`, said),
    h("button", { type: "button", click: purge }, "Purge"));
}

/** Draws a live view; returns the query of its events and the function that shows an event. */
export function liveView(main, view, parameters, rates) {
  const of = LIVE[view];
  const isPublic = Boolean(of.publicColumns) && !session.reads;
  const columns = isPublic ? of.publicColumns : [...of.columns, ...(session.reads && of.reads ? of.reads : []), ...(session.acts && of.acts ? of.acts : [])];
  const sort = parameters.sort || of.sort;
  const offset = Number(parameters.offset) || 0;
  const said = notice();
  const shown = h("p", { class: "quiet" });
  const made = table(of.title, columns, sort, (to) => goTo(view, { ...parameters, sort: to, offset: "" }));
  const pages = h("div");
  let paged = "";
  main.replaceChildren(h("h1", null, of.title), ...(isPublic ? [] : [filterForm(view, parameters, [["filter", "Contains"]])]), said, shown, made.node, pages);
  const show = (event) => {
    const cells = isPublic ? of.publicCells : of.cells;
    const key = isPublic ? of.publicKey : of.key;
    fill(made.body, event.rows.map((one) => row(key(one), columns, cells(one, rates, said).filter((cell) => cell !== null))));
    shown.textContent = event.matched ? `${count(offset + 1)} to ${count(offset + event.rows.length)} of ${count(event.matched)}` : "None.";
    const step = (to) => (to < 0 || to >= event.matched ? null : () => goTo(view, { ...parameters, offset: to || "" }));
    const buttons = [offset > 0 ? step(Math.max(offset - PAGE, 0)) : null, step(offset + PAGE)];
    const wanted = buttons.map(Boolean).join();
    if (!isPublic && wanted !== paged) pages.replaceChildren(pager(...buttons));
    paged = wanted;
  };
  return { query: { view, sort: isPublic ? "" : sort, filter: isPublic ? "" : parameters.filter, offset: isPublic ? 0 : offset, limit: PAGE }, show };
}

// -- views of one request ----------------------------------------------------------------------

const TASKS = [["Id", "text"], ["Name", "text"], ["Queue", "text"], ["State", "text"], ["Attempt", "number"], ["Submitted", "text"], ["Since", "text"]];

export async function tasksView(main, parameters) {
  const form = filterForm("tasks", parameters, [["id", "Id"], ["name", "Name"], ["queue", "Queue"], ["state", "State", STATES], ["error", "Error class"]]);
  if (parameters.error) {
    goTo("dead", { queue: parameters.queue, name: parameters.name, error: parameters.error });
    return;
  }
  const made = table("Tasks", TASKS);
  const said = notice();
  main.replaceChildren(h("h1", null, "Tasks"), form, said, made.node);
  const pages = h("div");
  main.append(pages);
  const { name, queue, state, after } = parameters;
  const found = [];
  let next = after;
  let examined = 0;
  const step = async () => {
    const part = await read("list", { name, queue, states: state, after: next, limit: PAGE - found.length });
    found.push(...part.tasks);
    next = part.next;
    examined += part.examined;
    const isOver = !next || found.length === PAGE;
    const tasks = found.length ? `${count(found.length)} ${found.length === 1 ? "task" : "tasks"}, the oldest first.` : isOver ? "No task matches." : "";
    said.textContent = isOver ? tasks : `Searching: ${count(examined)} of ${count(part.task_count)} tasks examined. ${tasks}`;
    fill(made.body, found.map((one) => row(one.id, TASKS,
      [taskLink(one.id), one.name, one.queue, one.state, count(one.attempt), instant(one.submitted_at), instant(one.since)])));
    if (isOver) pages.replaceChildren(pager(after ? () => history.back() : null, next ? () => goTo("tasks", { ...parameters, after: next }) : null));
    return isOver;
  };
  if (!(await step())) searchOn(step, made.node, said);
}

/** Goes on with a search, a bounded part of the tasks with each request, until it is over or the reader has left the view. */
async function searchOn(step, node, said) {
  try {
    while (!(await step()) && node.isConnected);
  } catch (refusal) {
    said.textContent = `The search has ended early: ${refusal.message}`;
  }
}

const DEAD = [["Id", "text"], ["Name", "text"], ["Queue", "text"], ["Error", "text"], ["Failures", "number"], ["Lost", "number"], ["Died", "text"]];

export async function deadView(main, parameters, reload) {
  const { queue, name, error, after } = parameters;
  const filters = Object.fromEntries(Object.entries({ queue, name, error }).filter(([, value]) => value));
  const columns = [...(session.acts ? [["Select", "text"]] : []), ...DEAD, ...(session.reads ? [["Cause", "wide"]] : [])];
  const made = table("Dead letters", columns);
  const said = notice();
  main.replaceChildren(h("h1", null, "Dead letters"),
    filterForm("dead", parameters, [["name", "Name"], ["queue", "Queue"], ["error", "Error class"]]), said);
  said.textContent = "Searching.";
  const found = await read("dead_list", { ...filters, after, limit: PAGE });
  said.textContent = found.total ? `${count(found.total)} dead letters, the newest first.` : "No dead letter matches.";
  const box = (one) => h("input", { type: "checkbox", value: one.id, "aria-label": `Select ${one.id}` });
  fill(made.body, found.tasks.map((one) => {
    const cells = [taskLink(one.id), one.name, one.queue, one.error || "–", count(one.failures), count(one.lost), instant(one.died_at)];
    return row(one.id, columns, [...(session.acts ? [box(one)] : []), ...cells, ...(session.reads ? [one.causes?.at(-1) || ""] : [])]);
  }));
  const settle = (what, verb, isSelected) => async () => {
    const ids = [...made.body.querySelectorAll("input:checked")].map((one) => one.value);
    if (isSelected && !ids.length) {
      said.textContent = "No dead letter is selected.";
      return;
    }
    const asked = isSelected ? { ids } : filters;
    const number = isSelected ? ids.length : await counted(what, asked, said);
    if (number === null) return;
    const outcome = await act(what, asked, `${verb} ${count(number)} ${number === 1 ? "dead letter" : "dead letters"}?${verb === "Delete" ? " This cannot be undone." : ""}`, said);
    if (outcome) await reload(outcome);
  };
  const button = (label, ...how) => h("button", { type: "button", click: settle(...how) }, label);
  if (session.acts && found.total) {
    main.append(h("div", { class: "buttons" }, button("Retry selected", "dead_retry", "Retry", true), button("Retry all that match", "dead_retry", "Retry", false),
      button("Delete selected", "dead_purge", "Delete", true), button("Delete all that match", "dead_purge", "Delete", false)));
  }
  main.append(made.node, pager(after ? () => history.back() : null, found.next ? () => goTo("dead", { ...parameters, after: found.next }) : null));
  let known = Object.keys(filters).length || after ? null : found.total;
  return (event) => {
    known ??= event.totals.dead;
    const isIdle = !after && !made.body.querySelector("input:checked") && !document.querySelector("dialog[open]");
    if (event.totals.dead !== known && isIdle) reload("");
  };
}

const SCHEDULES = [["Schedule", "text"], ["Task", "text"], ["Queue", "text"], ["When", "text"], ["Next run", "text"], ["Last run", "text"], ["Runs", "number"],
  ["Skipped", "number"]];

export async function schedulesView(main, parameters, reload) {
  const found = await read("schedule_list", {});
  const columns = session.acts ? [...SCHEDULES, ["Actions", "text"]] : SCHEDULES;
  const made = table("Schedules", columns);
  const said = notice();
  const offset = Number(parameters.offset) || 0;
  const sorted = found.schedules.sort((one, other) => (one.next_at ?? Infinity) - (other.next_at ?? Infinity) || one.name.localeCompare(other.name));
  main.replaceChildren(h("h1", null, "Schedules"), said,
    h("p", { class: "quiet" }, sorted.length ? `${count(sorted.length)} schedules, the next scheduled run first.` : "There are no schedules."), made.node);
  fill(made.body, sorted.slice(offset, offset + PAGE).map((one) => row(one.name, columns, [
    one.name, one.task, one.queue, one.cron === null ? `every ${duration(one.every_s)}` : `${one.cron} (${one.timezone})`,
    one.paused ? "paused" : one.fault ? `faulty: ${one.fault}` : instant(one.next_at),
    one.last_id ? h("span", null, instant(one.last_at), " ", taskLink(one.last_id)) : "–", count(one.runs), count(one.skipped),
    ...(session.acts ? [scheduleActions(one, said, reload)] : [])])));
  const step = (to) => (to < 0 || to >= sorted.length ? null : () => goTo("schedules", { offset: to || "" }));
  main.append(pager(offset ? step(Math.max(offset - PAGE, 0)) : null, step(offset + PAGE)));
}

function scheduleActions(one, said, reload) {
  const name = `the schedule ${one.name}`;
  const asked = { name: one.name };
  const after = () => reload(said.textContent);
  return h("div", { class: "buttons" },
    actionButton("Run now", "schedule_run", asked, `Submit the task of ${name} now?`, said, after),
    one.paused
      ? actionButton("Resume", "schedule_resume", asked, `Resume ${name}?`, said, after)
      : actionButton("Pause", "schedule_pause", asked, `Pause ${name}?`, said, after));
}
