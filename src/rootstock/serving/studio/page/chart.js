// Charts as the reports describe them: plotly figures of lines, marks and bars, drawn here as plain SVG, as plotly itself is 4.8 MB.
// Colours are var(--name), so that one drawing serves light and dark. Each has its sentence and, where there is one, its table.
import { draw, el, number, table } from "./dom.js";

const LEFT = 50, RIGHT = 14, TOP = 12, BOTTOM = 42;
const MARKS = { circle: (x, y, r) => draw("circle", { cx: x, cy: y, r }), square: (x, y, r) => draw("rect", { x: x - r, y: y - r, width: 2 * r, height: 2 * r }) };
const numbers = (values) => values.filter((each) => typeof each === "number" && Number.isFinite(each));
const plain = (html) => String(html ?? "").replace(/<[^>]*>/g, " ").replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&").trim();
const short = (value) => {
  const size = Math.abs(value);
  if (value === 0) return "0";
  if (size >= 1e9) return `${+(value / 1e9).toPrecision(3)}G`;
  if (size >= 1e6) return `${+(value / 1e6).toPrecision(3)}M`;
  if (size >= 1e4) return `${+(value / 1e3).toPrecision(3)}k`;
  return size < 1e-3 ? value.toExponential(0).replace("e-", "e−") : String(+value.toPrecision(3));
};

const steps = (low, high, wanted) => {
  const raw = (high - low) / wanted, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= raw) || raw;
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9) * step; at <= high + step * 1e-9; at += step) found.push(Math.abs(at) < step * 1e-9 ? 0 : at);
  return found;
};

// 1, 2 and 5 times the powers of ten; of many powers these alone.
const decades = (low, high) => {
  const found = [];
  for (let power = Math.floor(low); power <= high; power += 1) {
    for (const each of high - low > 2.5 ? [1] : [1, 2, 5]) if (Math.log10(each) + power >= low && Math.log10(each) + power <= high) found.push(each * 10 ** power);
  }
  return found;
};

const scale = (axis, values, from, to, wanted) => {
  const log = axis.type === "log";
  const known = numbers(values).filter((each) => !log || each > 0).map((each) => (log ? Math.log10(each) : each));
  let [low, high] = known.length ? [Math.min(...known), Math.max(...known)] : [0, 1];
  if (axis.rangemode === "tozero" && !log) { low = Math.min(low, 0); high = Math.max(high, 0); }
  if (log && high - low < 0.6) { const middle = (low + high) / 2; [low, high] = [middle - 0.3, middle + 0.3]; }
  if (low === high) { low -= Math.abs(low) * 0.1 || 0.5; high += Math.abs(high) * 0.1 || 0.5; }
  const air = axis.tight ? 0 : (high - low) * 0.04;
  if (!(axis.rangemode === "tozero" && low === 0)) low -= air;
  high += air;
  if (axis.autorange === "reversed") [low, high] = [high, low];
  const at = (value) => from + ((log ? Math.log10(value) : value) - low) / (high - low) * (to - from);
  const named = axis.tickvals;
  const ticks = named ? named.map((each, place) => [each, plain(axis.ticktext ? axis.ticktext[place] : short(each))])
    : (log ? decades(low, high) : steps(Math.min(low, high), Math.max(low, high), wanted)).map((each) => [each, short(each)]);
  return { at, ticks, right: to };
};

const paths = (trace, x, y) => {
  let line = "", open = false;
  trace.x.forEach((at, place) => {
    const value = trace.y[place];
    if (typeof at !== "number" || typeof value !== "number") { open = false; return; }
    line += `${open ? "L" : "M"}${x.at(at).toFixed(1)} ${y.at(value).toFixed(1)}`;
    open = true;
  });
  return line;
};

const DASHES = { dot: "2 3", dash: "6 4" };
const stroke = (line = {}) => ({ fill: "none", stroke: line.color || "var(--first)", "stroke-width": line.width || 2, "stroke-dasharray": DASHES[line.dash] || null, "stroke-linejoin": "round" });

