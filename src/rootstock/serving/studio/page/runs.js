// The list of runs, and several of them beside one another.
import { ago, ask, count, el, figureName, moment, number, say, size, span, table, trouble } from "./dom.js";
import { chart } from "./chart.js";

// What is known of all runs; views read it, the stream changes it.
export const runs = {
  all: new Map(), root: "", pages: [], cut: false, chosen: new Set(),
  fill(told) {
    this.all = new Map(told.runs.map((each) => [each.id, each]));
    Object.assign(this, { root: told.root, pages: told.pages, cut: told.cut });
  },
  // Takes what changed; gives what a person would want to hear of it.
  take({ changed, gone }) {
    const said = [];
    for (const each of changed) {
      const before = this.all.get(each.id);
      if (!before) said.push(`${each.name} has begun.`);
      else if (before.state !== each.state) said.push(`${each.name} ${each.state === "ended" ? "has ended" : `is ${each.state}`}.`);
      this.all.set(each.id, each);
    }
    for (const id of gone) this.all.delete(id);
    return said;
  },
};

export const link = (id, tab = "") => `#/run/${encodeURIComponent(id)}${tab ? `/${tab}` : ""}`;
export const scored = (run) => (run.figure ? [el("span", {}, `${figureName(run.figure)} ${number(run.score)}`),
  run.interval ? el("span", { class: "interval" }, ` ${number(run.interval[0])} – ${number(run.interval[1])}`) : null] : ["–"]);
const STATES = { running: "running", ended: "ended", interrupted: "interrupted" };
export const stateOf = (run) => el("span", { class: `state ${run.state}` }, run.alone ? "model alone" : STATES[run.state]);

const COLUMNS = [
  { key: "name", said: "run", cells: (run) => el("a", { href: link(run.id) }, run.id) , worth: (run) => run.id, head: true },
  { key: "state", said: "state", cells: stateOf, worth: (run) => run.state },
  { key: "task", said: "task", wide: true, cells: (run) => run.task || "–", worth: (run) => run.task },
  { key: "method", said: "method", wide: true, cells: (run) => run.method || "–", worth: (run) => run.method },
  { key: "base", said: "base", wide: true, cells: (run) => run.base || "–", worth: (run) => run.base },
  { key: "data", said: "data", wide: true, cells: (run) => run.data || "–", worth: (run) => run.data },
  { key: "score", said: "score, 95 %", cells: scored, worth: (run) => (run.score === null ? -Infinity : run.lower ? -run.score : run.score) },
  { key: "seconds", said: "time", wide: true, n: true, cells: (run) => span(run.seconds), worth: (run) => run.seconds ?? -1 },
  { key: "bytes", said: "size", wide: true, n: true, cells: (run) => size(run.bytes), worth: (run) => run.bytes ?? -1 },
  { key: "when", said: "when", n: true, wide: true, cells: (run) => el("time", { datetime: new Date(run.when * 1000).toISOString(), title: moment(run.when) }, ago(run.when)), worth: (run) => run.when },
];
const order = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true }));
const kept = { search: "", task: "", state: "", sort: "when", down: true };

const row = (run, chosen) => el("tr", { "data-id": run.id },
  el("td", {}, el("input", { type: "checkbox", checked: runs.chosen.has(run.id), "aria-label": `Choose ${run.id} to compare`,
    onchange: (event) => { if (event.target.checked) runs.chosen.add(run.id); else runs.chosen.delete(run.id); chosen(); } })),
  COLUMNS.map((column) => el(column.head ? "th" : "td", { scope: column.head ? "row" : null,
    class: [column.n ? "n" : "", column.wide ? "wide" : "", column.key === "score" ? "score" : ""].filter(Boolean).join(" ") || null }, column.cells(run))));

