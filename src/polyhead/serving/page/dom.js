// Elements from plain data. Text is only ever set as text, so that none of it can become markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name === "class") made.setAttribute("class", value);
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name.startsWith("--")) made.style.setProperty(name, value);
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat()) {
    if (child !== null && child !== undefined && child !== false) made.append(child);
  }
  return made;
}

export const make = (name, attributes = {}, ...children) => fill(document.createElement(name), attributes, children);
export const draw = (name, attributes = {}, ...children) =>
  fill(document.createElementNS(SVG, name), attributes, children);
export const one = (id) => document.getElementById(id);
export const percent = (share) => `${Math.round(share * 100)}\u00a0%`;

/** One of eight hues for a label: the same label has the same one everywhere. */
export function hue(label) {
  let sum = 0;
  for (const sign of label) sum = (sum * 31 + sign.codePointAt(0)) % 9973;
  return `hue-${sum % 8}`;
}

/** Whether a text runs from right to left: its first letter with a direction says. */
export function isRightToLeft(text) {
  const found = /[\p{Script=Latin}\p{Script=Greek}\p{Script=Cyrillic}\p{Script=Han}]|([\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc])/u.exec(text);
  return Boolean(found && found[1]);
}
