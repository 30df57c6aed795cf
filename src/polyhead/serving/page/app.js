// The page: what is typed goes to the service it came from, and its answer is shown.

import { make, one } from "./dom.js";
import { SAMPLES } from "./samples.js";
import { show } from "./view.js";

const state = { models: [], limits: {}, answer: null, under: null };
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

const model = () => state.models.find(({ name }) => name === one("model").value) ?? state.models[0];

function question(format) {
  const chosen = checkedTasks();
  const asked = { confidence: true, format };
  if (chosen.length < model().tasks.length) asked.tasks = chosen;
  const text = one("text").value;
  if (one("split").checked) asked.words = text.split(/\s+/u).filter(Boolean);
  else asked.text = text;
  if (!one("pair-part").hidden && one("pair").value && !asked.words) asked.pair = one("pair").value;
  return asked;
}

async function ask(format) {
  state.under?.abort();
  state.under = new AbortController();
  return call(`v1/models/${encodeURIComponent(model().name)}/annotate`, {
    method: "POST", headers: { "Content-Type": "application/json" },
    body: JSON.stringify(question(format)), signal: state.under.signal,
  });
}

async function annotate() {
  if (!one("text").value.trim()) { status("There is no text yet."); one("text").focus(); return; }
  if (!checkedTasks().length) { status("No head is chosen.", true); return; }
  status("Asking …");
  one("go").setAttribute("aria-busy", "true");
  const began = performance.now();
  try {
    const answer = await (await ask("json")).json();
    const took = performance.now() - began;
    const [record] = answer.answers;
    state.answer = record;
    const host = one("results");
    host.replaceChildren();
    const heads = model().tasks;
    const said = show(host, record, heads);
    host.prepend(actions());
    status(`${said}. ${took < 995 ? `${Math.round(took)} ms` : `${(took / 1000).toFixed(1)} s`}.`);
    history.replaceState(null, "", link());
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
      try { await copy(await (await ask("conllu")).text(), "The CoNLL-U"); } catch (error) { status(error.message, true); }
    }),
    button("Copy link", () => copy(link(), "A link that shows this again")));
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

function link() {
  const parts = new URLSearchParams({ text: one("text").value });
  if (state.models.length > 1) parts.set("model", model().name);
  if (checkedTasks().length < model().tasks.length) parts.set("tasks", checkedTasks().join(","));
  if (one("split").checked) parts.set("split", "1");
  if (!one("pair-part").hidden && one("pair").value) parts.set("pair", one("pair").value);
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
addEventListener("hashchange", () => { if (location.href !== link() && restore()) annotate(); });
theme();
begin();
