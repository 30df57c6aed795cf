// The page: what is typed goes to the service it came from, and its answer is shown.

import { make, one } from "./dom.js";
import { SAMPLES } from "./samples.js";
import { show } from "./view.js";

const state = { models: [], limits: {}, answer: null, asked: null, under: null };
const status = (text, bad = false) => {
  one("status").textContent = text;
  one("status").classList.toggle("bad", bad);
};

// --- the service ---

const keep = {
  get key() { try { return sessionStorage.getItem("polyhead-key") ?? ""; } catch { return this.own ?? ""; } },
  set key(value) { try { sessionStorage.setItem("polyhead-key", value); } catch { this.own = value; } },
};

class Refusal extends Error {}

async function call(path, options = {}) {
  const headers = { ...options.headers };
  if (keep.key) headers.Authorization = `Bearer ${keep.key}`;
  let answer;
  try {
    answer = await fetch(path, { ...options, headers, credentials: "omit" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal("The server cannot be reached. Is it running?");
  }
  if (answer.ok) return answer;
  if (answer.status === 401) {
    one("key-form").hidden = false;
    one("key").focus();
  }
  const told = (await answer.json().catch(() => ({}))).error;
  throw new Refusal(told ? `${told.what} ${told.remedy}` : `The server answers with status ${answer.status}.`);
}

const called = (wanted) => state.models.find(({ name }) => name === wanted) ?? state.models[0];
const model = () => called(one("model").value);

/** What the page asks now: what is shown later, copied or linked is of this, whatever the boxes hold by then. */
function question() {
  const chosen = checkedTasks();
  return {
    model: model().name,
    text: one("text").value,
    split: one("split").checked,
    pair: one("pair-part").hidden ? "" : one("pair").value,
    tasks: chosen.length < model().tasks.length ? chosen : null,
  };
}

const WORDS = new Set(["words", "spans", "tree"]); // the kinds of heads that answer no pairs

async function ask(asked, format) {
  state.under?.abort();
  state.under = new AbortController();
  const body = { confidence: true, format };
  if (asked.split) body.words = asked.text.split(/\s+/u).filter(Boolean);
  else body.text = asked.text;
  if (asked.pair && !asked.split) body.pair = asked.pair;
  if (asked.tasks) {
    const kinds = new Map(called(asked.model).tasks.map(({ task, kind }) => [task, kind]));
    const able = asked.tasks.filter((task) => !body.pair || !WORDS.has(kinds.get(task)));
    body.tasks = able.length ? able : asked.tasks;
  }
  return call(`v1/models/${encodeURIComponent(asked.model)}/annotate`, {
    method: "POST", headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body), signal: state.under.signal,
  });
}

async function annotate() {
  if (!one("text").value.trim()) { status("There is no text yet."); one("text").focus(); return; }
  if (!checkedTasks().length) { status("No head is chosen.", true); return; }
  status("Asking …");
  one("go").setAttribute("aria-busy", "true");
  const began = performance.now();
  try {
    const asked = question();
    const answer = await (await ask(asked, "json")).json();
    const took = performance.now() - began;
    const [record] = answer.answers;
    Object.assign(state, { answer: record, asked });
    const host = one("results");
    host.replaceChildren();
    const heads = model().tasks;
    const said = show(host, record, heads);
    host.prepend(actions());
    status(`${said}. ${took < 995 ? `${Math.round(took)} ms` : `${(took / 1000).toFixed(1)} s`}.`);
    history.replaceState(null, "", link(asked));
  } catch (error) {
    if (error.name !== "AbortError") status(error instanceof Refusal ? error.message : "The answer cannot be shown.", true);
    if (!(error instanceof Refusal) && error.name !== "AbortError") console.error(error);
  } finally {
    one("go").removeAttribute("aria-busy");
  }
}

// --- copies, and the link ---

function actions() {
  const button = (text, act) => make("button", { type: "button", class: "quiet", onclick: act }, text);
  return make("div", { class: "row actions", role: "group", "aria-label": "Copy" },
    button("Copy JSON", () => copy(JSON.stringify(state.answer, null, 2), "The JSON")),
    button("Copy CoNLL-U", async () => {
      try { await copy(await (await ask(state.asked, "conllu")).text(), "The CoNLL-U"); } catch (error) { status(error.message, true); }
    }),
    button("Copy link", () => copy(link(state.asked), "A link that shows this again")));
}

async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // only pages of this machine or over TLS may write to the clipboard
    const box = make("textarea", { class: "visually-hidden", "aria-hidden": "true" });
    box.value = text;
    document.body.append(box);
    box.select();
    const done = document.execCommand("copy");
    box.remove();
    if (!done) { status("The browser does not let this page copy.", true); return; }
  }
  status(`${what} is copied.`);
}

