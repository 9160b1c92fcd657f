// Shows a passkey to this site, or makes one (WebAuthn Level 3), and sends what the browser gives with the form that stands there.
// No network, no storage, no globals, and nothing of it is needed: without it the forms stay hidden, and codes by mail sign in.
(() => {
  "use strict";

  const credentials = navigator.credentials;
  if (!window.PublicKeyCredential || !credentials) {
    return;
  }
  const letters = "bcdfghjkmnpqrstv"; // four bits each, as the server writes and reads them
  const bytesOf = (text) =>
    Uint8Array.from(text.match(/../g) || [], (pair) => letters.indexOf(pair[0]) * 16 + letters.indexOf(pair[1]));
  const lettersOf = (buffer) =>
    Array.from(new Uint8Array(buffer || []), (byte) => letters[byte >> 4] + letters[byte & 15]).join("");
  const named = (role) => document.querySelector(`[data-passkey="${role}"]`);
  const algorithms = [-7, -8, -257]; // ES256, EdDSA, RS256

  const shown = async (asked) => {
    const found = await credentials.get({
      publicKey: {
        challenge: bytesOf(asked.challenge),
        rpId: asked.host,
        allowCredentials: [],
        userVerification: "required",
      },
    });
    return {
      credential: found.rawId,
      client_data: found.response.clientDataJSON,
      authenticator_data: found.response.authenticatorData,
      signature: found.response.signature,
      user_handle: found.response.userHandle,
    };
  };

  const made = async (asked) => {
    const found = await credentials.create({
      publicKey: {
        challenge: bytesOf(asked.challenge),
        rp: { id: asked.host, name: asked.name },
        user: { id: bytesOf(asked.user), name: asked.name, displayName: asked.name },
        pubKeyCredParams: algorithms.map((alg) => ({ type: "public-key", alg })),
        authenticatorSelection: { residentKey: "required", requireResidentKey: true, userVerification: "required" },
        attestation: "none",
        excludeCredentials: (asked.known.match(/[a-z]+/g) || []).map((id) => ({ type: "public-key", id: bytesOf(id) })),
      },
    });
    return { client_data: found.response.clientDataJSON, attestation_object: found.response.attestationObject };
  };

  const prepare = (form, ask) => {
    if (!form) {
      return;
    }
    const failed = named("failed");
    let waiting = false; // for the shopper and the device
    form.hidden = false;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (waiting) {
        return;
      }
      waiting = true;
      failed.textContent = "";
      try {
        const given = await ask(form.dataset);
        Object.entries(given).forEach(([name, value]) => {
          form.elements.namedItem(name).value = lettersOf(value);
        });
        form.submit();
      } catch {
        failed.textContent = failed.dataset.text;
        waiting = false;
      }
    });
  };

  prepare(named("use"), shown);
  prepare(named("add"), made);
  const more = named("more");
  if (more) {
    more.hidden = false;
  }
  const able = named("able");
  if (able) {
    able.value = "elsewhere";
    PublicKeyCredential.isUserVerifyingPlatformAuthenticatorAvailable().then((here) => {
      able.value = here ? "here" : "elsewhere";
    }, () => {});
  }
})();
