// Products side by side. What is bought is put into a checkout by the brand's own tools; prices are never counted here.
const stockText = (variant) => (variant.available ? "In stock" : plain(variant.availability).replaceAll("_", " "));

const optionText = (variant) => plain(variant.options.map((option) => option.value).join(", ") || variant.title);

// A product's image, from a host that the brand named: of another the document's policy would fetch none.
const picture = (product, images) => {
  let address = null;
  try {
    address = new URL(product.image_url);
  } catch {
    return null;
  }
  return address.protocol === "https:" && images.has(address.host)
    ? element("img", { src: address.href, alt: "", loading: "lazy", decoding: "async", referrerpolicy: "no-referrer" })
    : null;
};

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
    picture(product, page.images),
    element("h2", {}, named(variant.title)),
    element("p", { class: "soft brief" }, named(product.description)),
    product.why?.length ? element("ul", { class: "why" }, product.why.map((each) => element("li", {}, named(each)))) : null,
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

// What the records say of products beside each other.
const comparison = ({ products, rows }) =>
  element(
    "div",
    { class: "wide", tabindex: "0", role: "region", "aria-label": "Comparison" },
    element(
      "table",
      {},
      element(
        "thead",
        {},
        element("tr", {}, element("td", {}), products.map((each) => element("th", { scope: "col" }, named(each.title)))),
      ),
      element(
        "tbody",
        {},
        rows.map((row) =>
          element("tr", {}, element("th", { scope: "row" }, named(row.name)), row.values.map((value) => element("td", {}, named(value)))),
        ),
      ),
    ),
  );

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
  let { products, next_offset: next } = Array.isArray(first.products) ? first : { products: [first] };
  const compared = first.comparison ?? null;
  const questions = first.questions ?? [];
  if (compared) {
    products = compared.products;
  }
  let checkout = null;

  const page = {
    images: app.images,
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
        compared && comparison(compared),
        questions.length
          ? element(
              "section",
              { class: "remarks calm", "aria-label": "Questions" },
              element("h2", {}, "The store asks"),
              element("ul", {}, questions.map((each) => element("li", {}, named(each.text)))),
            )
          : null,
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
