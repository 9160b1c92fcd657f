// A shop's own page with card fields. What it hears are states, never a card.
(async () => {
  "use strict";

  const pay = document.getElementById("pay");
  const said = document.getElementById("said");
  const say = (text) => {
    said.textContent = text;
  };

  const kept = sessionStorage.getItem("opener"); // of this tab: a reload goes on with the same fields
  const opener = kept ? JSON.parse(kept) : await CordonFields.newOpener();
  sessionStorage.setItem("opener", JSON.stringify(opener));

  const answer = await fetch("/card-fields", { method: "POST", body: new URLSearchParams({ digest: opener.digest }) });
  const { url } = await answer.json();

  const fields = CordonFields.mount({
    container: document.getElementById("fields"),
    url,
    opener: opener.secret,
    title: "Card details for Harbour & Pine",
    theme: { background: "#fbf8f3", text: "#2a2118", muted: "#6b5d4b", border: "#8a7a66", accent: "#7a3b12", radius: 4 },
    on: {
      ready: () => {
        pay.disabled = false;
      },
      busy: () => {
        pay.disabled = true;
      },
      refused: () => {
        pay.disabled = false;
      },
      captured: () => {
        pay.disabled = true;
        say("Thank you. Your order is on its way.");
      },
      problem: ({ code }) => {
        pay.disabled = ["link_expired", "not_opener", "not_found"].includes(code);
        say(code === "theme_refused" ? "" : "The payment has not gone through yet.");
      },
    },
  });
  pay.addEventListener("click", () => fields.submit());
})();
