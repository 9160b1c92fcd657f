// The view's side of MCP Apps (io.modelcontextprotocol/ui, revision 2026-01-26): JSON-RPC 2.0 with the host over postMessage.
//
// What holds:
//  1. Only the frame around this one is heard, and of it only JSON-RPC 2.0.
//  2. Nothing is asked of the host that it did not say it can do.
//  3. What is not answered in time is given up; a call given up is repeated with the same idempotency key, until something
//     newer was heard of how things stand: from there on the same words are another wish.
const connect = (view) => {
  const revision = "2026-01-26";
  const callSeconds = 90;
  const waiting = new Map();
  const keys = new Map();
  let last = 0;
  let can = {};

  const post = (message) => window.parent.postMessage({ jsonrpc: "2.0", ...message }, "*");
  const notify = (method, params = {}) => post({ method, params });
  const request = (method, params, seconds) =>
    new Promise((resolve, reject) => {
      const id = (last += 1);
      const timer = seconds && setTimeout(() => settle(id, { error: {} }), seconds * 1000);
      waiting.set(id, { resolve, reject, timer });
      post({ id, method, params });
    });
  const settle = (id, { result, error }) => {
    const asked = waiting.get(id);
    if (!asked) {
      return;
    }
    waiting.delete(id);
    clearTimeout(asked.timer);
    if (error || typeof result !== "object" || result === null) {
      asked.reject(new Error("refused by the host"));
    } else {
      asked.resolve(result);
    }
  };

  const told = {
    "ui/notifications/tool-input": (params) => view.input(params.arguments ?? {}),
    "ui/notifications/tool-result": (params) => {
      keys.clear(); // (3)
      view.result(params);
    },
    "ui/notifications/tool-cancelled": () => view.cancelled(),
    "ui/notifications/host-context-changed": (params) => view.context(params),
  };
  const asked = {
    ping: () => ({}),
    "ui/resource-teardown": () => view.teardown() ?? {},
  };

  window.addEventListener("message", ({ source, data }) => {
    if (source !== window.parent || data?.jsonrpc !== "2.0") {
      return; // (1)
    }
    if (typeof data.method !== "string") {
      settle(data.id, data);
    } else if (data.id === undefined) {
      if (Object.hasOwn(told, data.method)) {
        told[data.method](data.params ?? {});
      }
    } else if (Object.hasOwn(asked, data.method)) {
      post({ id: data.id, result: asked[data.method](data.params ?? {}) });
    } else {
      post({ id: data.id, error: { code: -32601, message: "This view has no such method." } });
    }
  });

  // RFC 9562, version 4. crypto.randomUUID is there in secure contexts alone, and a sandbox need not be one.
  const uuid = () => {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
    return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
  };

  const call = (name, given) => request("tools/call", { name, arguments: given }, callSeconds);

  return {
    calls: () => can.serverTools !== undefined,
    opens: () => can.openLinks !== undefined,
    talks: () => can.message !== undefined,

    async begin() {
      const about = {
        protocolVersion: revision,
        appInfo: { name: "cordon", version: "1" },
        appCapabilities: { availableDisplayModes: ["inline", "fullscreen"] },
      };
      const host = await request("ui/initialize", about);
      can = host.hostCapabilities ?? {};
      view.context(host.hostContext ?? {});
      notify("ui/notifications/initialized");
    },

    // A tool's result. Rejects when the host does not call it.
    async read(name, given) {
      const result = await call(name, given);
      if (name === "get_checkout") {
        keys.clear(); // (3)
      }
      return result;
    },

    // As read(), for a tool that changes something: once, however often it is tried (3).
    async change(name, given) {
      const what = JSON.stringify([name, given]);
      keys.set(what, keys.get(what) ?? uuid());
      const result = await call(name, { ...given, idempotency_key: keys.get(what) });
      keys.clear(); // (3)
      return result;
    },

    // Whether the host opened the address.
    async open(url) {
      if (can.openLinks === undefined) {
        return false; // (2)
      }
      return request("ui/open-link", { url }).then(
        (result) => result.isError !== true,
        () => false,
      );
    },

    // ChatGPT's payment sheet is no part of the bridge: that host puts it into the page (Apps SDK, window.openai).
    sheets: () => typeof window.openai?.requestCheckout === "function",

    // Opens the sheet and settles when it is closed. What came of it is the shop's to say, not the host's.
    async sheet(session) {
      await window.openai.requestCheckout(session);
    },

    // What the shopper did, for the model to know when it speaks next.
    remember(text) {
      if (can.updateModelContext !== undefined) {
        request("ui/update-model-context", { content: [{ type: "text", text }] }).catch(() => {});
      }
    },

    // As if the shopper had written it. Whether the host took it.
    async say(text) {
      return request("ui/message", { role: "user", content: [{ type: "text", text }] }).then(
        (result) => result.isError !== true,
        () => false,
      );
    },

    sized: (height) => notify("ui/notifications/size-changed", { height }),
  };
};
