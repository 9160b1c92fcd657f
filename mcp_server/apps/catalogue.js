// Products side by side. What is bought is put into a checkout by the brand's own tools; prices are never counted here.
const stockText = (variant) => (variant.available ? "In stock" : plain(variant.availability).replaceAll("_", " "));

const optionText = (variant) => plain(variant.options.map((option) => option.value).join(", ") || variant.title);

const priced = (variant) => [
  element("span", { class: "price" }, plain(variant.price.text)),
  variant.list_price &&
    element("s", { class: "soft" }, element("span", { class: "aloud" }, "Before: "), plain(variant.list_price.text)),
];

const productCard = (product, place, chosen, page) => {
  const variant = product.variants.find((one) => one.id === chosen.get(product.id)) ?? product.variants[0];
  const choose = (event) => {
    chosen.set(product.id, event.target.value);
    page.draw();
  };
  const one = product.variants.length === 1;
  const differ = new Set(product.variants.map((each) => each.price.text)).size > 1;
  const choice = one
    ? element("p", { class: "soft" }, named(optionText(variant)))
    : element(
        "label",
        { class: "field" },
        element("span", {}, "Choose"),
        element(
          "select",
          { change: choose, "data-key": `choice ${product.id}` },
          product.variants.map((each) =>
            element(
              "option",
              { value: each.id, selected: each.id === variant.id },
              optionText(each) + (differ ? ` · ${plain(each.price.text)}` : ""),
            ),
          ),
        ),
      );
  const label = page.inCheckout(variant) ? "Add another" : "Add to checkout";
  return element(
    "li",
    { class: "card", "aria-label": `${place + 1} of ${page.count()}` },
    element("h2", {}, named(variant.title)),
    element("p", { class: "soft brief" }, named(product.description)),
    choice,
    element("p", { class: "cost" }, priced(variant)),
    element("p", { class: variant.available ? "stock" : "stock out" }, stockText(variant)),
    button(label, () => page.add(variant), {
      class: "quiet",
      "data-key": `add ${product.id}`,
      "data-place": place,
      disabled: !variant.available || page.busy(),
      "aria-label": `${label}: ${plain(variant.title)}`,
    }),
  );
};

const arrows = { ArrowLeft: (at) => at - 1, ArrowRight: (at) => at + 1, Home: () => 0, End: (_at, last) => last };

// Arrow keys lead from card to card; Tab leads through everything, as everywhere.
const walk = (event) => {
  const from = event.target.closest("button[data-place]");
  if (!from || !Object.hasOwn(arrows, event.key)) {
    return;
  }
  const stops = [...event.currentTarget.querySelectorAll("button[data-place]:not(:disabled)")];
  const to = stops[arrows[event.key](stops.indexOf(from), stops.length - 1)];
  if (to) {
    event.preventDefault();
    to.focus();
    to.closest("li").scrollIntoView({ block: "nearest", inline: "center" });
  }
};

const catalogue = (app, first) => {
  const chosen = new Map();
  let { products, next_offset: next } = first;
  let checkout = null;

  const page = {
    draw: () => app.draw(),
    count: () => products.length,
    busy: () => app.busy(),
    inCheckout: (variant) => checkout?.lines.some((line) => line.variant_id === variant.id) ?? false,
    add(variant) {
      if (!app.bridge.calls()) {
        return app.ask(variant.id);
      }
      const had = (checkout?.lines ?? []).map(({ variant_id, quantity }) => ({ variant_id, quantity }));
      const same = had.find((line) => line.variant_id === variant.id);
      if (same) {
        same.quantity += 1;
      } else {
        had.push({ variant_id: variant.id, quantity: 1 });
      }
      const open = checkout && ["incomplete", "ready_for_complete"].includes(checkout.status);
      const [tool, given] = open
        ? ["update_checkout", { checkout_id: checkout.checkout_id, lines: had }]
        : ["create_checkout", { lines: same ? [{ variant_id: variant.id, quantity: 1 }] : had.slice(-1) }];
      return app.change(tool, given, "The shopper put a product into the checkout.", "Added to your checkout.");
    },
  };

  const more = async () => {
    const found = await app.look("search_catalog", { ...app.given(), offset: next }, "");
    if (found) {
      products = [...products, ...found.products];
      next = found.next_offset;
      app.draw();
    }
  };

  return {
    took(content) {
      checkout = content;
    },
    draw() {
      if (!products.length) {
        return [element("h1", {}, "Nothing was found"), element("p", { class: "soft" }, "Try fewer or other words.")];
      }
      const many = checkout?.lines.reduce((sum, line) => sum + line.quantity, 0);
      return [
        element("h1", {}, `${app.brand} · ${products.length === 1 ? "1 product" : `${products.length} products`}`),
        element(
          "ul",
          { class: "row", "aria-label": "Products", keydown: walk },
          products.map((product, place) => productCard(product, place, chosen, page)),
          typeof next === "number" && app.bridge.calls()
            ? element("li", { class: "card last" }, button("More products", more, { class: "quiet", "data-key": "more" }))
            : null,
        ),
        checkout
          ? element(
              "div",
              { class: "bar" },
              element("p", {}, `${many} in your checkout · `, element("strong", {}, plain(checkout.totals.total.text))),
              button("Go to checkout", () => app.show(checkout), { class: "pay", "data-key": "go" }),
            )
          : null,
      ];
    },
  };
};
