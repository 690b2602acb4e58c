// One run: overview with curves, report, data, scan, lineage.
import { ago, ask, count, el, moment, put, say, size, span, table, trouble } from "./dom.js";
import { chart } from "./chart.js";
import { link, runs, scored, stateOf } from "./runs.js";

const TABS = [["", "Curves"], ["report", "Report"], ["data", "Data"], ["scan", "Scan"], ["lineage", "Lineage"]];

export const runView = ({ id, tab }) => {
  const about = el("div"), below = el("div"), trial = el("a", { href: `#/playground?id=${encodeURIComponent(id)}` }, "Try it in the playground");
  // made once: what has the focus is never made anew
  const top = el("div", {}, el("p", { class: "muted" }, el("a", { href: "#/runs" }, "Runs"), ` / ${id}`),
    el("div", { class: "spread" }, el("h1", {}, id.split("/").at(-1)), trial), about);
  const run = () => runs.all.get(id);
  const head = () => {
    const known = run();
    trial.hidden = !known;
    if (!known) { put(about, el("p", { class: "note" }, "There is no such run any more.")); return; }
    const facts = [["state", stateOf(known)], ["task", known.task], ["method", known.method], ["base", known.base], ["data", known.data], ["score", scored(known)],
      ["validation rows", known.rows === null ? "" : count(known.rows)], ["training time", known.seconds === null ? "" : span(known.seconds)], ["model", known.bytes === null ? "" : size(known.bytes)], ["changed", ago(known.when)]];
    trial.hidden = known.state !== "ended";
    put(about, known.verdict ? el("p", { class: "verdict" }, `${known.verdict[0].toUpperCase()}${known.verdict.slice(1)}.`) : null,
      known.state === "interrupted" ? el("p", { class: "note" }, "This run has not ended, and nothing writes to it. Go on with it: ", el("code", {}, `rootstock run ${runs.root}/${id}/recipe.yaml --resume`)) : null,
      el("dl", { class: "facts" }, facts.filter(([, value]) => value).map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", { title: name === "changed" ? moment(known.when) : null }, value)))));
  };
  const tabs = el("ul", { class: "tabs" }, TABS.map(([key, said]) => el("li", {}, el("a", { href: link(id, key), "aria-current": key === tab ? "page" : null }, said))));
  head();
  const parts = { "": curvesTab, report: reportTab, data: dataTab, scan: scanTab, lineage: lineageTab };
  const made = (parts[tab] || curvesTab)(id, run);
  below.append(...[made.node].flat());
  const heading = TABS.find(([key]) => key === tab) || TABS[0];
  return {
    title: `${run() ? run().name : id}, ${heading[1].toLowerCase()}`,
    follows: made.curves && run() && !run().alone ? id : "",
    node: [top, el("nav", { "aria-label": "Parts of the run" }, tabs), el("section", { "aria-labelledby": "part" }, el("h2", { id: "part", class: "hidden" }, heading[1]), below)],
    changed: () => { head(); if (made.changed) made.changed(); },
    curves: made.curves,
  };
};

const curvesTab = (id, run) => {
  const place = el("div", { class: "grid" }, el("p", { class: "muted" }, "Reading the history …"));
  let said = -Infinity;
  return {
    node: place,
    curves: ({ charts, refused }) => {
      if (refused) { place.replaceChildren(trouble({ told: refused })); return; }
      if (!charts.length) { place.replaceChildren(el("p", { class: "muted" }, "No step of the training was written down yet.")); return; }
      const open = new Set([...place.querySelectorAll("figure:has(details[open])")].map((each) => each.dataset.key));
      place.replaceChildren(...charts.map((each) => { const made = chart(each); if (open.has(each.key)) made.querySelector("details").open = true; return made; }));
      // a running curve is told now and then, not at each step
      if (run() && run().state === "running" && performance.now() - said > 15000) { said = performance.now(); say(charts[0].sentence); }
    },
  };
};

const reportTab = (id, run) => {
  const frame = () => el("iframe", { class: "report", sandbox: "allow-scripts allow-modals", src: `/report?id=${encodeURIComponent(id)}`, title: `Report of ${id}` });
  const place = el("div"), waiting = "The report is written when the run ends.";
  const there = () => run() && run().state === "ended" && !run().alone;
  place.append(there() ? frame() : el("p", { class: "muted" }, run() && run().alone ? "A model that came without its run has no report." : waiting));
  return { node: place, changed: () => { if (there() && !place.querySelector("iframe")) place.replaceChildren(frame()); } };
};

// What a part asks for is asked when it is opened, and shown when it comes.
const later = (path, words, make) => {
  const place = el("div", { "aria-busy": "true" }, el("p", { class: "muted" }, words));
  ask(path).then((told) => put(place, make(told)), (error) => place.replaceChildren(trouble(error))).finally(() => place.removeAttribute("aria-busy"));
  return { node: place };
};

const dataTab = (id) => later(`/api/account?id=${encodeURIComponent(id)}`, "Reading the ledger …", (told) => {
  const sides = Object.entries(told.rows).filter(([, value]) => typeof value === "number");
  const findings = told.findings.map((each) => [each.name, each.meaning, each.count, each.share, each.limit, each.state]);
  return [
    el("dl", { class: "facts" }, sides.map(([name, value]) => el("div", {}, el("dt", {}, `${name.replaceAll("_", " ")} rows`), el("dd", {}, count(value)))), told.padding !== "–" ? el("div", {}, el("dt", {}, "padding"), el("dd", {}, told.padding)) : null),
    findings.length ? [el("h3", {}, "Findings"), table({ head: ["finding", "what it counts", "rows", "share", "limit", "state"], rows: findings, words: 2 }, "Findings of the ledger")] : el("p", { class: "muted" }, "This run has no ledger of rows."),
    told.findings.filter((each) => each.examples.length).map((each) => el("details", {}, el("summary", {}, `Examples: ${each.name}`), el("ul", {}, each.examples.map((one) => el("li", {}, `${one.where}: `, el("q", {}, one.text), one.notes ? ` (${one.notes})` : ""))))),
    el("div", { class: "grid" }, told.charts.map(chart)),
    Object.entries(told.tables).map(([name, each]) => [el("h3", {}, name), table(each, name)]),
    told.sources.length ? [el("h3", {}, "Where the rows came from"), table({ head: ["side", "name", "format", "sha256"], rows: told.sources.map((row) => row.map((cell, at) => (at === 3 ? el("code", {}, cell.slice(0, 16)) : cell))), words: 4 }, "Sources")] : null,
  ];
});

const scanTab = (id) => later(`/api/scan?id=${encodeURIComponent(id)}`, "Scanning the folder …", (told) => {
  const verdict = told.refused ? el("p", { class: "trouble", role: "alert" }, "Refused: the policy lets no such file be loaded.") : el("p", { class: "fine" }, told.findings.length ? "Nothing is refused." : "Nothing was found.");
  const rows = told.findings.map((each) => [each.rule, `${each.path}${each.members.length ? `!${each.members.join("!")}` : ""}`, each.what, each.severity, each.action, each.fix]);
  say(told.refused ? "The scan refuses files of this run" : "The scan refuses nothing");
  return [verdict, el("p", { class: "muted" }, `${count(told.files)} files, ${size(told.bytes)}, read byte by byte in ${span(told.seconds)}; nothing in them was run.`),
    rows.length ? table({ head: ["rule", "file", "what", "severity", "policy", "fix"], rows, words: 6 }, "Findings of the scan") : null,
    told.left.length ? el("h3", {}, "What other checks left here") : null,
    told.left.map((each) => el("details", {}, el("summary", {}, each.verdict ? `${each.name}: ${each.verdict}` : each.name),
      each.page ? el("p", {}, el("a", { href: `/beside?page=${encodeURIComponent(each.page)}` }, `Page of this check: ${each.page}`)) : null,
      el("pre", { tabindex: "0", role: "group", "aria-label": `Figures of ${each.name}` }, el("code", {}, JSON.stringify(each.found, null, 2)))))];
});

const lineageTab = (id) => later(`/api/lineage?id=${encodeURIComponent(id)}`, "Holding each link against its bytes …", (told) => {
  const node = (each) => el("li", {}, el("div", { class: `link ${each.verified.state}` }, el("strong", {}, each.name), ` ${each.role}, ${each.verified.state}`,
    el("p", {}, [each.declared.task, each.declared.method, each.declared.licence && `licence ${each.declared.licence}`, (each.declared.sha256 || each.verified.sha256 || "").slice(0, 12)].filter(Boolean).join(" · ")),
    each.verified.why ? el("p", {}, each.verified.why) : null), each.grew_from.length ? el("ul", {}, each.grew_from.map(node)) : null);
  return [told.issues.length ? el("div", { class: "trouble" }, el("strong", {}, "It does not fit"), el("ul", {}, told.issues.map((each) => el("li", {}, each)))) : el("p", { class: "fine" }, "No link is another than declared."),
    el("p", { class: "muted" }, "Read downwards: each thing grew from what stands below it."), el("ul", { class: "tree" }, node(told.root)), told.notes.map((each) => el("p", { class: "muted" }, each))];
});

