// A paid order: what was bought, what was given back and what was asked for. Dispatch is not known, so nothing is said of it.
const orderTexts = { confirmed: "Order confirmed", partly_refunded: "Partly refunded", refunded: "Refunded" };
const requestTexts = { cancel: "Cancel the order", return: "Send goods back" };
const answerTexts = { open: "waits for the merchant", accepted: "accepted", declined: "declined" };

const orderView = (app, first) => {
  let order = first;
  const again = () => app.look("get_order", { order_id: order.order_id }, "The shopper looked at the order again.");
  const address = () => {
    const to = order.shipping_address;
    return to && [to.name, to.line1, to.line2, to.city, to.region, to.postal_code, to.country].filter(Boolean).join(", ");
  };
  return {
    took(content) {
      order = content;
    },
    draw() {
      const way = order.shipping_option;
      return [
        app.back(),
        order.sandbox ? element("p", { class: "sandbox" }, "Sandbox: no money moved.") : null,
        element("h1", {}, orderTexts[order.status] ?? "Order"),
        element("p", { class: "soft" }, named(order.order_id), " · ", moment(order.placed_at, app.context(), { dateStyle: "long" })),
        element(
          "ul",
          { class: "lines" },
          order.lines.map((line) =>
            element(
              "li",
              {},
              element(
                "div",
                { class: "what" },
                named(line.title),
                element("span", { class: "each" }, `${line.quantity} × ${plain(line.unit_price.text)}`),
              ),
              element("span", { class: "sum" }, plain(line.total.text)),
            ),
          ),
        ),
        totals(order.totals),
        facts(
          [
            ["Paid with", `${plain(order.paid_with.brand)} ending ${plain(order.paid_with.last4)}`],
            order.refunded && ["Given back", plain(order.refunded.text)],
            way && ["Shipping", [named(way.title), `, ${days(way)}`]],
            address() && ["To", named(address())],
          ].filter(Boolean),
        ),
        order.requests.length
          ? element(
              "section",
              { class: "remarks calm", "aria-label": "Requests" },
              element("h2", {}, "Requests"),
              element(
                "ul",
                {},
                order.requests.map((one) =>
                  element("li", {}, `${requestTexts[one.kind] ?? plain(one.kind)}: ${answerTexts[one.state] ?? plain(one.state)}`),
                ),
              ),
            )
          : null,
        app.bridge.calls()
          ? element("div", { class: "act" }, button("Check again", again, { class: "plain", "data-key": "check", disabled: app.busy() }))
          : null,
      ];
    },
  };
};
