import Type from "typebox";

/** What a proxy says of the rollout: part of its record in `proxies`. */
export const RolloutReport = Type.Object({
  /** The newest order that it has followed, as far as it could; `""`: none. */
  order: Type.String({ maxLength: 64 }),
  /** Id of the configuration of that order which its nginx runs with; `""`: none of them. */
  runs: Type.String({ maxLength: 16 }),
  /** It reads the settings of listeners that a configuration holds. */
  settings: Type.Optional(Type.Literal(true)),
  /** The configuration of that order which its nginx did not do with; it runs with the one before. */
  failed: Type.Optional(
    Type.Object({
      configuration: Type.String({ maxLength: 16 }),
      why: Type.String({ maxLength: 500 }),
      /** The profile that did it; absent: it is not known which. */
      profile: Type.Optional(Type.String({ maxLength: 64 })),
      /** The setting of listeners that did it; absent: it is not known which. */
      setting: Type.Optional(Type.String({ maxLength: 64 })),
    }),
  ),
});
export type RolloutReport = Type.Static<typeof RolloutReport>;
