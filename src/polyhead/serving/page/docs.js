// The OpenAPI document as a page: nothing is loaded from elsewhere.

import { make, one } from "./dom.js";

const root = new URL(".", location.href).href.replace(/\/$/, "");

/** Text in which `code` stands between backticks. */
const rich = (text) => (text ?? "").split("`").map((part, i) => (i % 2 ? make("code", {}, part) : part));

const table = (caption, heads, rows) => make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
  make("table", {}, make("caption", { class: "visually-hidden" }, caption),
    make("thead", {}, make("tr", {}, heads.map((head) => make("th", { scope: "col" }, head)))),
    make("tbody", {}, rows.map(([first, ...rest]) =>
      make("tr", {}, make("th", { scope: "row" }, make("code", {}, first)), rest.map((cell) => make("td", {}, cell)))))));

function kind(schema = {}) {
  if (schema.$ref) return schema.$ref.split("/").at(-1);
  if (schema.anyOf) return schema.anyOf.filter(({ type }) => type !== "null").map(kind).join(" or ");
  if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(" or ");
  if (schema.type === "array") return `list of ${kind(schema.items)}`;
  return schema.type ?? "any";
}

const fields = (name, schema) => table(`Fields of ${name}`, ["field", "type", "what it is"],
  Object.entries(schema.properties ?? {}).map(([field, one]) => [field, kind(one), rich(one.description)]));

function example(method, path, operation, schemas) {
  const body = operation.requestBody?.content ?? {};
  if (body["application/json"]) {
    const given = JSON.stringify(schemas.Ask.examples[0]);
    return `curl ${root}${path} \\\n  --json '${given}'`;
  }
  if (body["application/x-ndjson"]) return `curl -T texts.jsonl -X POST -H 'Content-Type: application/x-ndjson' \\\n  ${root}${path}`;
  return method === "get" ? `curl ${root}${path}` : `curl -X POST -H "Authorization: Bearer $POLYHEAD_ADMIN_KEY" ${root}${path}`;
}

function operationPart(method, path, operation, schemas) {
  const part = make("section", { class: "card operation", "aria-label": `${method} ${path}` },
    make("h3", {}, make("span", { class: "method" }, method.toUpperCase()), make("span", { class: "path" }, path)),
    make("p", {}, make("strong", {}, operation.summary ?? ""), operation.description ? make("span", {}, " ", rich(operation.description)) : null));
  if (operation.requestBody?.description) part.append(make("p", {}, rich(operation.requestBody.description)));
  if (operation.parameters?.length) {
    part.append(table(`Parameters of ${path}`, ["parameter", "where", "type", "what it is"],
      operation.parameters.map((one) => [one.name, one.in, kind(one.schema), rich(one.description)])));
  }
  const told = operation.requestBody?.content?.["application/json"]?.schema;
  if (told?.$ref) part.append(make("p", { class: "note" }, "The body is an ", make("code", {}, kind(told)), ", see below."));
  part.append(make("pre", { tabindex: "0" }, example(method, path, operation, schemas)));
  part.append(make("details", {}, make("summary", {}, "Answers by status"),
    table(`Statuses of ${path}`, ["status", "meaning"],
      Object.entries(operation.responses).map(([status, one]) => [status, rich(one.description)]))));
  return part;
}

async function begin() {
  const answer = await fetch("openapi.json");
  const found = await answer.json();
  const schemas = found.components?.schemas ?? {};
  const tags = new Map();
  for (const [path, operations] of Object.entries(found.paths)) {
    for (const [method, operation] of Object.entries(operations)) {
      if (method === "head") continue;
      const tag = operation.tags?.[0] ?? "other";
      tags.set(tag, [...(tags.get(tag) ?? []), operationPart(method, path, operation, schemas)]);
    }
  }
  one("main").replaceChildren(
    make("p", {}, rich(found.info.description), ` Version ${found.info.version}.`),
    ...[...tags].flatMap(([tag, parts]) => [make("h2", {}, tag[0].toUpperCase() + tag.slice(1)), ...parts]),
    make("h2", {}, "Forms"),
    ...Object.entries(schemas).map(([name, schema]) => make("section", { class: "card", "aria-label": name },
      make("h3", {}, make("code", {}, name)), make("p", {}, rich(schema.description)), fields(name, schema))));
}

begin().catch(() => { one("main").replaceChildren(make("p", { role: "alert" }, "openapi.json cannot be read.")); });
