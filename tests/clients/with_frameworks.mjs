// The AI SDK, whose client is its own, and LangChain.js: list, call, and be told why, as their agents are.
import assert from "node:assert";
import { createMCPClient } from "@ai-sdk/mcp";
import { MultiServerMCPClient } from "@langchain/mcp-adapters";

const [url, token] = process.argv.slice(2);
const headers = { Authorization: `Bearer ${token}` };
const payment = (framework) => ({ payment_id: `c_${framework}`, payee: "ACME", amount: 12.5 });

const client = await createMCPClient({ transport: { type: "http", url, headers } });
const tools = await client.tools();
const how = { toolCallId: "1", messages: [] };
const checked = await tools.fraud_check.execute(payment("ai_sdk"), how);
assert(JSON.stringify(checked).includes("passed"), JSON.stringify(checked));
const refused = await tools.payments_pay.execute({ ...payment("ai_sdk"), amount: 13.5 }, how);
assert(refused.isError && JSON.stringify(refused).includes("Call this first"), JSON.stringify(refused));
await client.close();

const servers = new MultiServerMCPClient({ mcpServers: { toolgate: { transport: "http", url, headers } } });
const named = Object.fromEntries((await servers.getTools()).map((tool) => [tool.name, tool]));
const found = await named.fraud_check.invoke(payment("langchain_js"));
assert(JSON.stringify(found).includes("passed"), JSON.stringify(found));
await assert.rejects(named.payments_pay.invoke({ ...payment("langchain_js"), amount: 13.5 }), /Call this first/);
await servers.close();
