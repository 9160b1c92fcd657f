() => {
  const parse = (color) => {
    const [r, g, b, a = 1] = color.match(/[\d.]+/g).map(Number);
    return { r, g, b, a };
  };
  const luminance = ({ r, g, b }) => {
    const [x, y, z] = [r, g, b].map((value) => {
      const part = value / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const ratio = (one, other) => {
    const [high, low] = [luminance(one), luminance(other)].sort((x, y) => y - x);
    return (high + 0.05) / (low + 0.05);
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = parse(getComputedStyle(at).backgroundColor);
      if (color.a === 1) {
        return color;
      }
    }
    return { r: 255, g: 255, b: 255 };
  };
  const found = [];
  const judge = (element, color, needed, what) => {
    const got = ratio(parse(color), behind(element));
    if (got < needed) {
      found.push(`${what} of ${element.tagName} ${element.id || element.className}: ${got.toFixed(2)}`);
    }
  };
  for (const element of document.body.querySelectorAll("*")) {
    const style = getComputedStyle(element);
    if (element.closest("svg") || !element.checkVisibility() || element.closest("[role=status]")) {
      continue;
    }
    if ([...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim())) {
      const size = parseFloat(style.fontSize);
      const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
      judge(element, style.color, large ? 3 : 4.5, "text");
    }
    if (element.tagName === "INPUT") {
      judge(element, style.color, 4.5, "value");
      judge(element, getComputedStyle(element, "::placeholder").color, 4.5, "placeholder");
      judge(element.parentElement, style.borderTopColor, 3, "border");
    }
  }
  return found;
};
