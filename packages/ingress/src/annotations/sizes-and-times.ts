import { oneOf, onOff, seconds, size, wholeNumber, words } from "../annotation-values.ts";
import type { ProfileSettings } from "../profile.ts";
import { defaultSettings, nextUpstreamWords, settingBounds } from "../profile.ts";
import { type Annotation, saying } from "./annotation.ts";

const setting = saying<ProfileSettings>();

const bounds = settingBounds;
const inSeconds = (ms: number) => String(ms / 1000);

/** Settings of a profile: nginx.conf gets a location for each set of settings that is in use. */
export const settingAnnotations: readonly Annotation<ProfileSettings>[] = [
  setting(
    "proxy-body-size",
    "maxBodyBytes",
    size(bounds.maxBodyBytes),
    "1m",
    "0: any size; larger bodies get 413",
  ),
  setting(
    "client-body-buffer-size",
    "bodyBufferBytes",
    size(bounds.bodyBufferBytes),
    "16k",
    "ingress-nginx: 8k",
  ),
  setting(
    "proxy-connect-timeout",
    "connectTimeoutMs",
    seconds(bounds.connectTimeoutMs),
    inSeconds(defaultSettings.connectTimeoutMs),
    "ingress-nginx: 5. Another peer is tried at once, so that a dead one costs a quarter of a second",
  ),
  setting("proxy-read-timeout", "readTimeoutMs", seconds(bounds.readTimeoutMs), "60", "between two reads"),
  setting("proxy-send-timeout", "sendTimeoutMs", seconds(bounds.sendTimeoutMs), "60", "between two writes"),
  setting(
    "proxy-buffering",
    "responseBuffering",
    onOff,
    "on",
    "ingress-nginx: off. A response with X-Accel-Buffering: no is never buffered",
  ),
  setting(
    "proxy-buffer-size",
    "bufferBytes",
    size(bounds.bufferBytes),
    "4k",
    "of each buffer; a response's header must fit into one, else the answer is 502",
  ),
  setting("proxy-buffers-number", "buffers", wholeNumber(bounds.buffers), "8", "ingress-nginx: 4"),
  setting(
    "proxy-request-buffering",
    "requestBuffering",
    onOff,
    "on",
    "off: a request that has begun is not tried elsewhere",
  ),
  setting("proxy-http-version", "httpVersion", oneOf("1.0", "1.1"), "1.1", "to the peer"),
  setting(
    "proxy-next-upstream",
    "nextUpstream",
    words(nextUpstreamWords),
    defaultSettings.nextUpstream,
    "off: a request goes to one peer. non_idempotent: POST, LOCK and PATCH are sent again, too",
  ),
  setting(
    "proxy-next-upstream-tries",
    "nextTries",
    wholeNumber(bounds.nextTries),
    "3",
    "peers that a request tries; 0: as many as there are, up to 32",
  ),
  setting(
    "proxy-next-upstream-timeout",
    "nextTimeoutMs",
    seconds(bounds.nextTimeoutMs),
    inSeconds(defaultSettings.nextTimeoutMs),
    "over all tries; 0: no limit, which is ingress-nginx's own. Never less than twice the first-byte limit unless it is said",
  ),
];