function link(asked) {
  const parts = new URLSearchParams({ text: asked.text });
  if (state.models.length > 1) parts.set("model", asked.model);
  if (asked.tasks) parts.set("tasks", asked.tasks.join(","));
  if (asked.split) parts.set("split", "1");
  if (asked.pair) parts.set("pair", asked.pair);
  const here = new URL(location.href);
  here.hash = parts.toString();
  return here.href;
}

/** Show what a link holds. Returns whether it holds a text. */
function restore() {
  const parts = new URLSearchParams(location.hash.slice(1));
  if (!parts.has("text")) return false;
  one("text").value = parts.get("text");
  one("pair").value = parts.get("pair") ?? "";
  one("split").checked = parts.get("split") === "1";
  if (state.models.some(({ name }) => name === parts.get("model"))) one("model").value = parts.get("model");
  showHeads(parts.get("tasks")?.split(","));
  count();
  return true;
}

// --- the form ---

const checkedTasks = () => [...document.querySelectorAll("#heads input:checked")].map((box) => box.value);

function showHeads(chosen) {
  const { tasks, version, name } = model();
  document.querySelector("#heads .chips").replaceChildren(...tasks.map(({ task, kind }) =>
    make("label", { class: "chip", title: `gives ${kind}` },
      make("input", { type: "checkbox", value: task, checked: !chosen || chosen.includes(task) }), make("span", {}, task))));
  one("pair-part").hidden = !tasks.some(({ pair }) => pair);
  one("model-line").textContent = state.models.length > 1 ? `${state.models.length} models` : `${name}, version ${version}`;
}

function count() {
  const signs = Array.from(one("text").value).length;
  const most = state.limits.text_characters;
  one("count").textContent = most && signs > most * 0.8
    ? `${signs.toLocaleString("en")} of at most ${most.toLocaleString("en")} characters` : `${signs.toLocaleString("en")} characters`;
  one("count").classList.toggle("bad", Boolean(most) && signs > most);
}

async function begin() {
  try {
    const found = await (await call("v1/models")).json();
    state.models = found.models;
    state.limits = found.limits ?? {};
  } catch (error) {
    status(error.message, true);
    return;
  }
  one("key-form").hidden = true;
  one("model").replaceChildren(...state.models.map(({ name }) => make("option", { value: name }, name)));
  one("model").hidden = state.models.length < 2;
  status("");
  showHeads();
  if (restore()) await annotate();
  else count();
}

function theme() {
  const dark = () => (document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const tell = () => one("theme").setAttribute("aria-pressed", String(dark()));
  one("theme").addEventListener("click", () => {
    const next = dark() ? "light" : "dark";
    document.documentElement.dataset.theme = next;
    try { localStorage.setItem("polyhead-theme", next); } catch { /* kept until the page is left */ }
    tell();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", tell);
  tell();
}

one("sample").append(...SAMPLES.map(([name], i) => make("option", { value: String(i) }, name)));
one("sample").addEventListener("change", (event) => {
  const found = SAMPLES[Number(event.target.value)];
  if (event.target.value === "" || !found) return;
  one("text").value = found[1];
  one("split").checked = false;
  event.target.value = "";
  count();
  annotate();
});
one("text").addEventListener("input", count);
one("model").addEventListener("change", () => { showHeads(); if (state.answer) annotate(); });
one("ask").addEventListener("submit", (event) => { event.preventDefault(); annotate(); });
one("ask").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); annotate(); }
});
one("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  keep.key = one("key").value.trim();
  one("key").value = "";
  begin();
});
addEventListener("hashchange", () => { if (state.models.length && location.href !== link(question()) && restore()) annotate(); });
theme();
begin();
