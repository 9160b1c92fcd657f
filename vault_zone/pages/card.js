// Helps with typing a card. The form works without it, and the server has the last word on every field.
// No network, no storage, no globals; messages and card ranges come from the page, where the server put them.
(() => {
  "use strict";

  const form = document.getElementById("card-form");
  if (!form) {
    return;
  }
  const byId = (id) => document.getElementById(id);
  const inputs = ["number", "expiry", "cvc", "name", "postal_code"].map(byId);
  const [number, expiry, cvc] = inputs;
  const pay = byId("pay");
  const payLabel = byId("pay-label");
  const problems = byId("problems");
  const brands = JSON.parse(form.dataset.brands);
  const unbranded = { id: "", title: "", lengths: [13, 14, 15, 16, 17, 18, 19], cvc: 0, groups: [4, 4, 4, 4, 3] };
  const monthSeparator = " / ";
  const horizonMonths = 20 * 12;
  const nameMaxDigits = 8;
  // This device's clock may be wrong: it may warn of a date, but only the server refuses one.
  const clockProblems = ["past", "too_far"];

  const isDigit = (char) => char !== undefined && char >= "0" && char <= "9";
  const digitsOf = (text) => text.normalize("NFKC").replace(/[^0-9]/g, "");
  const inRange = (digits, [low, high]) => {
    const prefix = digits.slice(0, low.length);
    return prefix.length === low.length && low <= prefix && prefix <= high;
  };
  const brandOf = (digits) =>
    brands.find((brand) => brand.prefixes.some((range) => inRange(digits, range))) || unbranded;
  const passesLuhn = (digits) =>
    [...digits].reverse().reduce((sum, char, index) => {
      const value = Number(char) * (index % 2 === 1 ? 2 : 1);
      return sum + (value > 9 ? value - 9 : value);
    }, 0) % 10 === 0;

  // What is wrong with a field: the same codes, in the same order, as the server's.

  const numberProblem = (text) => {
    const digits = digitsOf(text);
    const brand = brandOf(digits);
    if (!digits) {
      return "missing";
    }
    if (!unbranded.lengths.includes(digits.length)) {
      return "wrong_length";
    }
    if (brand === unbranded) {
      return "brand_unknown";
    }
    if (!brand.lengths.includes(digits.length)) {
      return "wrong_length";
    }
    return passesLuhn(digits) ? null : "failed_check";
  };

  const expiryProblem = (text) => {
    const digits = digitsOf(text);
    if (!digits) {
      return "missing";
    }
    if (digits.length !== 4) {
      return "wrong_form";
    }
    const month = Number(digits.slice(0, 2));
    const year = 2000 + Number(digits.slice(2));
    if (month < 1 || month > 12) {
      return "month_invalid";
    }
    const lastZone = new Date(Date.now() - 12 * 60 * 60 * 1000); // where a month ends last on Earth
    const monthsLeft = 12 * (year - lastZone.getUTCFullYear()) + month - 1 - lastZone.getUTCMonth();
    if (monthsLeft < 0) {
      return "past";
    }
    return monthsLeft > horizonMonths ? "too_far" : null;
  };

  const cvcProblem = (text) => {
    const wanted = brandOf(digitsOf(number.value)).cvc;
    const length = digitsOf(text).length;
    if (!length) {
      return "missing";
    }
    if (!wanted) {
      return length === 3 || length === 4 ? null : "wrong_length";
    }
    if (length === wanted) {
      return null;
    }
    return wanted === 4 ? "four_digits" : "three_digits";
  };

  const nameProblem = (text) => {
    if (!text) {
      return "missing";
    }
    if (text.replace(/\P{Nd}/gu, "").length > nameMaxDigits) {
      return "card_like";
    }
    return /\p{L}/u.test(text) ? null : "wrong_characters";
  };

  const postalProblem = (text) => {
    if (!text) {
      return "missing";
    }
    return /^[A-Za-z0-9][A-Za-z0-9 -]{1,11}$/.test(text) ? null : "wrong_form";
  };

  const problemOf = {
    number: numberProblem,
    expiry: expiryProblem,
    cvc: cvcProblem,
    name: nameProblem,
    postal_code: postalProblem,
  };

  const show = (input, problem) => {
    const message = problem ? JSON.parse(input.dataset.messages)[problem] : "";
    byId(`${input.id}-error`).textContent = message;
    if (problem) {
      input.setAttribute("aria-invalid", "true");
    } else {
      input.removeAttribute("aria-invalid");
    }
    return message;
  };
  const problemIn = (input) => problemOf[input.id](input.value.trim());

  // Formatting. The caret stays behind the digit that it was behind.

  const groupNumber = (typed) => {
    const groups = brandOf(typed.digits).groups;
    const most = Math.max(...brandOf(typed.digits).lengths);
    const digits = typed.caret === typed.digits.length ? typed.digits.slice(0, most) : typed.digits;
    let start = 0;
    const parts = groups.map((size) => digits.slice(start, (start += size)));
    return { text: [...parts, digits.slice(start)].filter(Boolean).join(" "), caret: Math.min(typed.caret, digits.length) };
  };

  const groupExpiry = (typed) => {
    let { digits, caret } = typed;
    if (!typed.deleting && (/^[2-9]/.test(digits) || /^[0-9]\s*[/-]/.test(typed.raw))) {
      digits = `0${digits}`; // "5" and "1/" are months already
      caret += 1;
    }
    if (/^..20..$/.test(digits)) {
      digits = digits.slice(0, 2) + digits.slice(4); // a year of four digits
      caret = digits.length;
    }
    digits = digits.slice(0, 6);
    const separated = digits.length > 2 || (digits.length === 2 && !typed.deleting);
    return { text: separated ? digits.slice(0, 2) + monthSeparator + digits.slice(2) : digits, caret };
  };

  const groupCode = (typed) => ({ text: typed.digits.slice(0, 4), caret: typed.caret });

  const placeAfterDigit = (text, count) => {
    let seen = 0;
    let at = 0;
    while (seen < count && at < text.length) {
      seen += isDigit(text[at]) ? 1 : 0;
      at += 1;
    }
    return digitsOf(text).length === count ? text.length : at;
  };

  const format = (input, group, deleting) => {
    const before = input.value.slice(0, input.selectionStart);
    const typed = { raw: input.value, digits: digitsOf(input.value), caret: digitsOf(before).length, deleting };
    const { text, caret } = group(typed);
    if (text !== input.value) {
      input.value = text;
    }
    if (document.activeElement === input) {
      const at = placeAfterDigit(text, caret);
      input.setSelectionRange(at, at);
    }
  };

  // A deletion that meets a separator takes the digit behind it: otherwise the separator would come straight back.
  const deleteOverSeparator = (event, group) => {
    const input = event.target;
    const step = { deleteContentBackward: -1, deleteContentForward: 1 }[event.inputType];
    if (!step || input.selectionStart !== input.selectionEnd) {
      return;
    }
    let at = input.selectionStart + (step < 0 ? -1 : 0);
    if (isDigit(input.value[at])) {
      return;
    }
    while (input.value[at] !== undefined && !isDigit(input.value[at])) {
      at += step;
    }
    if (input.value[at] === undefined) {
      return;
    }
    event.preventDefault();
    input.setRangeText("", at, at + 1, "end");
    format(input, group, true);
    input.dispatchEvent(new Event("change"));
  };

  let shownBrand = unbranded;
  const showBrand = () => {
    const brand = brandOf(digitsOf(number.value));
    if (brand === shownBrand) {
      return;
    }
    shownBrand = brand;
    byId("brand-name").textContent = brand.title;
    byId("brand-mark").firstElementChild.setAttribute("href", `#brand-${brand.id}`);
    if (brand.id) {
      number.parentElement.dataset.brand = brand.id;
    } else {
      delete number.parentElement.dataset.brand;
    }
    const { hint, hint3, hint4 } = cvc.dataset;
    byId("cvc-hint").textContent = { 3: hint3, 4: hint4 }[brand.cvc] || hint;
  };

  const watchFormat = (input, group, after) => {
    const run = (event) => {
      if (!event.isComposing) {
        format(input, group, /^delete/.test(event.inputType || ""));
        after();
      }
    };
    input.addEventListener("input", run);
    input.addEventListener("compositionend", run);
    input.addEventListener("beforeinput", (event) => deleteOverSeparator(event, group));
    input.addEventListener("change", after);
  };

  const watchProblem = (input) => {
    input.addEventListener("blur", () => {
      if (input.value.trim()) {
        show(input, problemIn(input));
      }
    });
    input.addEventListener("input", () => {
      if (input.hasAttribute("aria-invalid") && !problemIn(input)) {
        show(input, null);
      }
    });
  };

  // Sending.

  const summarise = (found) => {
    const list = problems.querySelector("ul");
    list.replaceChildren(
      ...found.map(([input, message]) => {
        const link = document.createElement("a");
        link.href = `#${input.id}`;
        link.textContent = message;
        const item = document.createElement("li");
        item.append(link);
        return item;
      }),
    );
    problems.querySelector("h3").textContent = found.length === 1 ? form.dataset.problem : form.dataset.problems;
    problems.querySelector("p")?.remove(); // here nothing has to be typed again
    problems.hidden = found.length === 0;
    const prefix = form.dataset.errorTitle;
    const plainTitle = document.title.startsWith(prefix) ? document.title.slice(prefix.length) : document.title;
    document.title = found.length ? prefix + plainTitle : plainTitle;
    if (found.length) {
      problems.focus();
    }
  };

  const restingLabel = [...payLabel.childNodes];
  const setBusy = (busy) => {
    pay.disabled = busy;
    byId("progress").textContent = busy ? form.dataset.busy : "";
    payLabel.replaceChildren(...(busy ? [form.dataset.busy] : restingLabel));
  };

  form.addEventListener("submit", (event) => {
    if (pay.disabled) {
      event.preventDefault();
      return;
    }
    const found = [];
    for (const input of inputs) {
      const problem = problemIn(input);
      const message = show(input, problem);
      if (problem && !clockProblems.includes(problem)) {
        found.push([input, message]);
      }
    }
    summarise(found);
    if (found.length) {
      event.preventDefault();
      return;
    }
    setBusy(true);
  });

  // Where another script of ours sends the form: what the server found wrong, by field, or that the wait is over.

  form.addEventListener("refuse", (event) => {
    const known = inputs.filter((input) => Object.hasOwn(event.detail, input.id));
    const found = known.map((input) => [input, show(input, event.detail[input.id])]);
    summarise(found);
  });
  form.addEventListener("rest", () => setBusy(false));

  // What 3-D Secure asks of a browser (EMV 3-D Secure, table A.1); the server has the rest from the request itself.

  form.elements.namedItem("device").value = JSON.stringify({
    java: navigator.javaEnabled(),
    language: navigator.language,
    depth: screen.colorDepth,
    height: screen.height,
    width: screen.width,
    tz: new Date().getTimezoneOffset(),
  });

  // A page kept for the back button keeps no card.

  const forget = () => {
    number.value = "";
    cvc.value = "";
    showBrand();
  };
  window.addEventListener("pagehide", forget);
  window.addEventListener("pageshow", (event) => {
    const [navigation] = performance.getEntriesByType("navigation");
    if (event.persisted || (navigation && navigation.type === "back_forward")) {
      forget();
      setBusy(false);
    }
  });

  form.noValidate = true;
  watchFormat(number, groupNumber, showBrand);
  watchFormat(expiry, groupExpiry, () => {});
  watchFormat(cvc, groupCode, () => {});
  inputs.forEach(watchProblem);
  showBrand();
})();
