import assert from "node:assert/strict";
import { test } from "node:test";
import { ConfigError } from "@sluice/contracts";
import { readUpOptions } from "./up-options.ts";

const base = ["--hub", "hub.kubeconfig", "--member", "eu=eu.kubeconfig"];

const refused: Readonly<Record<string, readonly [args: readonly string[], message: RegExp]>> = {
  "no hub": [["--member", "eu=eu.kubeconfig"], /--hub .*SLUICE_UP_HUB/],
  "a member without a kubeconfig": [["--hub", "h", "--member", "eu"], /--member=eu: write NAME=VALUE/],
  "a member named twice": [[...base, "--member", "eu=other"], /--member eu is given twice/],
  "peers of nobody": [[...base, "--peers", "us=10.0.0.0/8"], /no --member us; write one of eu/],
  "peers that are no CIDR": [[...base, "--peers", "eu=10.0.0.1"], /10\.0\.0\.1 is no CIDR/],
  "a part that does not exist": [
    [...base, "--without", "redis"],
    /--without=redis: write one of nats, nginx/,
  ],
  "a port out of range": [
    [...base, "--http-port", "99999"],
    /--http-port=99999: write a whole number from 1 to 65535/,
  ],
  "a duration without a unit": [[...base, "--first-byte-timeout", "2"], /write a duration such as 250ms/],
  "whom to trust that is no CIDR": [[...base, "--trust", "10.0.0.0"], /--trust=10\.0\.0\.0: write a CIDR/],
  "a switch that is neither on nor off": [
    [...base, "--proxy-protocol", "true"],
    /--proxy-protocol=true: write one of on, off/,
  ],
  "a log elsewhere": [
    [...base, "--access-log", "/tmp/x"],
    /--access-log=\/tmp\/x: write one of off, file, stdout/,
  ],
  "a flag that does not exist": [[...base, "--htp-port", "1"], /--htp-port/],
};

for (const [what, [args, message]] of Object.entries(refused)) {
  test(`${what} is refused in one line that says what to write instead`, () => {
    assert.throws(
      () => readUpOptions(args, {}),
      (error: unknown) => {
        assert.ok(error instanceof ConfigError);
        assert.equal(error.exit, 64);
        assert.match(error.message, message);
        assert.equal(error.message.split("\n").length, 1);
        return true;
      },
    );
  });
}

test("flags win over variables, and what is not said has its default", () => {
  const options = readUpOptions(base, { SLUICE_UP_HUB: "other", SLUICE_UP_HTTP_PORT: "8080" });
  assert.equal(options.hub, "hub.kubeconfig");
  assert.equal(options.httpPort, 8080);
  assert.equal(options.gatewayPort, 31580);
  assert.equal(options.firstByteTimeout, 0);
  assert.deepEqual(options.ingressClasses, ["nginx"]);
});

test("what no flag says of the proxy's listeners is left to the fleet", () => {
  const said = (...args: string[]) => {
    const { accessLog, trust, proxyProtocol, shutdownTimeout } = readUpOptions([...base, ...args], {
      SLUICE_UP_PROXY_PROTOCOL: "on",
    });
    return [accessLog, trust, proxyProtocol, shutdownTimeout];
  };
  assert.deepEqual(said(), [undefined, [], true, undefined]);
  assert.deepEqual(
    said("--trust", "10.0.0.0/8", "--trust", "::1/128", "--proxy-protocol", "off", "--access-log", "off"),
    ["off", ["10.0.0.0/8", "::1/128"], false, undefined],
  );
  assert.equal(said("--shutdown-timeout", "10s")[3], 10_000);
});
