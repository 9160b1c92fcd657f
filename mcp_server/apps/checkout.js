// A checkout as it stands. Payment leaves by an address that the host opens: nothing here takes a card, and nothing frames
// the page that does.
const statusTexts = {
  incomplete: "Not complete yet",
  ready_for_complete: "Ready to pay",
  requires_escalation: "Waiting for your payment",
  complete_in_progress: "Your payment is being made",
  completed: "Paid",
  canceled: "This checkout is closed",
};
const inTheSheet = "You choose your card in the payment sheet that opens, never here. The payment page is outside of this conversation.";
const waitSeconds = 20;
const waits = 12; // four minutes; then the shopper asks
const cardDigits = 13; // as many as the shortest card number has

const digitsIn = (text) => (text.normalize("NFKC").match(/\p{Nd}/gu) ?? []).length;

const checkoutLine = (line, page) => {
  const step = (by) => () => page.quantity(line.variant_id, line.quantity + by);
  const name = plain(line.title);
  const key = line.variant_id;
  const only = page.lines() === 1 && line.quantity === 1;
  const stepper = page.open()
    ? element(
        "div",
        { class: "stepper", role: "group", "aria-label": `Quantity of ${name}` },
        button("−", step(-1), { "aria-label": `One less: ${name}`, "data-key": `less ${key}`, disabled: only || page.busy() }),
        element("span", { class: "many" }, String(line.quantity)),
        button("+", step(1), { "aria-label": `One more: ${name}`, "data-key": `more ${key}`, disabled: page.busy() }),
      )
    : null;
  return element(
    "li",
    {},
    element(
      "div",
      { class: "what" },
      named(line.title),
      element("span", { class: "each" }, `${line.quantity} × ${plain(line.unit_price.text)}`),
      stepper,
    ),
    element("span", { class: "sum" }, plain(line.total.text)),
  );
};

const shippingChoice = (checkout, page) =>
  element(
    "fieldset",
    { disabled: !page.open() || page.busy() },
    element("legend", {}, "Shipping"),
    checkout.shipping_options.map((option) =>
      element(
        "label",
        { class: "choice" },
        element("input", {
          type: "radio",
          name: "shipping",
          checked: option.id === checkout.shipping_option_id,
          change: () => page.shipping(option.id),
          "data-key": `shipping ${option.id}`,
        }),
        element("span", {}, named(option.title), element("span", { class: "each" }, days(option))),
        element("span", { class: "sum" }, plain(option.price.text)),
      ),
    ),
  );

// The one field there is. What has as many digits as a card number is taken out again as soon as it stands there. It is no
// form: a sandbox need not let one be sent.
const codeEntry = (page) => {
  const clean = () => {
    if (digitsIn(field.value) >= cardDigits) {
      field.value = "";
      page.refuse("That is no discount code. A card is entered on the payment page alone, never here.");
    }
  };
  const apply = () => {
    clean();
    const code = field.value.trim();
    return code && page.code(code);
  };
  const field = element("input", {
    type: "text",
    id: "code",
    maxlength: "40",
    autocomplete: "off",
    autocapitalize: "characters",
    enterkeyhint: "done",
    spellcheck: "false",
    "aria-describedby": "code-note",
    "data-key": "code",
    input: clean,
    keydown: (event) => event.key === "Enter" && !event.isComposing && apply(),
  });
  return element(
    "div",
    { class: "code" },
    element("label", { for: "code" }, "Discount code"),
    element("div", {}, field, button("Apply", apply, { "data-key": "apply", disabled: page.busy() })),
    element("p", { id: "code-note", class: "soft" }, "It takes the place of a code given before."),
  );
};

