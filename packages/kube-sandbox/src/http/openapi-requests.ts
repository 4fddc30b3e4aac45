import type { IncomingMessage, ServerResponse } from "node:http";
import type { Catalog } from "../kinds/catalog.ts";
import { pathNotFound } from "../status.ts";
import { sendJson } from "./answer.ts";
import { groupVersionDocument, groupVersionIndex, swaggerDocument } from "./openapi.ts";
import { encodeSwagger } from "./openapi-protobuf.ts";

const PROTOBUF = "application/com.github.proto-openapi.spec.v2";

/** /openapi/v3 by group version, and /openapi/v2 whole; the latter also in protobuf, which is all that kubectl reads. */
export function serveOpenApi(
  catalog: Catalog,
  path: string,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  if (path === "/openapi/v3") return sendJson(response, 200, groupVersionIndex(catalog));
  if (path === "/openapi/v2") {
    const swagger = swaggerDocument(catalog);
    if (!(request.headers.accept ?? "").includes(PROTOBUF)) return sendJson(response, 200, swagger);
    // Clients ask with "@v1.0", which is no media type that Go can parse: kube-openapi answers with ".v1.0".
    response.writeHead(200, { "content-type": `${PROTOBUF}.v1.0+protobuf` }).end(encodeSwagger(swagger));
    return;
  }
  const match = /^\/openapi\/v3\/(api|apis)\/([^/]+)(?:\/([^/]+))?$/.exec(path);
  const [, root, first = "", second] = match ?? [];
  const group = root === "apis" ? first : "";
  const version = root === "apis" ? second : first;
  const document = version === undefined ? undefined : groupVersionDocument(catalog, group, version);
  if (document === undefined) throw pathNotFound();
  sendJson(response, 200, document);
}
