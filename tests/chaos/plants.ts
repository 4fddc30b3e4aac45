/**
 * Faults that are put into a world behind the back of whoever judges it, to show that they are found:
 * `answer`: a service's pods answer 500. `row`: one nginx loses a row of peers. `endpoint`: an endpoint of a ready pod
 * vanishes from its slice. `crash`: a process ends.
 */
export const plants = ["answer", "row", "endpoint", "crash"] as const;
export type Plant = (typeof plants)[number];