const scatter = (trace, x, y) => {
  const parts = [], mode = trace.mode || "lines", marker = trace.marker || {}, error = trace.error_y;
  if (error) trace.x.forEach((at, place) => parts.push(draw("path", {
    d: `M${x.at(at)} ${y.at(trace.y[place] + error.array[place])}V${y.at(trace.y[place] - error.arrayminus[place])}`, stroke: marker.color || "var(--muted)", "stroke-width": 1.5 })));
  if (mode.includes("lines")) parts.push(draw("path", { d: paths(trace, x, y), ...stroke(trace.line) }));
  if (mode.includes("markers")) trace.x.forEach((at, place) => {
    if (typeof at !== "number" || typeof trace.y[place] !== "number") return;
    const mark = (MARKS[marker.symbol] || MARKS.circle)(x.at(at), y.at(trace.y[place]), (marker.size || 7) / 2);
    mark.setAttribute("fill", marker.color || (trace.line || {}).color || "var(--first)");
    const told = trace.customdata ? `${trace.customdata[place]}` : `${trace.name ? `${trace.name}: ` : ""}${number(trace.y[place])} at ${short(at)}`;
    mark.append(draw("title", {}, told));
    parts.push(mark);
    const late = x.at(at) > 0.6 * x.right;  // its name stands on the side that has room
    if (trace.text) parts.push(draw("text", { x: x.at(at) + (late ? -8 : 8), y: y.at(trace.y[place]) - 7, "text-anchor": late ? "end" : "start", class: "mark-name" }, plain(trace.text[place])));
  });
  return parts;
};

const bars = (trace, x, y, place, many) => trace.x.map((_, at) => {
  const [long, across, [along, other]] = trace.orientation === "h" ? [trace.x[at], trace.y[at], [x, y]] : [trace.y[at], trace.x[at], [y, x]];
  if (typeof long !== "number") return [];
  const width = Math.abs(other.at(across + (trace.width ? trace.width[at] : 0.7) / many) - other.at(across));
  const middle = other.at(across) + (place - (many - 1) / 2) * width, from = along.at(0), to = along.at(long);
  const box = trace.orientation === "h"
    ? { x: Math.min(from, to), width: Math.abs(to - from), y: middle - width / 2, height: width }
    : { y: Math.min(from, to), height: Math.abs(to - from), x: middle - width / 2, width };
  return draw("rect", { ...box, fill: (trace.marker || {}).color || "var(--first)" }, draw("title", {}, trace.customdata ? `${trace.name ? `${trace.name}: ` : ""}${[].concat(trace.customdata[at]).at(-1)} rows` : number(long)));
});

const ruled = (shape, x, y, box) => {
  const across = (value, axis, paper, from, to) => (paper ? from + value * (to - from) : axis.at(value));
  const [x0, x1] = ["x0", "x1"].map((each) => across(shape[each], x, shape.xref === "paper", box.left, box.right));
  const [y0, y1] = ["y0", "y1"].map((each) => across(shape[each], y, shape.yref === "paper", box.bottom, box.top));
  return draw("path", { d: `M${x0} ${y0}L${x1} ${y1}`, ...stroke(shape.line) });
};

const noted = (note, x, y, box) => {
  const log = note.xref !== "paper" && x.log;
  const left = note.xref === "paper" ? box.left + note.x * (box.right - box.left) : x.at(log ? 10 ** note.x : note.x);
  const up = note.yref === "paper" ? box.bottom + note.y * (box.top - box.bottom) : y.at(note.y);
  const anchor = { right: "end", left: "start" }[note.xanchor] || "middle";
  return draw("text", { x: left, y: up + (note.yanchor === "bottom" ? -5 : 11), "text-anchor": anchor, class: "note" }, plain(note.text));
};

