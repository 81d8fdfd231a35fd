// The TypeScript SDK, version 1 and 2: list, call, and be told why.
import assert from "node:assert";

const [url, token, sdk] = process.argv.slice(2);
const { Client, StreamableHTTPClientTransport } =
  sdk === "1"
    ? {
        ...(await import("@modelcontextprotocol/sdk/client/index.js")),
        ...(await import("@modelcontextprotocol/sdk/client/streamableHttp.js")),
      }
    : await import("@modelcontextprotocol/client");
const client = new Client({ name: "typescript", version: "1" });
const requestInit = { headers: { Authorization: `Bearer ${token}` } };
await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit }));
const names = (await client.listTools()).tools.map((tool) => tool.name);
assert(names.includes("fraud_check"), names.join());
const payment = { payment_id: `c_typescript_${sdk}`, payee: "ACME", amount: 12.5 };
const checked = await client.callTool({ name: "fraud_check", arguments: payment });
assert(JSON.stringify(checked).includes("passed"), JSON.stringify(checked));
const refused = await client.callTool({ name: "payments_pay", arguments: { ...payment, amount: 13.5 } });
assert(refused.isError && JSON.stringify(refused).includes("Call this first"), JSON.stringify(refused));
await client.close();
