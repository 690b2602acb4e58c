// Elements are made of parts, never of markup: a text from a run is a text, whatever stands in it.
export const el = (name, options = {}, ...inner) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(options)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key === "class") made.className = value;
    else if (key === "style") for (const [property, to] of Object.entries(value)) made.style.setProperty(property, to);
    else if (key === "value" || (key in made && typeof value !== "string")) made[key] = value;
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...there(inner));
  return made;
};

// What is there of parts that may be nested, and may be nothing.
export const there = (parts) => parts.flat(Infinity).filter((each) => each !== null && each !== undefined && each !== false);
export const put = (place, ...parts) => { place.replaceChildren(...there(parts)); return place; };

const SVG = "http://www.w3.org/2000/svg";
export const draw = (name, options = {}, ...inner) => {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(options)) if (value !== null && value !== undefined) made.setAttribute(key, value);
  made.append(...inner.flat(3));
  return made;
};

export const say = (words) => { document.getElementById("said").textContent = words; };

// An answer of the studio, or an error whose message is the studio's own.
export const ask = async (path, question) => {
  const options = question ? { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(question) } : {};
  const answer = await fetch(path, { credentials: "same-origin", ...options });
  if (answer.ok) return answer.json();
  throw await refused(answer);
};

export const refused = async (answer) => {
  const text = await answer.text();
  let told = { found: text || `the studio answered ${answer.status}`, wanted: "", fix: "" };
  try { told = JSON.parse(text); } catch { /* a plain text is told as it is */ }
  return Object.assign(new Error(told.found), { told });
};

// What went wrong, where it is to be read; wanted and fix below it.
export const trouble = (error) => {
  const told = error.told || { found: error.message, wanted: "", fix: "" };
  const more = [told.wanted && `Wanted: ${told.wanted}.`, told.fix && `Fix: ${told.fix}.`].filter(Boolean);
  return el("div", { class: "trouble", role: "alert" }, el("strong", {}, told.found), more.map((each) => el("p", {}, each)));
};

export const number = (value, digits = 3) => (typeof value === "number"
  ? (Math.abs(value) < 100 ? value.toFixed(digits) : value.toLocaleString("en", { maximumFractionDigits: 1 })) : "–");
export const count = (value) => (typeof value === "number" ? Math.round(value).toLocaleString("en") : "–");
export const percent = (value) => (typeof value === "number" ? `${(100 * value).toFixed(1)} %` : "–");
export const span = (seconds) => {
  if (typeof seconds !== "number") return "–";
  if (seconds < 90) return `${seconds.toFixed(1)} s`;
  return seconds < 5400 ? `${(seconds / 60).toFixed(1)} min` : `${(seconds / 3600).toFixed(1)} h`;
};
export const size = (bytes) => {
  if (typeof bytes !== "number") return "–";
  return bytes >= 1e9 ? `${(bytes / 1e9).toFixed(2)} GB` : bytes >= 1e6 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e3).toFixed(0)} kB`;
};
export const ago = (when) => {
  const seconds = Math.max(0, Date.now() / 1000 - when);
  const [amount, unit] = seconds < 60 ? [0, ""] : seconds < 3600 ? [seconds / 60, "min"] : seconds < 86400 ? [seconds / 3600, "h"] : [seconds / 86400, "d"];
  return unit ? `${Math.floor(amount)} ${unit} ago` : "just now";
};
export const moment = (when) => new Date(when * 1000).toLocaleString();
const NAMES = { macro_f1: "macro F1", micro_f1: "micro F1", weighted_f1: "weighted F1", f1: "F1", roc_auc: "ROC-AUC", log_loss: "log loss", bits_per_byte: "bits a byte" };
export const figureName = (name) => NAMES[name] || name.replaceAll("_", " ");

// A table of texts. words: leading columns that hold words; the others hold numbers. A wide one scrolls, by the keyboard too.
export const table = ({ head, rows, words = 1 }, caption) => el("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": caption },
  el("table", {}, el("caption", { class: "hidden" }, caption),
    el("thead", {}, el("tr", {}, head.map((each, at) => el("th", { scope: "col", class: at < words ? null : "n" }, each)))),
    el("tbody", {}, rows.map((row) => el("tr", {}, row.map((cell, at) => (at === 0
      ? el("th", { scope: "row" }, cell) : el("td", { class: at < words ? null : "n" }, cell))))))));
