// Texts put to runs, side by side: labels, entities, spans, written text, and what an answer rests on.
import { ask, el, number, percent, put, refused, say, table, trouble } from "./dom.js";
import { link, runs } from "./runs.js";

const kept = { chosen: new Set(), text: "", text_pair: "", choices: "" };
const known = new Map();
// What a run wants to be asked; asked once, as its recipe does not change.
const asks = (run) => {
  const key = `${run.id} ${run.when}`;
  if (!known.has(key)) known.set(key, ask(`/api/asks?id=${encodeURIComponent(run.id)}`).catch((error) => ({ trouble: error, parts: [] })));
  return known.get(key);
};

export const playView = ({ query }) => {
  for (const id of query.getAll("id")) kept.chosen.add(id);
  const ready = [...runs.all.values()].filter((run) => run.state === "ended");
  kept.chosen = new Set([...kept.chosen].filter((id) => ready.some((run) => run.id === id)));
  if (!kept.chosen.size && ready.length) kept.chosen.add(ready[0].id);
  const cards = el("div", { class: "cards" });
  const fields = el("div");
  const go = el("button", { type: "submit", class: "primary" }, "Ask");
  const stop = el("button", { type: "button", disabled: true, onclick: () => { if (halt) halt.abort(); } }, "Stop");
  let halt = null, fitted = null;

  const chosen = () => ready.filter((run) => kept.chosen.has(run.id));
  // The fields that the chosen runs want; those that are there stay as they are, as somebody may be typing.
  const fit = (parts, spans) => {
    const wanted = [...parts, spans].join(" ");
    if (wanted === fitted) return;
    fitted = wanted;
    const area = (part, said) => el("div", {}, el("label", { for: `ask-${part}` }, said), el("textarea", { id: `ask-${part}`, value: kept[part], oninput: (event) => { kept[part] = event.target.value; }, onkeydown: (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); form.requestSubmit(); } } }));
    const held = document.activeElement?.id;
    fields.replaceChildren(area("text", spans ? "Question" : parts.includes("text_pair") ? "First text" : "Text"),
      ...(parts.includes("text_pair") ? [area("text_pair", spans ? "Passage" : "Second text")] : []), ...(parts.includes("choices") ? [area("choices", "Choices, one a line")] : []));
    if (held) document.getElementById(held)?.focus();
  };
  const settle = async () => {
    const wants = await Promise.all(chosen().map(asks)), asked = wants.flatMap((each) => each.parts);
    fit(["text", "text_pair", "choices"].filter((part) => part === "text" || asked.includes(part)), wants.some((each) => each.kind === "span"));
  };

  const form = el("form", { onsubmit: async (event) => {
    event.preventDefault();
    if (halt) return;
    halt = new AbortController();
    [go.disabled, stop.disabled] = [true, false];
    const some = chosen(), places = some.map((run) => card(run));
    cards.replaceChildren(...places.map((each) => each.node));
    say(`Asking ${some.length === 1 ? some[0].name : `${some.length} runs`}`);
    const question = { text: kept.text, text_pair: kept.text_pair, choices: kept.choices.split("\n") };
    const told = [];
    for (const [at, run] of some.entries()) {  // one after the other: they share the same cores
      if (halt.signal.aborted) { places[at].put(el("p", { class: "muted" }, "Not asked.")); continue; }
      told.push(await answered(run, question, places[at], halt.signal));
    }
    say(told.join(" "));
    halt = null;
    [go.disabled, stop.disabled] = [false, true];
  } }, fields, el("div", { class: "row" }, go, stop, el("span", { class: "muted" }, "or Ctrl+Enter in the text")));

  const pick = el("fieldset", {}, el("legend", {}, "Runs to ask"), el("div", { class: "pick", tabindex: "0", role: "group", "aria-label": "Runs to ask" }, ready.length ? ready.map((run) => el("label", { class: "check" },
    el("input", { type: "checkbox", checked: kept.chosen.has(run.id), onchange: (event) => { if (event.target.checked) kept.chosen.add(run.id); else kept.chosen.delete(run.id); settle(); } }),
    el("span", {}, run.id, el("small", {}, [run.task, run.method].filter(Boolean).join(" · "))))) : el("p", { class: "muted" }, "No run has ended yet.")));
  fit(["text"], false);
  settle();
  return {
    title: "Playground",
    leave: () => { if (halt) halt.abort(); },
    node: [el("h1", {}, "Playground"), el("p", { class: "muted" }, "Each run is opened as ", el("code", {}, "rootstock predict"), " opens it: scanned first, and held to the digests of its manifest. Texts stay on this machine."),
      el("div", { class: "play" }, pick, form), el("section", { "aria-labelledby": "answers" }, el("h2", { id: "answers", class: "hidden" }, "Answers"), cards)],
  };
};

