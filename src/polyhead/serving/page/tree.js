// A dependency tree as arcs over its words. The table of words beside it says the same to who cannot see it.

import { draw, isRightToLeft, percent } from "./dom.js";

const GAP = 16; // between words
const STEP = 26; // between levels of arcs
const ROUND = 9; // of corners
const SIDE = 16; // beside the first and last word

/** How high each arc is: above all arcs that it spans. */
function levels(arcs) {
  const found = new Map();
  const sorted = [...arcs].sort((a, b) => a.to - a.from - (b.to - b.from) || a.from - b.from);
  for (const arc of sorted) {
    let level = 1;
    for (const [other, height] of found) {
      const apart = other.to <= arc.from || other.from >= arc.to;
      if (!apart) level = Math.max(level, height + 1);
    }
    found.set(arc, level);
  }
  return found;
}

/** How wide texts are, measured in the page, since only the browser knows its fonts. */
function measure(host, texts, kind) {
  const svg = draw("svg", { class: "tree measuring", "aria-hidden": "true" });
  const nodes = texts.map((text) => draw("text", { class: kind }, text));
  svg.append(...nodes);
  host.append(svg);
  const widths = nodes.map((node) => node.getComputedTextLength());
  svg.remove();
  return widths;
}

/** Where the middle of each word stands: far enough apart for words and for the relations above them. */
function places(widths, arcs) {
  const middles = [];
  let right = SIDE;
  widths.forEach((width, i) => {
    let middle = right + width / 2;
    for (const arc of arcs) if (arc.to === i) middle = Math.max(middle, middles[arc.from] + arc.width + 2 * ROUND + 4);
    middles.push(middle);
    right = middle + width / 2 + GAP;
  });
  return [middles, right - GAP + SIDE];
}

/**
 * @param {HTMLElement} host where it is put; it must be in the page.
 * @param {{words: string[], heads: number[], relations: string[], sure?: number[], below?: string[]}} tree
 */
export function drawTree(host, { words, heads, relations, sure, below }) {
  const arcs = heads
    .map((head, i) => ({ head: head - 1, word: i, from: Math.min(head - 1, i), to: Math.max(head - 1, i) }))
    .filter((arc) => arc.head >= 0 && arc.head !== arc.word);
  const label = measure(host, relations, "relation");
  arcs.forEach((arc) => { arc.width = label[arc.word]; });
  const wide = measure(host, words, "word");
  const under = below ? measure(host, below, "below") : wide.map(() => 0);
  const [middles, width] = places(wide.map((one, i) => Math.max(one, under[i], 14)), arcs);
  const height = levels(arcs);
  const top = Math.max(2, ...height.values()) * STEP + 26;
  const flip = isRightToLeft(words.join(" "));
  const x = (place) => (flip ? width - place : place);

  // Where arcs meet a word: side by side, the shortest inside.
  const ends = words.map(() => []);
  for (const arc of arcs) { ends[arc.from].push([arc, 1]); ends[arc.to].push([arc, -1]); }
  const foot = new Map(arcs.map((arc) => [arc, {}]));
  ends.forEach((all, i) => {
    const order = ([arc, side]) => side * (1000 - (arc.to - arc.from));
    all.sort((a, b) => order(a) - order(b));
    const spread = Math.min(7, (Math.max(wide[i], 14) - 4) / Math.max(all.length, 1));
    all.forEach(([arc, side], place) => {
      foot.get(arc)[side === 1 ? "from" : "to"] = middles[i] + (place - (all.length - 1) / 2) * spread;
    });
  });

  const svg = draw("svg", {
    class: "tree", width: Math.ceil(width), height: top + (below ? 44 : 26), role: "img",
    "aria-label": `Dependency tree of ${words.length} words. The table of words says the same.`,
  });
  for (const arc of arcs) {
    const y = top - 8 - height.get(arc) * STEP;
    const [a, b] = [x(foot.get(arc).from), x(foot.get(arc).to)];
    const [left, right] = [Math.min(a, b), Math.max(a, b)];
    const round = Math.min(ROUND, (right - left) / 2);
    const down = x(foot.get(arc)[arc.word === arc.from ? "from" : "to"]);
    const chance = sure?.[arc.word];
    const doubt = chance !== undefined && chance < 0.5 ? " doubtful" : "";
    const path = `M${left} ${top - 8}V${y + round}Q${left} ${y} ${left + round} ${y}` +
      `H${right - round}Q${right} ${y} ${right} ${y + round}V${top - 8}`;
    const middle = (left + right) / 2;
    const told = `${words[arc.word]}: ${relations[arc.word]} of ${words[arc.head]}${chance === undefined ? "" : `, ${percent(chance)}`}`;
    svg.append(draw("g", { class: `arc${doubt}` },
      draw("title", {}, told),
      draw("path", { class: "line", d: path }),
      draw("path", { class: "tip", d: `M${down} ${top - 4}l-3.6 -7.2h7.2z` }),
      draw("rect", { class: "behind", x: middle - arc.width / 2 - 3, y: y - 8, width: arc.width + 6, height: 16 }),
      draw("text", { class: "relation", x: middle, y: y + 4 }, relations[arc.word])));
  }
  heads.forEach((head, i) => {
    if (head !== 0) return;
    const at = x(middles[i]);
    svg.append(draw("g", { class: "arc root" },
      draw("title", {}, `${words[i]}: ${relations[i]}`),
      draw("path", { class: "line", d: `M${at} 20V${top - 8}` }),
      draw("path", { class: "tip", d: `M${at} ${top - 4}l-3.6 -7.2h7.2z` }),
      draw("text", { class: "relation", x: at, y: 14 }, relations[i])));
  });
  words.forEach((word, i) => {
    svg.append(draw("text", { class: "word", x: x(middles[i]), y: top + 14 }, word));
    if (below) svg.append(draw("text", { class: "below", x: x(middles[i]), y: top + 32 }, below[i]));
  });
  // The root's line runs through arcs: those lie over it.
  svg.prepend(...svg.querySelectorAll(".root"));
  host.append(svg);
}
