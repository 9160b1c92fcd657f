// Answers the form's puzzle: a number whose SHA-256 with the seed begins with so many zero bits. It works while the card is
// typed, a few milliseconds at a time. No network, no storage, no globals. The form works without it, only later.
// The hash is written out here because crypto.subtle answers one promise for each try, and a worker would need a policy
// of trusted types, which pages with cards do not allow.
(() => {
  "use strict";

  const sliceMilliseconds = 8;
  const hashesBetweenLooks = 256;

  // FIPS 180-4, 4.2.2 and 5.3.3: the first 32 bits of the fractions of the cube and square roots of the first primes.
  const primes = [];
  for (let candidate = 2; primes.length < 64; candidate += 1) {
    if (primes.every((prime) => candidate % prime !== 0)) {
      primes.push(candidate);
    }
  }
  const fraction = (value) => ((value - Math.floor(value)) * 2 ** 32) | 0;
  const constants = Int32Array.from(primes, (prime) => fraction(Math.cbrt(prime)));
  const start = Int32Array.from(primes.slice(0, 8), (prime) => fraction(Math.sqrt(prime)));

  const words = new Int32Array(64);

  // The first 32 bits of the SHA-256 of the block in the first sixteen words (FIPS 180-4, 6.2.2).
  const firstWord = () => {
    for (let at = 16; at < 64; at += 1) {
      const early = words[at - 15];
      const late = words[at - 2];
      const small0 = ((early >>> 7) | (early << 25)) ^ ((early >>> 18) | (early << 14)) ^ (early >>> 3);
      const small1 = ((late >>> 17) | (late << 15)) ^ ((late >>> 19) | (late << 13)) ^ (late >>> 10);
      words[at] = (words[at - 16] + small0 + words[at - 7] + small1) | 0;
    }
    let [a, b, c, d, e, f, g, h] = start;
    for (let at = 0; at < 64; at += 1) {
      const big1 = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
      const choice = (e & f) ^ (~e & g);
      const first = (h + big1 + choice + constants[at] + words[at]) | 0;
      const big0 = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
      const majority = (a & b) ^ (a & c) ^ (b & c);
      h = g;
      g = f;
      f = e;
      e = (d + first) | 0;
      d = c;
      c = b;
      b = a;
      a = (first + ((big0 + majority) | 0)) | 0;
    }
    return (a + start[0]) | 0;
  };

  // A short text as the one block that it fills (FIPS 180-4, 5.1.1).
  const fill = (text) => {
    words.fill(0, 0, 16);
    for (let at = 0; at < text.length; at += 1) {
      words[at >> 2] |= text.charCodeAt(at) << (24 - 8 * (at & 3));
    }
    words[text.length >> 2] |= 0x80 << (24 - 8 * (text.length & 3));
    words[15] = 8 * text.length;
  };

  // Looks for the answer of the puzzle that the form holds now, and stops when it holds another one.
  const solve = (form, found) => {
    const { seed, bits } = form.dataset;
    const wanted = Number(bits);
    const pause = new MessageChannel();
    let number = 0;

    const work = () => {
      const until = performance.now() + sliceMilliseconds;
      do {
        for (let round = 0; round < hashesBetweenLooks; round += 1) {
          fill(`${seed}.${number}`);
          if (Math.clz32(firstWord()) >= wanted) {
            form.elements.namedItem("puzzle_answer").value = String(number);
            form.dataset.solved = "true";
            found();
            return;
          }
          number += 1;
        }
      } while (performance.now() < until);
      if (form.dataset.seed === seed) {
        pause.port2.postMessage(null);
      }
    };
    pause.port1.onmessage = work;
    pause.port2.postMessage(null);
  };

  const solveOnPage = (form) => {
    let isWaiting = false;
    solve(form, () => {
      if (isWaiting) {
        form.submit();
      }
    });
    form.addEventListener("submit", (event) => {
      if (!event.defaultPrevented && !form.dataset.solved) {
        event.preventDefault(); // it goes by itself as soon as the answer is found
        isWaiting = true;
      }
    });
    window.addEventListener("pageshow", (event) => {
      isWaiting = isWaiting && !event.persisted;
    });
  };

  document.querySelectorAll("form[data-bits]").forEach(solveOnPage);
  // A form that another script of ours sends: that script puts each puzzle into it, and says so.
  document.querySelectorAll("form[data-path]").forEach((form) => {
    form.addEventListener("puzzle", () => solve(form, () => form.dispatchEvent(new CustomEvent("solved"))));
  });
})();
