// Card fields in a frame of a merchant's page. It talks to the page that may frame it and to its own site, and to nobody else.
// What is typed goes to its own site alone: no message ever holds a value. docs/card-fields.md has every message.
//  1. A message is read only from the parent window, of the one origin that the server named, in the form of the protocol.
//  2. A message is sent only to that origin.
//  3. The claim and the opener live in this script's memory: no cookie, no storage.
(() => {
  "use strict";

  const form = document.getElementById("card-form");
  const frame = document.getElementById("frame");
  const state = document.getElementById("state");
  const pay = document.getElementById("pay");
  const inputs = ["number", "expiry", "cvc", "name", "postal_code"].map((id) => document.getElementById(id));
  const texts = JSON.parse(state.dataset.texts);
  const parentOrigin = form.dataset.parent;
  const path = form.dataset.path;
  const protocol = "cordon-fields";
  const version = 1;
  const openerForm = /^opn_[bcdfghjkmnpqrstv]{64}$/;
  const endings = ["captured", "link_expired", "not_opener", "not_found"]; // the frame takes no card after these

  let opener = null; // (3)
  let claim = null; // (3)
  let session = null;
  let ended = false;
  let sentHeight = 0;
  let sentValidity = "";

  const tell = (type, content = {}) => window.parent.postMessage({ protocol, version, type, ...content }, parentOrigin); // (2)

  // How tall the frame must be, and how far the fields are.

  const tellHeight = () => {
    const height = Math.ceil(frame.getBoundingClientRect().bottom + window.scrollY);
    if (height !== sentHeight) {
      sentHeight = height;
      tell("height", { height });
    }
  };
  new ResizeObserver(tellHeight).observe(frame);

  const tellValidity = () => {
    const fields = {};
    for (const input of inputs) {
      fields[input.id] = input.hasAttribute("aria-invalid") ? "invalid" : input.value.trim() ? "filled" : "empty";
    }
    const complete = inputs.every((input) => fields[input.id] === "filled");
    const news = JSON.stringify(fields);
    if (news !== sentValidity) {
      sentValidity = news;
      tell("validity", { complete, fields });
    }
  };
  for (const kind of ["input", "change", "focusout"]) {
    form.addEventListener(kind, () => queueMicrotask(tellValidity)); // behind the checks of the fields
  }

  const say = (code) => {
    state.textContent = texts[code] || texts.unavailable;
    if (endings.includes(code)) {
      ended = true;
      frame.dataset.state = code === "captured" ? "captured" : "ended";
      form.reset();
      state.focus();
    }
  };

  // Our own site. A lost answer is asked for again by the next sending: the server takes one card, however often it comes.

  const ask = async (step, body, headers) => {
    try {
      const answer = await fetch(`${path}/${step}`, {
        method: "POST",
        body: new URLSearchParams(body),
        headers,
        cache: "no-store",
        credentials: "omit",
        redirect: "error",
        referrerPolicy: "no-referrer",
      });
      return await answer.json();
    } catch {
      return { error: { code: "unreachable" } };
    }
  };

  // The puzzle for the next sending, and how long to wait before it (vault_zone/card_testing.py).

  const prepare = ({ puzzle, wait_seconds: seconds }) => {
    form.elements.namedItem("puzzle").value = puzzle.challenge;
    form.elements.namedItem("puzzle_answer").value = "";
    delete form.dataset.solved;
    form.dataset.seed = puzzle.seed;
    form.dataset.bits = String(puzzle.bits);
    if (puzzle.bits) {
      form.dispatchEvent(new CustomEvent("puzzle"));
    }
    if (seconds) {
      state.textContent = texts.wait.replace("{seconds}", String(seconds));
    }
  };
  const solved = () =>
    Number(form.dataset.bits) && !form.dataset.solved
      ? new Promise((resolve) => form.addEventListener("solved", resolve, { once: true }))
      : Promise.resolve();

  const finish = () => {
    say("captured");
    tell("captured", { session });
  };

  const stop = (code) => {
    say(code);
    tell("problem", { code });
  };

  const begin = async () => {
    const answer = await ask("claim", { opener }, {});
    if (answer.error) {
      stop(answer.error.code);
      return false;
    }
    ({ claim, session } = answer);
    state.textContent = "";
    if (answer.state === "captured") {
      finish();
      return false;
    }
    prepare(answer);
    return true;
  };

  const rest = () => form.dispatchEvent(new CustomEvent("rest"));

  const send = async () => {
    tell("busy");
    if (!claim && !(await begin())) {
      rest();
      return;
    }
    const card = async () => {
      await solved();
      return ask("card", new FormData(form), { authorization: `Bearer ${claim}` });
    };
    let answer = await card();
    if (answer.error && answer.error.code === "not_opener" && (await begin())) {
      answer = await card(); // another tab had taken over; the shopper is here now
    }
    if (ended) {
      return;
    }
    rest();
    if (answer.state === "captured") {
      finish();
    } else if (answer.state === "refused") {
      state.textContent = "";
      prepare(answer);
      form.dispatchEvent(new CustomEvent("refuse", { detail: answer.problems }));
      tellValidity();
      tell("refused", { problems: answer.problems });
    } else if (answer.state === "wait") {
      state.textContent = texts.again;
      prepare(answer);
      tell("problem", { code: "wait", seconds: answer.wait_seconds });
    } else {
      stop(answer.error ? answer.error.code : "unavailable");
    }
  };

  form.addEventListener("submit", (event) => {
    const sound = !event.defaultPrevented; // the checks of the fields ran before
    event.preventDefault();
    tellValidity();
    if (sound && opener && !ended) {
      send();
    }
  });

  // Looks: tokens of a closed set, each checked; colours that could not be read are refused together (WCAG 2.2, 1.4.3, 1.4.11).

  const light = { background: "#ffffff", text: "#17211d", muted: "#55615b", border: "#84908a", accent: "#0c6b4c", danger: "#b42318" };
  const dark = { background: "#121614", text: "#eef2f0", muted: "#a5b0aa", border: "#6d7a73", accent: "#4cc394", danger: "#ff9d94" };
  const properties = { background: "--paper", text: "--ink", muted: "--soft", border: "--edge", accent: "--accent", danger: "--danger" };
  const leastContrast = { text: 4.5, muted: 4.5, danger: 4.5, border: 3, accent: 3 };
  const colour = /^#[0-9a-f]{6}$/;

  const luminance = (hex) => {
    const [red, green, blue] = [1, 3, 5].map((at) => {
      const part = parseInt(hex.slice(at, at + 2), 16) / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const contrast = (one, other) => {
    const [less, more] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (more + 0.05) / (less + 0.05);
  };
  const bounded = (value, least, most) => Number.isInteger(value) && value >= least && value <= most;

  const checked = (theme) => {
    const { scheme = "light", radius, fontSize, ...colours } = theme;
    const preferred = window.matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
    const shown = { light, dark, auto: preferred === "dark" ? dark : light }[scheme];
    const known = Object.entries(colours).every(([name, value]) => name in properties && colour.test(value));
    const sizes = (radius === undefined || bounded(radius, 0, 24)) && (fontSize === undefined || bounded(fontSize, 16, 22));
    if (!shown || !known || !sizes) {
      return null;
    }
    const all = { ...shown, ...colours };
    const readable = Object.entries(leastContrast).every(([name, least]) => contrast(all[name], all.background) >= least);
    return readable ? { scheme: shown === dark ? "dark" : "light", radius, fontSize, colours } : null;
  };

  const dress = (theme) => {
    const safe = typeof theme === "object" && theme !== null ? checked(theme) : null;
    if (!safe) {
      tell("problem", { code: "theme_refused" });
      return;
    }
    const root = document.documentElement;
    root.dataset.scheme = safe.scheme;
    for (const [name, value] of Object.entries(safe.colours)) {
      root.style.setProperty(properties[name], value);
    }
    if (safe.radius !== undefined) {
      root.style.setProperty("--radius", `${safe.radius}px`);
    }
    if (safe.fontSize !== undefined) {
      root.style.setProperty("--size", `${safe.fontSize}px`);
    }
  };

  // The page that frames us.

  const heard = {
    init: async (message) => {
      if (opener || !openerForm.test(message.opener)) {
        return;
      }
      opener = message.opener;
      if (message.theme !== undefined) {
        dress(message.theme);
      }
      if (await begin()) {
        tell("ready", { height: Math.ceil(frame.getBoundingClientRect().bottom) });
        tellValidity();
      }
    },
    submit: () => {
      if (opener && !ended && !pay.disabled) {
        form.requestSubmit(pay);
      }
    },
    focus: () => inputs[0].focus(),
  };

  window.addEventListener("message", (event) => {
    if (event.source !== window.parent || event.origin !== parentOrigin) {
      return; // (1)
    }
    const message = event.data;
    const fits = typeof message === "object" && message !== null && message.protocol === protocol && message.version === version;
    if (fits && Object.hasOwn(heard, message.type)) {
      heard[message.type](message);
    }
  });

  if (window.parent !== window) {
    tell("hello");
  }
})();