const card = (run) => {
  const body = el("div", { "aria-busy": "true" }, el("p", { class: "muted" }, "Waiting …"));
  return { body, put: (...parts) => { put(body, parts); body.removeAttribute("aria-busy"); }, node: el("article", { class: "card" }, el("h3", {}, el("a", { href: link(run.id) }, run.id)), body) };
};

// Shows a run's answer; gives what is said of it to who can't see it.
const answered = async (run, question, place, signal) => {
  const wants = await asks(run);
  try {
    if (wants.trouble) throw wants.trouble;
    if (wants.streams) return await written(run, question, place, signal);
    place.body.replaceChildren(el("p", { class: "muted" }, "Computing …"));
    const told = await ask("/api/answer", { id: run.id, ...question });
    place.put(shown(told, run, question, wants), told.note ? el("p", { class: "note" }, told.note) : null);
    return `${run.name}: ${spoken(told)}.`;
  } catch (error) {
    place.put(error.name === "AbortError" ? el("p", { class: "muted" }, "Stopped.") : trouble(error));
    return `${run.name}: ${error.message}.`;
  }
};

const spoken = (told) => {
  if (told.labels) return `${told.predicted} ${percent(told.labels[0]?.p)}`;
  if (told.kind === "tags") return told.pieces.filter((each) => each.kind).map((each) => `${each.text} ${each.kind}`).join(", ") || "nothing found";
  if (told.masks) return told.masks.map((each) => each[0].token).join(", ");
  return told.predicted === "" ? "no answer" : String(typeof told.predicted === "number" ? number(told.predicted) : told.predicted ?? "a vector");
};

const barred = (rows) => el("ol", { class: "bars" }, rows.map(({ name, p }, at) => el("li", { class: at === 0 ? "best" : null }, el("span", { class: "name" }, name), el("span", { class: "bar", "aria-hidden": "true" }, el("span", { style: { width: `${100 * p}%` } })), el("span", { class: "p" }, percent(p)))));

const shown = (told, run, question, wants) => {
  const parts = [];
  if (told.labels) parts.push(barred(told.labels.slice(0, 12)), told.labels.length > 12 ? el("p", { class: "muted" }, `and ${told.labels.length - 12} labels below ${percent(told.labels[11].p)}`) : null);
  else if (told.kind === "tags") parts.push(tagged(told, run, question), el("p", { class: "muted" }, `Least certain word: ${percent(told.confidence)}. Choose a word to see what its tag rests on.`));
  else if (told.kind === "span") parts.push(el("p", { class: "predicted" }, told.predicted || "No answer"), el("p", { class: "muted" }, `${percent(told.confidence)} among all spans`), marked(told.pieces));
  else if (told.masks) parts.push(told.masks.map((each, at) => [told.masks.length > 1 ? el("h4", {}, `Mask ${at + 1}`) : null, barred(each.map((one) => ({ name: one.token, p: one.probability })))]));
  else if (told.vector) parts.push(el("p", {}, `A vector of ${told.vector.width} numbers, beginning ${told.vector.first.map((each) => number(each)).join(", ")} … With a second text it tells how alike the two are.`));
  else parts.push(el("p", { class: "predicted" }, typeof told.predicted === "number" ? number(told.predicted) : String(told.predicted)), told.confidence == null ? null : el("p", { class: "muted" }, percent(told.confidence)));
  if (wants.explains && told.kind !== "tags") parts.push(explaining(run, question, wants.labels));
  if (told.format && told.format !== "float32") parts.push(el("p", { class: "muted" }, `Answered in ${told.format}.`));
  return parts;
};

