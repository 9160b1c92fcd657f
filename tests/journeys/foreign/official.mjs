// The official TypeScript client as a program that buys; test_mcp_foreign_clients.py says what it tells.
import { randomUUID } from "node:crypto";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [url, era, wished, tools] = process.argv.slice(2);
const { Client, StreamableHTTPClientTransport } = await import(
  pathToFileURL(createRequire(`${tools}/package.json`).resolve("@modelcontextprotocol/client"))
);
const wishes = JSON.parse(wished);
const say = (told) => console.log(JSON.stringify(told));

const client = new Client(
  { name: "foreign-typescript", version: "1.0.0" },
  { versionNegotiation: { mode: era === "2025-11-25" ? "legacy" : { pin: era } } },
);
await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers: { connection: "close" } } }));
say({ protocol: client.getNegotiatedProtocolVersion() });

async function call(name, given) {
  const answer = await client.callTool({ name, arguments: given });
  if (answer.isError) throw new Error(`${name} was refused`);
  return answer.structuredContent;
}

const found = await call("search_catalog", { query: wishes.query, limit: 2 });
const products = [];
for (const { id } of found.products) products.push(await call("get_product", { product_id: id }));
const lowest = (product) => Math.min(...product.variants.map((variant) => variant.price.amount_minor));
const [chosen] = [...products].sort((one, other) => lowest(one) - lowest(other));
const line = { variant_id: chosen.variants.find((variant) => variant.available).id, quantity: 1 };
const { offers } = await call("get_offers", { lines: [line] });
const wanted = { lines: [line], idempotency_key: randomUUID(), ...(offers.length ? { offer_id: offers[0].offer_id } : {}) };
const made = await call("create_checkout", wanted);
const again = await call("create_checkout", wanted);
const own = { checkout_id: made.checkout_id };
const ready = await call("update_checkout", { ...own, ...wishes.delivery });
const handed = await call("complete_checkout", own);
say({ pay: handed.continue_url });
let paid;
do paid = await call("get_checkout", { ...own, wait_seconds: 20 });
while (paid.status !== "completed");
const order = await call("get_order", { order_id: paid.order_id });
say({
  compared: products.map((product) => product.id),
  offers: offers.length,
  made: [made.checkout_id, again.checkout_id],
  confirmed: ready.totals.total,
  order,
});
for (const [tool, given] of wishes.refused) {
  const answer = await client.callTool({ name: tool, arguments: given });
  say({ tool, refused: answer.isError === true, code: answer.structuredContent?.error?.code ?? null });
}
await client.close();
