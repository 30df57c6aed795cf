// Answers as something to look at.

import { hue, isRightToLeft, make, percent } from "./dom.js";
import { drawTree } from "./tree.js";

const AT_ONCE = 12; // sentences that are shown before one asks for more

const several = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;

/** The spans of a sentence as [first sign, after the last, label, confidence], signs counted as code points. */
export function spansOf(sentence, layer, signs) {
  const value = sentence[layer] ?? [];
  const places = wordPlaces(sentence, signs);
  if (typeof value[0] === "string") return fromTags(value, places);
  return value.map((span) => {
    const [start, end] = sentence.text === undefined && sentence.words
      ? [places[span.start][0], places[span.end - 1][1]] : [span.start, span.end];
    return [start, end, span.label, span.confidence];
  });
}

function wordPlaces(sentence, signs) {
  const found = [];
  let at = 0;
  for (const word of sentence.words ?? []) {
    const letters = Array.from(word);
    let start = at;
    while (start < signs.length && !letters.every((letter, i) => signs[start + i] === letter)) start += 1;
    if (start >= signs.length) start = at;
    found.push([start, start + letters.length]);
    at = start + letters.length;
  }
  return found;
}

function fromTags(tags, places) {
  const found = [];
  tags.forEach((tag, i) => {
    if (tag === "O" || !tag || !places[i]) return;
    const label = tag.slice(2);
    const last = found.at(-1);
    if (tag.startsWith("I-") && last && last[4] === i - 1 && last[2] === label) { last[1] = places[i][1]; last[4] = i; }
    else found.push([places[i][0], places[i][1], label, undefined, i]);
  });
  return found;
}

const ownText = (record) => record.text ?? (record.words ?? []).join(" ");

/** The text with the spans of one layer marked in it. */
function marked(record, sentences, layer) {
  const whole = ownText(record);
  const parts = [];
  let rest = whole;
  let count = 0;
  for (const sentence of sentences) {
    const text = ownText(sentence);
    const at = rest.indexOf(text);
    if (at > 0) parts.push(rest.slice(0, at));
    if (at >= 0) rest = rest.slice(at + text.length);
    const signs = Array.from(text);
    let done = 0;
    for (const [start, end, label, sure] of spansOf(sentence, layer, signs)) {
      if (start < done) continue;
      parts.push(signs.slice(done, start).join(""));
      const told = sure === undefined ? label : `${label}, ${percent(sure)}`;
      parts.push(make("mark", { class: `entity ${hue(label)}`, title: told },
        signs.slice(start, end).join(""), make("span", { class: "tag" }, `\u00a0${label}`,
          sure === undefined ? null : make("span", { class: "sure" }, `\u00a0${percent(sure)}`))));
      done = end;
      count += 1;
    }
    parts.push(signs.slice(done).join(""));
  }
  parts.push(rest);
  return [make("p", { class: "marked", dir: isRightToLeft(whole) ? "rtl" : "ltr" }, parts), count];
}

/** Labels of a text with how sure they are, as bars. */
function bars(record, heads) {
  const rows = [];
  for (const { layer, kind } of heads) {
    const value = record[layer];
    const sure = record[`${layer}_confidence`];
    if (value === undefined || value === null) continue;
    const shown = kind === "number" ? Number(value).toFixed(2)
      : kind === "labels" ? value.join(", ") || "none" : kind === "label" ? value : null;
    if (shown === null) continue;
    rows.push(make("div", { class: `bar ${hue(shown)}` },
      make("dt", {}, layer),
      make("dd", {}, make("span", { class: "value" }, shown),
        sure === undefined ? null : make("span", { class: "track", "aria-hidden": "true" },
          make("span", { class: "filled", "--share": sure })),
        sure === undefined ? null : make("span", { class: "figure" }, percent(sure)))));
  }
  return rows.length ? make("dl", { class: "bars" }, rows) : null;
}