export const listView = () => {
  const body = el("tbody"), told = el("p", { class: "muted", role: "status" });
  const compare = el("button", { type: "button", class: "primary", onclick: () => { location.hash = `#/compare?${[...runs.chosen].map((id) => `id=${encodeURIComponent(id)}`).join("&")}`; } });
  const chosen = () => { compare.textContent = `Compare ${runs.chosen.size} chosen`; compare.disabled = runs.chosen.size < 2; };
  const rows = new Map();
  const fill = () => {
    const column = COLUMNS.find((each) => each.key === kept.sort), search = kept.search.toLowerCase();
    const shown = [...runs.all.values()].filter((run) => (!kept.task || run.task === kept.task) && (!kept.state || run.state === kept.state)
      && (!search || [run.id, run.task, run.method, run.base, run.data].some((each) => each.toLowerCase().includes(search))));
    shown.sort((a, b) => (kept.down ? -1 : 1) * order(column.worth(a), column.worth(b)));
    // only what changed is made anew: a focused box keeps its focus, and 1,000 rows cost nothing while one grows
    const nodes = shown.map((run) => {
      const held = rows.get(run.id);
      if (held && held.run === run) return held.node;
      const node = row(run, chosen);
      if (held && held.node.contains(document.activeElement)) queueMicrotask(() => node.querySelector(document.activeElement?.tagName === "A" ? "a" : "input").focus());
      rows.set(run.id, { run, node });
      return node;
    });
    if (nodes.length !== body.rows.length || nodes.some((node, at) => body.rows[at] !== node)) body.replaceChildren(...nodes);
    told.textContent = shown.length === runs.all.size ? `${count(shown.length)} runs in ${runs.root}` : `${count(shown.length)} of ${count(runs.all.size)} runs in ${runs.root}`;
    if (runs.cut) told.textContent += "; there are more folders than were looked into";
  };
  const heads = COLUMNS.map((column) => {
    const head = el("th", { scope: "col", class: [column.n ? "n" : "", column.wide ? "wide" : ""].filter(Boolean).join(" ") || null });
    head.append(el("button", { type: "button", onclick: () => {
      kept.down = kept.sort === column.key ? !kept.down : ["score", "when", "seconds", "bytes"].includes(column.key);
      kept.sort = column.key;
      marked();
      fill();
      say(`Sorted by ${column.said}, ${kept.down ? "descending" : "ascending"}`);
    } }, column.said));
    return head;
  });
  const marked = () => heads.forEach((head, at) => { if (COLUMNS[at].key === kept.sort) head.setAttribute("aria-sort", kept.down ? "descending" : "ascending"); else head.removeAttribute("aria-sort"); });
  const choice = (name, said, key) => {
    const made = el("select", { id: `by-${key}`, onchange: (event) => { kept[key] = event.target.value; fill(); } });
    const values = [...new Set([...runs.all.values()].map((run) => run[key]).filter(Boolean))].sort();
    made.append(el("option", { value: "" }, said), ...values.map((each) => el("option", { value: each }, each)));
    if (values.includes(kept[key])) made.value = kept[key]; else kept[key] = "";
    return el("div", {}, el("label", { for: `by-${key}` }, name), made);
  };
  const search = el("input", { type: "search", id: "search", value: kept.search, oninput: (event) => { kept.search = event.target.value; fill(); } });
  chosen();
  marked();
  fill();
  const pages = runs.pages.length ? [el("h2", {}, "Pages beside runs"), el("ul", {}, runs.pages.map((each) => el("li", {}, el("a", { href: `/beside?page=${encodeURIComponent(each)}` }, each))))] : [];
  const empty = runs.all.size ? [] : el("p", { class: "note" }, "No run yet. ", el("code", {}, "rootstock adapt FILE --out runs/NAME"), " makes one; it shows up here by itself.");
  return {
    title: "Runs",
    changed: fill,
    node: [el("h1", {}, "Runs"), empty,
      el("form", { class: "filters", role: "search", onsubmit: (event) => event.preventDefault() },
        el("div", {}, el("label", { for: "search" }, "Search name, task, method, base or data"), search), choice("Task", "all tasks", "task"), choice("State", "all states", "state"), compare),
      told,
      el("div", { class: "scroll", role: "group", "aria-label": "Runs", tabindex: "0" }, el("table", { class: "runs" }, el("caption", { class: "hidden" }, "Runs; the heads of the columns sort"),
        el("thead", {}, el("tr", {}, el("td", {}, el("span", { class: "hidden" }, "choose")), heads)), body)), pages],
  };
};

const AXES = { seconds: ["training time in seconds", span], bytes: ["size of the model in bytes", size] };
// Runs that no other beats in both: as good and cheaper, or better and as cheap.
export const front = (held, cost) => held.filter((one) => !held.some((other) => {
  const gain = (other.score - one.score) * (one.lower ? -1 : 1), spared = one[cost] - other[cost];
  return gain >= 0 && spared >= 0 && (gain > 0 || spared > 0);
}));

