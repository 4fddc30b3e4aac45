export { type PropagatorPorts, runPropagator } from "./propagator.ts";
export { propagator } from "./service.ts";
