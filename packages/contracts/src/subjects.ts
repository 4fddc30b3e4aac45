// How NATS names what Sluice keeps on it (ADR-8, ADR-20), so that `nats kv` and `nats object` show it.

/** The stream behind a table, e.g. `KV_sluice_slices`. */
export function streamOf(table: { readonly name: string }): string {
  return `KV_sluice_${table.name}`;
}

/** The subject of a key, or with wildcards of several, e.g. `$KV.sluice_slices.member1.>`. */
export function subjectOf(table: { readonly name: string }, key: string): string {
  return `$KV.sluice_${table.name}.${key}`;
}