const checkoutView = (app, first) => {
  let checkout = first;
  let cards = null;
  let link = null;
  let watching = false;
  let inSheet = false;

  const given = (more) => ({ checkout_id: checkout.checkout_id, ...more });
  const change = (more, did, said) => app.change("update_checkout", given(more), did, said);

  const page = {
    open: () => app.bridge.calls() && ["incomplete", "ready_for_complete"].includes(checkout.status),
    busy: () => app.busy() || inSheet,
    lines: () => checkout.lines.length,
    refuse: (text) => app.alert(text, true),
    quantity(id, quantity) {
      const lines = checkout.lines
        .map((line) => ({ variant_id: line.variant_id, quantity: line.variant_id === id ? quantity : line.quantity }))
        .filter((line) => line.quantity > 0);
      return change({ lines }, "The shopper changed quantities.", "Quantity changed.");
    },
    shipping: (id) => change({ shipping_option_id: id }, "The shopper chose another way of shipping.", "Shipping changed."),
    async code(code) {
      if (await change({ discount_codes: [code] }, "The shopper entered a discount code.", "The total was counted anew.")) {
        app.clear();
      }
    },
  };

  const watch = async () => {
    if (watching || !app.bridge.calls()) {
      return;
    }
    watching = true;
    app.draw();
    const before = checkout.status;
    for (let time = 0; time < waits && checkout.status === before && app.alive(); time += 1) {
      const found = await app.wait("get_checkout", given({ wait_seconds: waitSeconds }));
      if (!found) {
        break;
      }
      checkout = found;
    }
    watching = false;
    if (checkout.status !== before) {
      app.tell("The shopper's checkout changed.");
      app.announce(`${statusTexts[checkout.status] ?? ""}.`);
    }
    app.draw();
    if (app.alive() && checkout.status === "complete_in_progress") {
      watch();
    }
  };

  const pay = async () => {
    if (checkout.status === "ready_for_complete") {
      const shown = { [app.handle]: checkout.checkout_id, ...(app.confirms && { confirmation: checkout.confirmation }) };
      const done = await app.side("complete_checkout", shown);
      if (done) {
        app.tell("The shopper agreed to the checkout as it was shown and went to pay.");
        if (!app.show(done)) {
          await app.look("get_checkout", given({}), "");
        }
      } else {
        checkout = (await app.wait("get_checkout", given({}))) ?? checkout; // as it is now, below what is wrong with it
      }
    }
    const url = checkout.continue_url;
    if (checkout.status !== "requires_escalation" || !/^https?:\/\//.test(url ?? "")) {
      return app.draw();
    }
    const opened = await app.bridge.open(url);
    link = opened ? null : url;
    app.draw();
    return watch();
  };

  const hasSheet = () => checkout.payment_sheet && checkout.status === "ready_for_complete" && app.bridge.sheets();

  // The sheet shows what its session says. What somebody changed behind this page is shown here first.
  const payInSheet = async () => {
    const shown = checkout.confirmation;
    const fresh = await app.side("get_checkout", given({}));
    if (!fresh) {
      return;
    }
    checkout = fresh;
    if (checkout.confirmation !== shown || !hasSheet()) {
      app.alert("This changed meanwhile. Look at it again before you pay.", true);
      return;
    }
    inSheet = true;
    app.draw();
    const opened = await app.bridge.sheet(checkout.payment_sheet).then(
      () => true,
      () => false,
    );
    checkout = (await app.wait("get_checkout", given({}))) ?? checkout;
    inSheet = false;
    if (checkout.status === "completed") {
      app.tell("The shopper paid in the payment sheet.");
      app.announce(`${statusTexts.completed}.`);
    }
    app.alert(opened || checkout.status === "completed" ? "" : "The payment sheet did not open. Pay on the payment page.");
    if (checkout.status === "complete_in_progress") {
      await watch();
    }
  };

  const check = () => {
    inSheet = false; // a sheet that never says that it was closed
    return look();
  };

  const look = () => app.look("get_checkout", given({}), "The shopper looked at the checkout again.");

  const showCards = async () => {
    const found = await app.side("get_saved_payment_methods", {});
    if (found) {
      cards = found.methods;
      app.draw();
    }
  };

  const saved = () => {
    if (!app.bridge.calls() || !["ready_for_complete", "requires_escalation"].includes(checkout.status)) {
      return null;
    }
    if (cards === null) {
      return button("Show my saved cards", showCards, { class: "plain", "data-key": "cards", disabled: app.busy() });
    }
    return element(
      "section",
      { class: "cards", "aria-label": "Saved cards" },
      cards.length
        ? element("ul", {}, cards.map((card) => element("li", {}, `${plain(card.brand)} ending ${plain(card.last4)}`)))
        : element("p", {}, "You have no saved card here."),
      element("p", { class: "soft" }, "Shown only. You choose how to pay on the payment page."),
    );
  };

  const action = () => {
    const payable = ["ready_for_complete", "requires_escalation"].includes(checkout.status);
    const again = ["requires_escalation", "complete_in_progress", "incomplete"].includes(checkout.status);
    return element(
      "div",
      { class: "act" },
      hasSheet()
        ? button(`Pay ${plain(checkout.totals.total.text)}`, payInSheet, { class: "pay", "data-key": "sheet", disabled: page.busy() })
        : null,
      payable && (app.bridge.calls() || checkout.continue_url)
        ? button(hasSheet() ? "Pay on the payment page" : `Pay ${plain(checkout.totals.total.text)} on the payment page`, pay, {
            class: hasSheet() ? "plain" : "pay",
            "data-key": "pay",
            disabled: app.busy(),
          })
        : null,
      payable ? element("p", { class: "soft" }, hasSheet() ? inTheSheet : `It opens at ${app.brand}, outside of this conversation. No card is entered here.`) : null,
      inSheet ? element("p", { class: "waiting" }, "The payment sheet is open.") : null,
      link
        ? element(
            "p",
            { class: "alert" },
            "The payment page was not opened for you. Copy its address into your browser: ",
            element("code", { tabindex: "0" }, link),
          )
        : null,
      watching ? element("p", { class: "waiting" }, "Waiting for your payment. This page tells you when it is there.") : null,
      !watching && (again || inSheet) && app.bridge.calls()
        ? button("Check again", check, { class: "plain", "data-key": "check", disabled: app.busy() })
        : null,
      checkout.order_id && app.bridge.calls()
        ? button("Show the order", () => app.look("get_order", { order_id: checkout.order_id }, ""), {
            class: "pay",
            "data-key": "order",
          })
        : null,
    );
  };

  return {
    took(content) {
      checkout = content;
      if (checkout.status !== "requires_escalation") {
        link = null;
      }
    },
    content: () => checkout,
    draw() {
      const wrong = checkout.messages.filter((message) => message.type !== "info");
      const about = checkout.status === "incomplete" ? "Still needed" : "Please note";
      return [
        app.back(),
        element("h1", {}, statusTexts[checkout.status] ?? "Checkout"),
        element("p", { class: "amount" }, plain(checkout.totals.total.text)),
        checkout.order_id ? element("p", { class: "soft" }, "Order ", named(checkout.order_id)) : null,
        element("ul", { class: "lines" }, checkout.lines.map((line) => checkoutLine(line, page))),
        page.open() && checkout.shipping_options.length ? shippingChoice(checkout, page) : null,
        totals(checkout.totals, { shippingOpen: !checkout.shipping_option_id, taxOpen: !checkout.shipping_address }),
        page.open() ? codeEntry(page) : null,
        wrong.length
          ? element(
              "section",
              { class: "remarks", "aria-label": about },
              element("h2", {}, about),
              element("ul", {}, wrong.map((message) => element("li", {}, named(message.content)))),
              checkout.status === "incomplete"
                ? element("p", {}, "Tell the assistant in the conversation, then check again here.")
                : null,
            )
          : null,
        saved(),
        action(),
      ];
    },
  };
};
