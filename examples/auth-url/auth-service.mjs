// Lets in who brings the token.
import { createServer } from "node:http";

createServer(({ headers }, response) => {
  response.writeHead(headers.authorization === "Bearer letmein" ? 200 : 401).end();
}).listen(8077, "127.0.77.1");
