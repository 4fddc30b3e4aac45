import Type from "typebox";

/** An answer that sends the client elsewhere. */
export const Redirect = Type.Object({
  code: Type.Integer({ minimum: 300, maximum: 308 }),
  /** An absolute URL, or a path on the host that was asked for. */
  to: Type.String({ pattern: "^(https?://[\\x21-\\x7e]+|/[\\x21-\\x7e]*)$", maxLength: 2048 }),
  /**
   * What of the request goes into it. groups: `$1` to `$9` are what the groups of the path caught; query: its query, at
   * the end; scheme: in place of the one that is given; uri: path and query as they came, but for a closing slash.
   */
  keeps: Type.Optional(
    Type.Array(
      Type.Union([
        Type.Literal("groups"),
        Type.Literal("query"),
        Type.Literal("scheme"),
        Type.Literal("uri"),
      ]),
      { maxItems: 4 },
    ),
  ),
});
export type Redirect = Type.Static<typeof Redirect>;
