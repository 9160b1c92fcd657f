// What an eye or a thumb would complain of on the page as it is shown.
() => {
  const channels = (color) => color.match(/[\d.]+/g).map(Number);
  const linear = (value) => (value / 255 <= 0.04045 ? value / 3294.6 : ((value / 255 + 0.055) / 1.055) ** 2.4);
  const luminance = ([red, green, blue]) => 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
  const contrast = (one, other) => {
    const [dark, light] = [luminance(one), luminance(other)].sort((first, second) => first - second);
    return (light + 0.05) / (dark + 0.05);
  };
  const ground = (element) => {
    const color = channels(getComputedStyle(element).backgroundColor);
    const opaque = color.length === 3 || color[3] === 1;
    if (opaque) {
      return color;
    }
    return element.parentElement ? ground(element.parentElement) : [255, 255, 255];
  };
  const complaints = [];
  for (const element of document.body.querySelectorAll("*:not(svg, svg *)")) {
    const style = getComputedStyle(element);
    const name = `${element.localName}.${element.className}`;
    const speaks = [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
    if (speaks && element.checkVisibility()) {
      const pixels = parseFloat(style.fontSize);
      const needed = pixels >= 24 ? 3 : 4.5;
      if (contrast(channels(style.color), ground(element)) < needed) {
        complaints.push(`faint: ${name}`);
      }
      if (pixels < 13) {
        complaints.push(`small: ${name}`);
      }
    }
    const alone = element.matches("button, summary, .links a, a.pay");
    if (alone && element.getBoundingClientRect().height < 44) {
      complaints.push(`hard to hit: ${name}`);
    }
  }
  if (document.documentElement.scrollWidth > document.documentElement.clientWidth) {
    complaints.push("scrolls sideways");
  }
  return complaints;
};
