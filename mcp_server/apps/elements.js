// Elements from data. A text becomes a text node, whatever it holds: no string is ever read as HTML here.
const turns = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g; // marks that turn the direction of what follows (UAX 9)

const plain = (text) => String(text ?? "").replace(turns, "");

const element = (name, attributes = {}, ...children) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") {
      made.addEventListener(key, value);
    } else if (value === true) {
      made.setAttribute(key, "");
    } else if (value !== false && value !== undefined && value !== null) {
      made.setAttribute(key, value);
    }
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
};

// A text of the merchant's, isolated from the direction of what stands around it.
const named = (text) => element("bdi", {}, plain(text));

const button = (label, press, attributes = {}) =>
  element("button", { type: "button", ...attributes, click: press }, label);

const facts = (rows) =>
  element(
    "dl",
    { class: "sums" },
    rows.map(([term, value, kind]) => element("div", { class: kind }, element("dt", {}, term), element("dd", {}, value))),
  );

// A moment as the shopper's host writes it; the record's own text where it is not one.
const moment = (text, context, style) => {
  const at = new Date(text);
  if (Number.isNaN(at.getTime())) {
    return plain(text);
  }
  try {
    return new Intl.DateTimeFormat(context.locale, { ...style, timeZone: context.timeZone }).format(at);
  } catch {
    return new Intl.DateTimeFormat("en", style).format(at);
  }
};

const days = (option) => {
  const { delivery_days_min: least, delivery_days_max: most } = option;
  const unit = most === 1 ? "day" : "days";
  return least === most ? `${most} ${unit}` : `${least} to ${most} ${unit}`;
};

// What it comes to, as the record has it. What is not settled yet is said to be open instead of costing nothing.
const totals = (counted, { shippingOpen = false, taxOpen = false } = {}) =>
  facts([
    ["Items", counted.items.text],
    ...counted.applied.map((taken) => [named(taken.title), `−${plain(taken.amount.text)}`]),
    ["Shipping", shippingOpen ? "not chosen yet" : counted.shipping.text],
    ["Tax", taxOpen ? "by the address" : counted.tax.text],
    [shippingOpen || taxOpen ? "So far" : "Total", counted.total.text, "total"],
  ]);
