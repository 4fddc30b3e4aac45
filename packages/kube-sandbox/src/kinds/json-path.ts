import { isObject, type Json } from "../json.ts";

type Step =
  | { kind: "field"; name: string }
  | { kind: "index"; index: number }
  | { kind: "all" }
  | { kind: "filter"; path: string[]; value: string };

const parsed = new Map<string, Step[]>();

/** All values at a JSON path as CRDs use them: `.a.b`, `[0]`, `[*]`, `['a.b']`, `[?(@.type=="Ready")]`. */
export function readPath(root: unknown, path: string): Json[] {
  let steps = parsed.get(path);
  if (steps === undefined) {
    steps = parsePath(path);
    parsed.set(path, steps);
  }
  let values = [root as Json];
  for (const step of steps) values = values.flatMap((value) => descend(value, step));
  return values.filter((value) => value !== undefined);
}

function descend(value: Json, step: Step): Json[] {
  switch (step.kind) {
    case "field": {
      const member = isObject(value) ? value[step.name] : undefined;
      return member === undefined ? [] : [member];
    }
    case "index": {
      const item = Array.isArray(value) ? value.at(step.index) : undefined;
      return item === undefined ? [] : [item];
    }
    case "all":
      if (Array.isArray(value)) return value;
      return isObject(value) ? Object.values(value).filter((member) => member !== undefined) : [];
    case "filter":
      if (!Array.isArray(value)) return [];
      return value.filter((item) => {
        let member: Json | undefined = item;
        for (const name of step.path) member = isObject(member) ? member[name] : undefined;
        return member !== undefined && String(member) === step.value;
      });
  }
}

const TOKEN =
  /\.?\[\?\(@\.([\w.-]+)\s*==\s*["']?([^"')]*)["']?\)\]|\[(-?\d+)\]|\[\*\]|\['((?:[^'\\]|\\.)*)'\]|\.\*|\.((?:[^.[\\]|\\.)+)/gy;

function parsePath(path: string): Step[] {
  const text = path.replace(/^\{(.*)\}$/, "$1").replace(/^\$/, "");
  const steps: Step[] = [];
  TOKEN.lastIndex = 0;
  for (let match = TOKEN.exec(text); match !== null; match = TOKEN.exec(text)) {
    const [, filterPath, filterValue, index, quoted, name] = match;
    if (filterPath !== undefined)
      steps.push({ kind: "filter", path: filterPath.split("."), value: filterValue ?? "" });
    else if (index !== undefined) steps.push({ kind: "index", index: Number(index) });
    else if (quoted !== undefined) steps.push({ kind: "field", name: quoted });
    else if (name !== undefined) steps.push({ kind: "field", name: name.replaceAll("\\", "") });
    else steps.push({ kind: "all" });
  }
  return steps;
}
