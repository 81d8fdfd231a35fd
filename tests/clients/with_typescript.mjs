// The TypeScript SDK, version 2, 1, and 1.10 of April 2025: list, call, and be told why.
import assert from "node:assert";

const [url, token, sdk] = process.argv.slice(2);
const first = sdk === "1.10" ? "sdk-1-10" : "@modelcontextprotocol/sdk";
const { Client, StreamableHTTPClientTransport } =
  sdk === "2"
    ? await import("@modelcontextprotocol/client")
    : {
        ...(await import(`${first}/client/index.js`)),
        ...(await import(`${first}/client/streamableHttp.js`)),
      };
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
