// For `node --import`: the command with a fault planted, to show that it finds one.
import { fences } from "./fences.ts";
import { takeAway } from "./take-away.ts";

takeAway(fences.find(({ name }) => name === "tombstones as puts")!);
