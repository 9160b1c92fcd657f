// An assistant on openid-client and oauth4webapi, started as PROGRAM ENDPOINT CLIENT_ID REDIRECT_URI TOOLS. It says where its shopper
// has to go (`open`), reads from its input where the shopper's browser came out, and says how each call was answered.
// CLIENT_ID is the address of its metadata document; without one it registers itself.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const [endpoint, documentId, redirect_uri, tools] = process.argv.slice(2);
const load = (name) => import(pathToFileURL(createRequire(`${tools}/package.json`).resolve(name)));
const [client, oauth] = [await load("openid-client"), await load("oauth4webapi")];
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const say = (told) => console.log(JSON.stringify(told));
const plain = { algorithm: "oauth2", execute: [client.allowInsecureRequests] }; // loopback alone is spoken to without TLS

async function call(tool, given, token) {
  const answer = await fetch(endpoint, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      accept: "application/json, text/event-stream",
      "mcp-protocol-version": "2025-11-25",
      ...(token && { authorization: `Bearer ${token}` }),
    },
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/call", params: { name: tool, arguments: given } }),
  });
  const text = await answer.text();
  const body = JSON.parse(text.split("\n").find((line) => line.startsWith("data: "))?.slice(6) ?? text);
  const challenge = Object.fromEntries((answer.headers.get("www-authenticate") ?? "").matchAll(/(\w+)="([^"]*)"/g).map((m) => m.slice(1)));
  say({ tool, status: answer.status, challenge, isError: body.result?.isError ?? null });
  return { challenge, content: body.result?.structuredContent };
}

// From the challenge to the resource's metadata, from there to the server's.
const { challenge } = await call("get_saved_payment_methods", {});
const resource = await oauth.processResourceDiscoveryResponse(new URL(endpoint), await fetch(challenge.resource_metadata));
const issuer = new URL(resource.authorization_servers[0]);
const about = { client_name: "Acorn", redirect_uris: [redirect_uri], token_endpoint_auth_method: "none" };
const config = documentId
  ? await client.discovery(issuer, documentId, about, client.None(), plain)
  : await client.dynamicClientRegistration(issuer, about, client.None(), plain);
say({ issuer: config.serverMetadata().issuer, client: config.clientMetadata().client_id });

async function signIn(scope, tamper = (url) => url) {
  const pkceCodeVerifier = client.randomPKCECodeVerifier();
  const expectedState = client.randomState();
  const address = client.buildAuthorizationUrl(config, {
    redirect_uri,
    scope,
    resource: resource.resource,
    state: expectedState,
    code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: "S256",
  });
  say({ open: address.href });
  const came = new URL((await lines.next()).value);
  return await client.authorizationCodeGrant(config, tamper(came), { pkceCodeVerifier, expectedState }, { resource: resource.resource });
}

// Another server's name in the answer: the library holds it against the metadata (RFC 9207).
const mixedUp = (url) => (url.searchParams.set("iss", "https://evil.example/oauth"), url);
await signIn("checkout:write", mixedUp).then(
  () => say({ mixedUp: "taken" }),
  (refused) => say({ mixedUp: refused.code }),
);

let tokens = await signIn("catalog:read checkout:write");
say({ granted: tokens.scope });
const lineOf = { lines: [{ variant_id: "hp-mug-sea-300ml", quantity: 1 }] };
const { content: made } = await call("create_checkout", lineOf, tokens.access_token);
const { challenge: more } = await call("get_saved_payment_methods", {}, tokens.access_token);
tokens = await signIn([...new Set(`${tokens.scope} ${more.scope}`.split(" "))].join(" ")); // steps up
say({ granted: tokens.scope });
await call("get_saved_payment_methods", {}, tokens.access_token);

const renewed = await client.refreshTokenGrant(config, tokens.refresh_token, { resource: resource.resource });
say({ rotated: renewed.refresh_token !== tokens.refresh_token });
await call("update_checkout", { checkout_id: made.checkout_id, buyer: { email: "robin@shopper.example" } }, renewed.access_token);
await client.tokenRevocation(config, renewed.refresh_token);
await call("get_checkout", { checkout_id: made.checkout_id }, renewed.access_token);
await client.refreshTokenGrant(config, renewed.refresh_token).then(
  () => say({ afterRevocation: "renewed" }),
  (refused) => say({ afterRevocation: refused.error }),
);
process.exit(0);
