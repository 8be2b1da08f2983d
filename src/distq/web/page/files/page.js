// The page: chooses the view by the address, receives the events of the master, and shows the totals.

import { checkSession, query, session, toggleSession } from "./client.js";
import { count, h, rate, replaceFocused, spark } from "./dom.js";
import { taskView } from "./task.js";
import { deadView, liveView, schedulesView, tasksView } from "./views.js";

const WINDOW_S = 60;
const RECONNECT_MS = 3000;
const LIVE = ["queues", "workers", "running"];
const OTHERS = { tasks: tasksView, dead: deadView, schedules: schedulesView };
const TITLES = { queues: "Queues", workers: "Workers", running: "Running", tasks: "Tasks", dead: "Dead letters", schedules: "Schedules", task: "Task" };

const main = document.getElementById("main");
const status = document.getElementById("status");
const sign = document.getElementById("sign");
const samples = new Map();
let events = null;
let timer = 0;
let showing = 0;
let now = 0;

/** Notes a counter's value and returns its increase in a second, null before the second value. */
function rates(name, value) {
  if (value === null || value === undefined) return null;
  let known = samples.get(name) || [];
  if (known.length && value < known.at(-1)[1]) known = []; // the master has started again
  if (!known.length || known.at(-1)[0] < now) known.push([now, value]);
  known = known.filter(([at]) => at > now - WINDOW_S);
  samples.set(name, known);
  return increase(known.slice(-3));
}

const increase = (known) => (known.length < 2 ? null : (known.at(-1)[1] - known[0][1]) / (known.at(-1)[0] - known[0][0]));

/** Returns the rates between the samples of the last minute. */
const history = (name) => (samples.get(name) || []).map((one, at, all) => (at ? increase([all[at - 1], one]) : 0)).slice(1);

function showTotals(totals) {
  const cards = [["Ready", count(totals.ready)], ["Running", count(totals.leased)], ["Delayed", count(totals.delayed)], ["Held", count(totals.held)],
    ["Dead letters", count(totals.dead)], ["Queues", count(totals.queues)], ["Workers", count(totals.workers)], ["Busy slots", `${count(totals.busy)} of ${count(totals.slots)}`]];
  const live = [["Submitted", "submitted"], ["Completed", "completed"], ["Failed", "failed"]].map(([title, field]) => [title, rate(rates(` ${field}`, totals[field])), ` ${field}`]);
  document.getElementById("totals").replaceChildren(...[...live, ...cards].map(([title, value, name]) =>
    h("div", null, h("dt", null, title), h("dd", null, value, name ? spark(history(name)) : null))));
}

function say(text, isBad) {
  if (status.textContent !== text) status.textContent = text;
  status.className = isBad ? "bad" : "";
}

/** Receives events until the next view; a lost master is tried again every three seconds. */
function listen(asked, show) {
  stop();
  const source = new EventSource(`page/events?${query(asked)}`);
  events = source;
  source.onmessage = (message) => {
    const event = JSON.parse(message.data);
    now = event.at;
    say("Connected to the master.");
    showTotals(event.totals);
    show(event);
  };
  source.onerror = () => {
    source.close();
    if (events !== source) return;
    say("The master does not answer; trying again.", true);
    timer = setTimeout(() => checkSession().then(render, (refusal) => {
      if (refusal.code === "STANDS_BY") location.reload(); // its page says who leads
      else listen(asked, show);
    }), RECONNECT_MS);
  };
}

function stop() {
  clearTimeout(timer);
  if (events) events.close();
  events = null;
}

/** Draws the view that the address names. */
async function render() {
  const number = ++showing;
  const [path, text] = location.hash.replace(/^#\/?/, "").split("?");
  const [view, id] = (path || "queues").split("/");
  const parameters = Object.fromEntries(new URLSearchParams(text || ""));
  sign.textContent = session.signedIn ? "Sign out" : "Sign in";
  document.title = `${TITLES[view] || "Page"} – distq`;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.getAttribute("href") === `#/${view}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (LIVE.includes(view)) {
    const made = liveView(main, view, parameters, rates);
    listen(made.query, made.show);
    return;
  }
  let refresh = null;
  listen({ view: "queues", limit: 0 }, (event) => refresh?.(event));
  const reload = async (said) => {
    refresh = await draw(view, id, parameters, reload, () => number === showing);
    const notice = main.querySelector(".notice");
    if (notice && said) notice.textContent = said;
  };
  await reload("");
}

/**
 * Draws a view that is no table of live rows; returns its function that takes the further events.
 * It is drawn beside the page, so that a slow answer never replaces the view that the reader has chosen since.
 */
async function draw(view, id, parameters, reload, isWanted) {
  const part = h("div");
  let refresh = null;
  try {
    if (view === "task") refresh = await taskView(part, decodeURIComponent(id || ""), reload);
    else if (OTHERS[view]) refresh = await OTHERS[view](part, parameters, reload);
    else part.replaceChildren(h("h1", null, "There is no such view"), h("p", null, h("a", { href: "#/queues" }, "Show the queues")));
  } catch (error) {
    part.replaceChildren(h("h1", null, TITLES[view]), h("p", { class: "bad", role: "alert" }, error.message));
  }
  if (isWanted()) replaceFocused(main, () => main.replaceChildren(...part.childNodes));
  return refresh;
}

/** Shows the master's version, and why it is not ready. */
async function showVersion() {
  const response = await fetch("api/v1/overview");
  document.getElementById("version").textContent = (await response.json()).version;
}

sign.addEventListener("click", async () => {
  try {
    if (await toggleSession()) await render();
  } catch (refusal) {
    say(refusal.message, true);
  }
});
addEventListener("hashchange", async () => {
  await render();
  main.focus({ preventScroll: true });
  scrollTo(0, 0);
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});

checkSession().catch(() => {}).then(render);
showVersion().catch(() => {});
