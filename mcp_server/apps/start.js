// What a result is shown as, and what is common to all views: one change at a time, focus that stays, what is said aloud.
const main = document.getElementById("view");
const aloud = document.getElementById("said");
const root = document.documentElement;
const elsewhere = "This could not be done from here. Ask for it in the conversation.";
const unreadable = "This answer cannot be shown here. Its text in the conversation says everything.";

const views = [
  [(content) => Array.isArray(content.products) || Array.isArray(content.variants), catalogue],
  [(content) => typeof content.placed_at === "string", orderView],
  [(content) => typeof content.checkout_id === "string", checkoutView],
];

// A tool's data, and what its result holds for the view alone beside it: what opens the payment sheet.
const contentOf = ({ structuredContent: content, _meta: beside }) => {
  const session = beside?.["cordon/payment_sheet"];
  return content && session ? { ...content, payment_sheet: session } : content;
};

const state = { view: null, before: null, busy: false, alert: "", alive: true, given: {}, context: {}, held: null };

const app = {
  brand: main.dataset.brand,
  handle: main.dataset.handle, // what complete_checkout calls a checkout's id at this endpoint
  images: new Set(main.dataset.images.split(" ").filter(Boolean)),
  confirms: main.dataset.handle === "checkout_id",
  bridge: null,
  busy: () => state.busy,
  alive: () => state.alive,
  given: () => state.given,
  context: () => state.context,

  draw() {
    if (document.activeElement !== document.body) {
      state.held = document.activeElement?.dataset.key; // kept while what had the focus is disabled
    }
    const scrolled = main.querySelector(".row")?.scrollLeft ?? 0;
    const typed = main.querySelector("#code")?.value ?? "";
    main.setAttribute("aria-busy", String(state.busy));
    const alert = state.alert && element("p", { class: "alert", role: "alert", tabindex: "-1" }, state.alert);
    try {
      main.replaceChildren(...[alert, state.view?.draw()].flat().filter(Boolean));
    } catch {
      main.replaceChildren(element("p", { class: "alert", role: "alert" }, unreadable));
    }
    const row = main.querySelector(".row");
    if (row) {
      row.scrollLeft = scrolled;
    }
    const field = main.querySelector("#code");
    if (field) {
      field.value = typed;
    }
    const again = [...main.querySelectorAll("[data-key]")].find((one) => one.dataset.key === state.held);
    if (document.hasFocus()) {
      again?.focus({ preventScroll: true });
    }
  },

  // Says what is wrong. With ``take`` the focus goes there: what is still being typed must not land in the field again.
  alert(text, take = false) {
    state.alert = text;
    if (take) {
      document.activeElement?.blur();
      state.held = null;
    }
    app.draw();
    if (take) {
      main.querySelector(".alert")?.focus();
    }
  },

  // To who does not see the page.
  announce(text) {
    aloud.textContent = text;
  },

  // Empties the one field there is.
  clear() {
    const field = main.querySelector("#code");
    if (field) {
      field.value = "";
    }
  },

  // Shows content in the view that is for it; false when there is none.
  show(content) {
    const [, make] = views.find(([fits]) => fits(content)) ?? [];
    if (!make) {
      return false;
    }
    if (state.view?.kind === make) {
      state.view.took(content);
    } else {
      state.before = state.view?.kind === catalogue ? state.view : make === catalogue ? null : state.before;
      state.view = Object.assign(make(app, content), { kind: make });
    }
    app.draw();
    return true;
  },

  back() {
    const back = () => {
      state.before.took(state.view.content?.() ?? null);
      [state.view, state.before] = [state.before, null];
      app.draw();
    };
    return state.before && button("Back to the products", back, { class: "plain", "data-key": "back" });
  },

  // Calls a tool and gives its content; null when it was refused, which is shown.
  async side(tool, given, kind = "read") {
    if (state.busy) {
      return null;
    }
    [state.busy, state.alert] = [true, ""];
    app.draw();
    try {
      const result = await app.bridge[kind](tool, given);
      const content = contentOf(result);
      if (result.isError || !content || content.error) {
        state.alert = plain(content?.error?.message ?? elsewhere);
        return null;
      }
      app.last = plain(result.content?.find((part) => part.type === "text")?.text);
      return content;
    } catch {
      state.alert = elsewhere;
      return null;
    } finally {
      state.busy = false;
      app.draw();
    }
  },

  // What the model is told: what was done, and the tool's own text about how things stand now.
  tell(did) {
    app.bridge.remember(`${did}\n${app.last}`);
  },

  async look(tool, given, did, kind = "read") {
    const content = await app.side(tool, given, kind);
    if (content && did) {
      app.tell(did);
    }
    if (content && !Object.hasOwn(content, "products")) {
      app.show(content);
    }
    return content;
  },

  async change(tool, given, did, said) {
    const content = await app.side(tool, given, "change");
    if (content) {
      app.tell(did);
      state.view.took(content);
      app.announce(`${said} Total ${plain(content.totals.total.text)}.`);
      app.draw();
    }
    return content;
  },

  // As side(), in the background: the page stays usable, and a failure ends the waiting without a word.
  async wait(tool, given) {
    try {
      const result = await app.bridge.read(tool, given);
      app.last = plain(result.content?.find((part) => part.type === "text")?.text);
      return result.isError ? null : contentOf(result);
    } catch {
      return null;
    }
  },

  // Where the host calls no tools for the page: the shopper's wish as a message. An id that is more than an id is not said.
  async ask(id) {
    const wish = /^[\w.-]{1,64}$/.test(id) ? `Please put ${id} into a checkout for me.` : "";
    if (!wish || !app.bridge.talks() || !(await app.bridge.say(wish))) {
      app.alert(elsewhere);
    }
  },
};

const variable = /^--(color|font|border-radius)-[a-z0-9-]+$/;

const host = {
  input(given) {
    state.given = given;
  },
  result(result) {
    const content = contentOf(result);
    if (!content || content.error || result.isError) {
      state.view = null;
      app.alert(plain(content?.error?.message ?? unreadable));
    } else if (!app.show(content)) {
      app.alert(unreadable);
    }
  },
  cancelled() {
    state.view = null;
    app.alert("This was stopped before there was an answer.");
  },
  context(changed) {
    Object.assign(state.context, changed);
    if (changed.theme === "light" || changed.theme === "dark") {
      root.dataset.theme = changed.theme;
    }
    for (const [name, value] of Object.entries(changed.styles?.variables ?? {})) {
      if (variable.test(name) && typeof value === "string") {
        root.style.setProperty(name, value);
      }
    }
    // A ground without its ink, or an ink without its ground, could not be read.
    const own = (name) => root.style.getPropertyValue(name) !== "";
    root.toggleAttribute("data-host-colors", own("--color-background-primary") && own("--color-text-primary"));
    for (const [side, pixels] of Object.entries(changed.safeAreaInsets ?? {})) {
      if (["top", "right", "bottom", "left"].includes(side) && Number.isFinite(pixels)) {
        root.style.setProperty(`--inset-${side}`, `${pixels}px`);
      }
    }
    if (changed.displayMode) {
      root.dataset.display = changed.displayMode;
    }
    if (state.view) {
      app.draw();
    }
  },
  teardown() {
    state.alive = false;
  },
};

app.bridge = connect(host);
new ResizeObserver(() => app.bridge.sized(Math.ceil(root.getBoundingClientRect().height))).observe(root);
app.bridge.begin().catch(() => app.alert(unreadable));
