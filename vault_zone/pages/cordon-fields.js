// Cordon's card fields for a merchant's page: makes the frame, and speaks with it. No card data ever reaches this script.
//  1. A message is read only from the frame that this script made, of the origin of the address it was given.
//  2. A message is sent only to that origin.
//  3. The opener's secret goes by message, never into an address.
(() => {
  "use strict";

  const protocol = "cordon-fields";
  const version = 1;
  const letters = "bcdfghjkmnpqrstv";
  const tallest = 2000; // pixels; more is no height of ours
  const events = ["ready", "height", "validity", "busy", "captured", "refused", "problem"];

  const lettersOf = (bytes) => Array.from(bytes, (byte) => letters[byte >> 4] + letters[byte & 15]).join("");

  // A secret for the browser that begins, and the digest that the shop's server sends with its request for card fields.
  const newOpener = async () => {
    const secret = `opn_${lettersOf(crypto.getRandomValues(new Uint8Array(32)))}`;
    const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(secret));
    return { secret, digest: lettersOf(new Uint8Array(hash)) };
  };

  const mount = ({ container, url, opener, theme, title = "Card details", timeoutSeconds = 20, on = {} }) => {
    const address = new URL(url);
    const frame = document.createElement("iframe");
    const origin = address.origin;
    const call = (type, content) => {
      if (typeof on[type] === "function") {
        on[type](content);
      }
    };
    const tell = (type, content = {}) => {
      frame.contentWindow?.postMessage({ protocol, version, type, ...content }, origin); // (2)
    };
    const setHeight = (height) => {
      if (Number.isInteger(height) && height > 0 && height <= tallest) {
        frame.style.height = `${height}px`;
      }
    };

    const late = setTimeout(() => call("problem", { code: "unreachable" }), timeoutSeconds * 1000);
    const hear = (event) => {
      if (event.source !== frame.contentWindow || event.origin !== origin) {
        return; // (1)
      }
      const message = event.data;
      const fits = typeof message === "object" && message !== null && message.protocol === protocol && message.version === version;
      if (!fits) {
        return;
      }
      if (message.type === "hello") {
        tell("init", theme === undefined ? { opener } : { opener, theme }); // (3)
        return;
      }
      if (events.includes(message.type)) {
        clearTimeout(late);
        setHeight(message.height);
        const { protocol: _protocol, version: _version, type, ...content } = message;
        call(type, content);
      }
    };
    window.addEventListener("message", hear);

    frame.title = title;
    frame.allow = "";
    frame.referrerPolicy = "no-referrer";
    frame.sandbox.add("allow-scripts", "allow-same-origin", "allow-forms"); // it cannot lead the page elsewhere
    Object.assign(frame.style, { width: "100%", height: "0", border: "0", display: "block", colorScheme: "normal" });
    frame.src = address.href;
    container.append(frame);

    return Object.freeze({
      submit: () => tell("submit"),
      focus: () => {
        frame.focus();
        tell("focus");
      },
      unmount: () => {
        clearTimeout(late);
        window.removeEventListener("message", hear);
        frame.remove();
      },
    });
  };

  Object.defineProperty(window, "CordonFields", { value: Object.freeze({ version, newOpener, mount }) });
})();
