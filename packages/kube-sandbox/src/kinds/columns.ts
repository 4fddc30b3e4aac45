import { isObject, type Json, type KubeObject } from "../json.ts";
import { readPath } from "./json-path.ts";
import type { Column } from "./resource-type.ts";

/** A column whose cell is computed. */
export function column(
  name: string,
  cell: (object: KubeObject, now: Date) => Json,
  options: { type?: string; format?: string; wide?: boolean; description?: string } = {},
): Column {
  const { type = "string", format, wide = false, description = "" } = options;
  return {
    name,
    type,
    ...(format === undefined ? {} : { format }),
    description,
    priority: wide ? 1 : 0,
    cell,
  };
}

export const nameColumn: Column = column("Name", ({ metadata }) => metadata.name ?? "", {
  format: "name",
  description: "Name, unique within a namespace.",
});

export const ageColumn: Column = column("Age", ({ metadata }, now) => age(metadata.creationTimestamp, now), {
  description: "Time since the object was made.",
});

/** A column of a CustomResourceDefinition: a JSON path, dates shown as ages. */
export function pathColumn(definition: {
  name: string;
  type: string;
  jsonPath: string;
  format?: string;
  description?: string;
  priority?: number;
}): Column {
  const { name, type, jsonPath, format, description = "", priority = 0 } = definition;
  return {
    name,
    type,
    ...(format === undefined ? {} : { format }),
    description,
    priority,
    cell(object, now) {
      const found = readPath(object, jsonPath);
      const value = found[0];
      if (value === undefined || value === null) return null;
      if (type === "date") return typeof value === "string" ? age(value, now) : null;
      if (type === "string") return found.map(shown).join(",");
      return isObject(value) || Array.isArray(value) ? shown(value) : value;
    },
  };
}

function shown(value: Json): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** duration.HumanDuration of Kubernetes: two figures at most. */
function age(timestamp: string | undefined, now: Date): string {
  if (timestamp === undefined) return "<unknown>";
  const seconds = Math.floor((now.getTime() - Date.parse(timestamp)) / 1000);
  if (seconds < -1) return "<invalid>";
  if (seconds < 120) return `${Math.max(0, seconds)}s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 10) return seconds % 60 === 0 ? `${minutes}m` : `${minutes}m${seconds % 60}s`;
  if (minutes < 180) return `${minutes}m`;
  const hours = Math.floor(minutes / 60);
  if (hours < 8) return minutes % 60 === 0 ? `${hours}h` : `${hours}h${minutes % 60}m`;
  if (hours < 48) return `${hours}h`;
  const days = Math.floor(hours / 24);
  if (hours < 192) return hours % 24 === 0 ? `${days}d` : `${days}d${hours % 24}h`;
  if (days < 365 * 2) return `${days}d`;
  const years = Math.floor(days / 365);
  return years < 8 && days % 365 !== 0 ? `${years}y${days % 365}d` : `${years}y`;
}