/** The words of a sentence with all that is said of each: what a screen reader reads in place of the tree. */
function wordTable(sentence, heads, number) {
  const layers = heads.filter(({ layer, kind }) => kind === "words" && Array.isArray(sentence[layer]));
  const tree = heads.find(({ layer, kind }) => kind === "tree" && sentence[layer]);
  if (!layers.length && !tree) return null;
  const head = (text) => make("th", { scope: "col" }, text);
  const { heads: above, relations } = tree ? sentence[tree.layer] : {};
  const rows = sentence.words.map((word, i) => make("tr", {},
    make("td", { class: "number" }, String(i + 1)),
    make("th", { scope: "row", dir: "auto" }, word),
    layers.map(({ layer }) => make("td", {}, sentence[layer][i] ?? "_")),
    tree ? [make("td", {}, above[i] ? `${above[i]} ${sentence.words[above[i] - 1]}` : "root"), make("td", {}, relations[i])] : null));
  return make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Words of sentence ${number}` },
    make("table", {},
      make("caption", { class: "visually-hidden" }, `Words of sentence ${number}`),
      make("thead", {}, make("tr", {}, head("No."), head("word"), layers.map(({ layer }) => head(layer)),
        tree ? [head("head"), head("relation")] : null)),
      make("tbody", {}, rows)));
}

function sentencePart(sentence, heads, number, alone) {
  const part = make("section", { class: "sentence", "aria-label": `Sentence ${number}` });
  const title = make("h3", {}, `Sentence ${number}`);
  const text = ownText(sentence);
  part.append(title);
  if (!alone) part.append(make("p", { class: "plain", dir: isRightToLeft(text) ? "rtl" : "ltr" }, text));
  part.append(...[bars(sentence, heads)].filter(Boolean));
  const tree = heads.find(({ layer, kind }) => kind === "tree" && sentence[layer]);
  const table = wordTable(sentence, heads, number);
  const later = [];
  if (tree) {
    const box = make("div", { class: "scroll tree-box", tabindex: "0", role: "region", "aria-label": `Tree of sentence ${number}` });
    const below = heads.find(({ layer, kind }) => kind === "words" && layer === "upos" && sentence[layer]);
    part.append(box);
    later.push(() => drawTree(box, {
      words: sentence.words, ...sentence[tree.layer], sure: sentence[`${tree.layer}_confidence`],
      below: below ? sentence[below.layer].map((label) => label ?? "_") : undefined,
    }));
    if (isRightToLeft(text)) later.push(() => { box.scrollLeft = box.scrollWidth; });
  }
  if (table) {
    part.append(make("details", { open: !tree }, make("summary", {}, `${several(sentence.words.length, "word")} as a table`), table));
  }
  const empty = part.children.length === 1;
  return [empty ? null : part, later];
}

/** The texts that heads wrote, beside the one that was read. */
function written(record, sentences, heads) {
  return heads.filter(({ kind }) => kind === "text").map(({ task, layer }) => {
    const parts = record[layer] !== undefined ? [record] : sentences;
    const text = parts.map((part) => part[layer] ?? "").join(" ");
    const sure = parts.map((part) => part[`${layer}_confidence`]).filter((one) => one !== undefined);
    return make("section", { class: "written", "aria-label": `Text by ${task}` },
      make("h3", {}, layer), make("p", { class: "marked", dir: isRightToLeft(text) ? "rtl" : "ltr" }, text || "—"),
      sure.length ? make("p", { class: "note" }, `sure to ${percent(Math.min(...sure))}`) : null);
  });
}

/** Show one answer in an element of the page. Returns a sentence that says what is there. */
export function show(host, record, heads) {
  const sentences = record.sentences ?? [record];
  const said = [];
  const spanLayers = heads.filter(({ layer, kind }) => kind === "spans" && sentences.some((one) => one[layer] !== undefined));
  const beside = written(record, sentences, heads);
  const texts = spanLayers.map(({ layer }) => {
    const [text, count] = marked(record, sentences, layer);
    said.push(`${several(count, "span")} of ${layer}`);
    return make("section", { "aria-label": `Text with ${layer} marked` }, make("h3", {}, layer), text);
  });
  if (!texts.length && beside.length) {
    texts.push(make("section", {}, make("h3", {}, "text"),
      make("p", { class: "marked", dir: isRightToLeft(ownText(record)) ? "rtl" : "ltr" }, ownText(record))));
  }
  if (texts.length || beside.length) {
    host.append(make("div", { class: `card${beside.length ? " beside" : ""}` }, make("div", {}, texts), beside.length ? make("div", {}, beside) : null));
  }
  const whole = sentences[0] === record ? null : bars(record, heads);
  if (whole) host.append(make("div", { class: "card" }, make("h3", {}, "The whole text"), whole));
  const list = make("div", { class: "sentences" });
  host.append(list);
  let next = 0;
  let shown = 0;
  const more = make("button", { type: "button", class: "quiet wide" });
  const add = () => {
    for (const stop = Math.min(next + AT_ONCE, sentences.length); next < stop; next += 1) {
      const [part, later] = sentencePart(sentences[next], heads, next + 1, sentences.length === 1 && texts.length > 0);
      if (!part) continue;
      part.classList.add("card");
      list.append(part);
      later.forEach((step) => step());
      shown += 1;
    }
    more.textContent = `Show more of the other ${several(sentences.length - next, "sentence")}`;
    if (next >= sentences.length) more.remove();
  };
  if (sentences.length > AT_ONCE) host.append(more);
  more.addEventListener("click", () => { const before = next; add(); list.children[before]?.querySelector("h3")?.scrollIntoView(); });
  add();
  if (shown || sentences.length > 1) said.unshift(several(sentences.length, "sentence"));
  if (beside.length) said.push(several(beside.length, "text") + " written");
  return said.join(", ") || "answered";
}