const marked = (pieces) => el("p", { class: "words" }, pieces.map((each) => (each.kind ? el("mark", { class: "entity" }, each.text) : each.text)));

const tagged = (told, run, question) => {
  const place = el("div");
  const word = (piece, inner) => el("button", { type: "button", "aria-pressed": "false", onclick: (event) => {
    for (const each of words.querySelectorAll("button")) each.setAttribute("aria-pressed", "false");
    event.currentTarget.setAttribute("aria-pressed", "true");
    explain(run, { ...question, word: piece.word }, place);
  } }, inner);
  const words = el("p", { class: "words" }, told.pieces.map((each) => (each.word === undefined ? each.text : each.kind
    ? el("mark", { class: "entity" }, word(each, [each.text, el("sub", {}, each.kind)])) : word(each, each.text))));
  return [words, place];
};

const explaining = (run, question, labels) => {
  const place = el("div"), target = labels && labels.length ? el("select", { "aria-label": `Label to explain, of ${run.name}` }, el("option", { value: "" }, "the likeliest"), labels.map((each) => el("option", { value: each }, each))) : null;
  return [el("div", { class: "row" }, el("button", { type: "button", onclick: () => explain(run, { ...question, target: target && target.value ? target.value : null }, place) }, "What does it rest on?"), target), place];
};

// Integrated gradients: each token tinted by its share, the sum and the gap below.
const explain = async (run, question, place) => {
  place.replaceChildren(el("p", { class: "muted" }, "Following the gradients …"));
  try {
    const told = await ask("/api/explain", { id: run.id, ...question });
    const all = told.texts.flat().filter((each) => each.value !== undefined), most = Math.max(...all.map((each) => Math.abs(each.value)), 1e-9);
    const tint = (each) => (each.value === undefined ? (each.cut ? el("s", {}, each.text) : each.text)
      : el("mark", { title: `${each.value >= 0 ? "+" : "−"}${Math.abs(each.value).toFixed(3)}`, style: { "--wash": `color-mix(in srgb, var(${each.value >= 0 ? "--first" : "--second"}) ${Math.round(42 * Math.abs(each.value) / most)}%, transparent)` } }, each.text));
    const rows = all.map((each) => [each.text, each.value.toFixed(4)]);
    put(place, el("h4", {}, `What ${told.target} rests on`), told.texts.map((each) => el("p", { class: "words" }, each.map(tint))),
      el("p", { class: "muted" }, `Green speaks for it, orange against it. Score ${number(told.score)}, of a text that says nothing ${number(told.baseline)}; the shares add up to the difference but for ${told.gap.toExponential(1)} (${told.points} points, integrated gradients).`),
      el("details", {}, el("summary", {}, "The numbers"), table({ head: ["token", "share"], rows }, `Shares of the tokens for ${told.target}`)));
    const first = [...all].sort((a, b) => Math.abs(b.value) - Math.abs(a.value)).slice(0, 3);
    say(`${told.target} rests most on ${first.map((each) => `${each.text} ${each.value.toFixed(2)}`).join(", ")}`);
  } catch (error) { place.replaceChildren(trouble(error)); }
};

// Text as it is written, by server-sent events over the answer to a POST.
const written = async (run, question, place, signal) => {
  const words = el("p", { class: "words" }), state = el("p", { class: "muted" }, "Writing …");
  place.body.replaceChildren(words, state);
  const answer = await fetch("/api/write", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ id: run.id, ...question }), signal });
  if (!answer.ok) throw await refused(answer);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "", failed = null;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    held += value;
    const whole = held.split("\n\n");
    held = whole.pop();
    for (const each of whole) {
      const kind = /^event: (\w+)/.exec(each)?.[1], told = JSON.parse(each.slice(each.indexOf("data: ") + 6));
      if (kind === "piece") words.append(told);
      if (kind === "refused") failed = told;
    }
  }
  if (failed) throw Object.assign(new Error(failed.found), { told: failed });
  if (words.textContent.trim()) state.remove(); else state.textContent = "Nothing: the text ended at once.";
  place.body.removeAttribute("aria-busy");
  return `${run.name}: ${words.textContent.trim() || "nothing"}`;
};
