// Which view is shown, the one stream of events, and the colour scheme.
import { ask, el, put, say, trouble } from "./dom.js";
import { compareView, listView, runs } from "./runs.js";
import { runView } from "./run.js";
import { playView } from "./playground.js";

const main = document.getElementById("main"), root = document.documentElement;
let view = null, stream = null, followed = "", begun = false;

const where = () => {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const parts = path.split("/").map(decodeURIComponent);
  return { name: parts[0] || "runs", id: parts[1] || "", tab: parts[2] || "", query: new URLSearchParams(query || "") };
};

const VIEWS = { runs: listView, compare: compareView, run: runView, playground: playView };

const show = (changed) => {
  const place = where();
  if (view && view.stay && view.stay(place)) return;
  if (view && view.leave) view.leave();
  view = (VIEWS[place.name] || listView)(place);
  put(main, view.node);
  document.title = `${view.title} · Rootstock studio`;
  for (const link of document.querySelectorAll(".top nav a")) {
    const here = link.hash === `#/${place.name === "run" ? "runs" : place.name}`;
    if (here) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
  }
  if (changed) {
    const heading = main.querySelector("h1");
    heading.tabIndex = -1;
    heading.focus({ preventScroll: true });
    scrollTo(0, 0);
  }
  follow(view.follows || "");
};

// The stream: one a page. A page that is not seen needs none.
const live = document.getElementById("live"), words = document.getElementById("live-words");
const state = (kind, said) => { live.className = `live ${kind}`; if (words.textContent !== said) words.textContent = said; };
const follow = (id) => {
  if (stream && id === followed) return;
  if (stream) stream.close();
  followed = id;
  stream = new EventSource(`/api/events${id ? `?id=${encodeURIComponent(id)}` : ""}`);
  stream.addEventListener("open", () => { if (begun) refresh(); begun = true; state("on", "live"); });
  stream.addEventListener("error", () => state("off", "not connected: is the studio still running?"));
  stream.addEventListener("end", () => { stream.close(); stream = null; state("off", "the studio has ended"); });
  stream.addEventListener("runs", (event) => {
    const ended = runs.take(JSON.parse(event.data));
    if (ended.length) say(ended.join(" "));
    if (view && view.changed) view.changed();
  });
  stream.addEventListener("curves", (event) => { if (view && view.curves) view.curves(JSON.parse(event.data)); });
};
document.addEventListener("visibilitychange", () => {
  if (document.hidden && stream) { stream.close(); stream = null; } else if (!document.hidden && !stream) { follow(followed); refresh(); }
});

const refresh = async () => {
  try {
    runs.fill(await ask("/api/runs"));
    if (view && view.changed) view.changed();
  } catch (error) { state("off", error.message); }
};

const THEMES = ["system", "light", "dark"], button = document.getElementById("theme");
const named = () => { button.textContent = `Theme: ${root.dataset.theme || "system"}`; };
button.addEventListener("click", () => {
  const next = THEMES[(THEMES.indexOf(root.dataset.theme || "system") + 1) % THEMES.length];
  if (next === "system") delete root.dataset.theme; else root.dataset.theme = next;
  try { localStorage.setItem("rootstock-theme", next); } catch { /* then it holds for this page only */ }
  named();
});
named();

document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); main.focus(); });
addEventListener("hashchange", () => show(true));
try {
  runs.fill(await ask("/api/runs"));
  show(false);
} catch (error) {
  main.replaceChildren(el("h1", {}, "The studio did not answer"), trouble(error));
}
