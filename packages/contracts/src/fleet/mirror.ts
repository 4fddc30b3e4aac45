import Type from "typebox";
import { AskedService, Template } from "./access.ts";

/** Who gets copies of requests; what it answers is thrown away. */
export const Mirror = Type.Object({
  ...AskedService.properties,
  /** The Host that copies say. */
  hostHeader: Template,
  /** Copies have no body; absent: a request whose body is long is not copied. */
  bodiless: Type.Optional(Type.Literal(true)),
});
export type Mirror = Type.Static<typeof Mirror>;