const pareto = (all, cost) => {
  // three digits of a cost: some bytes of a config make no model smaller
  const held = all.map((run) => ({ ...run, [cost]: run[cost] === null ? null : Number(run[cost].toPrecision(3)) }));
  const known = held.filter((run) => run.score !== null && run[cost] > 0), best = front(known, cost).sort((a, b) => a[cost] - b[cost]);
  if (known.length < 2) return null;
  const marks = (some, colour, name) => ({ type: "scatter", mode: "markers", name, x: some.map((run) => run[cost]), y: some.map((run) => run.score),
    text: some.map((run) => run.name), customdata: some.map((run) => `${run.id}: ${number(run.score)}, ${AXES[cost][1](run[cost])}`), marker: { color: colour, size: 10 },
    ...(some.every((run) => run.interval) ? { error_y: { array: some.map((run) => run.interval[1] - run.score), arrayminus: some.map((run) => run.score - run.interval[0]) } } : {}) });
  const rest = known.filter((run) => !best.includes(run));
  const line = { type: "scatter", mode: "lines", x: best.map((run) => run[cost]), y: best.map((run) => run.score), showlegend: false, line: { color: "var(--first)", width: 1.5, dash: "dot" } };
  const figure = { data: [...(best.length > 1 ? [line] : []), marks(best, "var(--first)", "on the front"), ...(rest.length ? [marks(rest, "var(--muted)", "beaten in both")] : [])],
    layout: { height: 360, xaxis: { title: { text: AXES[cost][0] }, type: "log" }, yaxis: { title: { text: figureName(known[0].figure) } } } };
  const said = `On the front: ${best.map((run) => `${run.name} (${number(run.score)}, ${AXES[cost][1](run[cost])})`).join(", ")}. The bars are 95 % intervals; a run on the front beats another for certain only where they lie apart.`;
  return chart({ key: `front-${cost}`, title: `${figureName(known[0].figure)} against ${cost === "bytes" ? "size" : "time"}`, sentence: said, figure });
};

export const compareView = ({ query }) => {
  const wanted = query.getAll("id"), held = wanted.map((id) => runs.all.get(id)).filter(Boolean);
  const title = el("h1", {}, "Compare");
  if (held.length < 2) {
    return { title: "Compare", changed() {}, node: [title, el("p", { class: "verdict" }, "Choose two runs or more in the ", el("a", { href: "#/runs" }, "list of runs"), ".")] };
  }
  const figures = [...new Set(held.flatMap((run) => Object.keys(run.figures)))];
  const bounded = ([value, low, high] = []) => (value === undefined ? "–" : low === null ? number(value) : `${number(value)} (${number(low)} – ${number(high)})`);
  const head = ["run", "task", "method", "base", ...figures.map(figureName), "time", "size"];
  const rows = held.map((run) => [el("a", { href: link(run.id) }, run.id), run.task || "–", run.method || "–", run.base || "–", ...figures.map((name) => bounded(run.figures[name])), span(run.seconds), size(run.bytes)]);
  const one = new Set(held.map((run) => run.figure)).size === 1;
  const same = one && held.every((run) => run.measured_on && run.measured_on === held[0].measured_on);
  const apart = !one ? "These runs are measured by different figures: there is no common scale to draw them on."
    : same ? null : "These runs were not shown to be measured on the same rows. What lies between their scores may be the rows.";
  const settings = el("div");
  differences(held, settings);
  return {
    title: "Compare",
    node: [title, apart ? el("p", { class: "note" }, apart) : null, table({ head, rows, words: 4 }, "The chosen runs"),
      one ? el("h2", {}, "Score against cost") : null, one ? el("div", { class: "grid" }, Object.keys(AXES).map((cost) => pareto(held, cost))) : null,
      el("p", { class: "muted" }, "Intervals that overlap don't say that two runs are alike. A paired test on the same rows tells more: ", el("code", {}, "rootstock compare"), " makes one."),
      el("h2", {}, "What was measured"), settings],
  };
};

// Every figure of each run beside the others.
const differences = async (held, place) => {
  try {
    const told = await Promise.all(held.map((run) => ask(`/api/run?id=${encodeURIComponent(run.id)}`)));
    const all = told.map((each) => each.metrics.metrics || {}), names = [...new Set(all.flatMap((each) => Object.keys(each)))];
    const rows = names.map((name) => [figureName(name), ...all.map((each) => number(each[name]))]);
    place.replaceChildren(rows.length ? table({ head: ["figure", ...held.map((run) => run.name)], rows }, "Every figure of the chosen runs") : el("p", {}, "None of them has ended."));
  } catch (error) { place.replaceChildren(trouble(error)); }
};