const panel = (traces, axes, box, extra) => {
  const [xAxis, yAxis] = axes, held = traces.filter((each) => each.type !== "bar"), solid = traces.filter((each) => each.type === "bar");
  const flat = solid.some((each) => each.orientation === "h");
  const xs = traces.flatMap((each) => each.x), ends = held.flatMap((each) => (each.error_y ? each.y.flatMap((value, at) => [value + each.error_y.array[at], value - each.error_y.arrayminus[at]]) : []));
  const pad = solid.flatMap((each) => (each.orientation === "h" ? [-0.6, each.y.length - 0.4] : []));
  const x = { ...scale(flat ? { ...xAxis, rangemode: "tozero" } : xAxis, xs, box.left, box.right, 6), log: xAxis.type === "log" };
  const yValues = [...traces.flatMap((each) => each.y), ...ends, ...pad];
  const y = scale(solid.length && !flat ? { ...yAxis, rangemode: "tozero" } : yAxis, yValues, box.bottom, box.top, box.bottom - box.top > 120 ? 5 : 3);
  const parts = y.ticks.map(([at, said]) => [
    yAxis.showgrid === false ? [] : draw("path", { d: `M${box.left} ${y.at(at)}H${box.right}`, stroke: "var(--rule)" }),
    draw("text", { x: box.left - 7, y: y.at(at) + 4, "text-anchor": "end", class: "tick" }, said)]);
  if (extra.below) parts.push(x.ticks.map(([at, said]) => draw("text", { x: x.at(at), y: box.bottom + 17, "text-anchor": "middle", class: "tick" }, said)));
  parts.push(draw("path", { d: `M${box.left} ${box.bottom}H${box.right}`, stroke: "var(--muted)" }));
  for (const shape of extra.shapes) parts.push(ruled(shape, x, y, box));
  solid.forEach((each, place) => parts.push(bars(each, x, y, place, solid.length)));
  for (const each of held) parts.push(scatter(each, x, y));
  for (const note of extra.notes) parts.push(noted(note, x, y, box));
  const title = (axis) => plain((axis.title || {}).text);
  if (title(yAxis)) parts.push(draw("text", { x: box.left, y: box.top - 4 + (box.top < 20 ? 6 : 0), class: "axis" }, title(yAxis)));
  if (extra.below && title(xAxis)) parts.push(draw("text", { x: box.right, y: box.bottom + 35, "text-anchor": "end", class: "axis" }, title(xAxis)));
  return parts;
};

// The SVG of a figure; label: what a screen reader says of it.
export const svg = (figure, label) => {
  const wide = innerWidth < 760 ? 400 : 560;  // units are pixels where the page has the usual width
  const { layout, data } = figure, below = layout.yaxis2 && data.some((each) => each.yaxis === "y2");
  const names = layout.yaxis.ticktext || [];
  const left = Math.max(LEFT, Math.min(230, 7.2 * Math.max(0, ...names.map((each) => plain(each).length)) + 14));
  const high = Math.max(220, Math.min(layout.height || 340, data.some((each) => each.orientation === "h") ? 700 : 340)), bottom = high - BOTTOM;
  const box = { left, right: wide - RIGHT, top: TOP + 12, bottom };
  const extra = { shapes: layout.shapes || [], notes: layout.annotations || [], below: true };
  const first = data.filter((each) => each.yaxis !== "y2"), second = data.filter((each) => each.yaxis === "y2");
  const parts = below
    ? [panel(first, [{ ...layout.xaxis, tight: true }, layout.yaxis], { ...box, bottom: box.top + (bottom - box.top) * 0.64 }, { ...extra, below: false }),
      panel(second, [{ ...layout.xaxis, tight: true }, layout.yaxis2], { ...box, top: box.top + (bottom - box.top) * 0.78 }, { ...extra, shapes: [], notes: [] })]
    : panel(first, [layout.xaxis, layout.yaxis], box, extra);
  return draw("svg", { viewBox: `0 0 ${wide} ${high}`, role: "img", "aria-label": label, class: "chart" }, parts.flat(4));
};

const legend = (data) => {
  const shown = data.filter((each) => each.name && each.showlegend !== false);
  if (shown.length < 2) return null;
  const colour = (each) => (each.line || {}).color || (each.marker || {}).color || "var(--first)";
  return el("ul", { class: "legend", "aria-hidden": "true" }, shown.map((each) => el("li", {}, el("span", { style: { background: colour(each) } }), plain(each.name))));
};

// A chart with title, legend, sentence and table.
export const chart = ({ key, title, sentence, figure, table: twin }) => el("figure", { class: "block", "data-key": key },
  el("h3", {}, title), legend(figure.data), svg(figure, `${title}. ${sentence}`), el("figcaption", {}, sentence),
  twin ? el("details", {}, el("summary", {}, "The numbers"), table(twin, title)) : null);
