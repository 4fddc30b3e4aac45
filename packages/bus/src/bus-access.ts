import {
  type BusComponent,
  busComponents,
  provisions,
  readsState,
  readsWhole,
  reapsTable,
  type TableSpec,
} from "@sluice/contracts";

/** What a process may do on the bus beside reading and writing its keys; the same where no credentials are asked for. */
export interface BusAccess {
  /** It creates what is missing, and begins a life of the servers where none is known. Others wait for it. */
  readonly provisions: boolean;
  /** It asks a table's leader for any key. Otherwise it asks by key, and a replica that lags may answer. */
  asksLeader(spec: TableSpec): boolean;
  /** It may ask how a table's stream stands. */
  asksState(spec: TableSpec): boolean;
  /** It may remove messages, which are old tombstones; NATS cannot say whose. */
  removes(spec: TableSpec): boolean;
}

const everything: BusAccess = {
  provisions: true,
  asksLeader: () => true,
  asksState: () => true,
  removes: () => true,
};

/** @param name of a component; whoever has another name is a tool that may do everything */
export function accessOf(name: string): BusAccess {
  const component = busComponents.find((each) => each === name);
  return component === undefined ? everything : componentAccess(component);
}

function componentAccess(component: BusComponent): BusAccess {
  return {
    provisions: provisions(component),
    asksLeader: (spec) => readsWhole(component, spec),
    asksState: (spec) => readsState(component, spec),
    removes: (spec) => reapsTable(component, spec),
  };
}
