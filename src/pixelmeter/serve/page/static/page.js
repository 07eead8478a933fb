// Draws tables of the page as charts, and asks again for its figures. The page is whole without it.

import { drawAll } from "./charts.js";
import { keepAsking } from "./live.js";

// A filter that is left empty has no place in the address.
for (const form of document.querySelectorAll("form[method=get]")) {
  form.addEventListener("formdata", ({ formData }) => {
    for (const [name, value] of [...formData]) if (value === "") formData.delete(name);
  });
}

const drawn = drawAll();
keepAsking();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll(true));
// On paper charts are in the colours of the light page.
for (const [event, isPaper] of [["beforeprint", true], ["afterprint", false]]) {
  addEventListener(event, () => {
    document.documentElement.toggleAttribute("data-paper", isPaper);
    drawAll(true);
  });
}
performance.mark("drawn");
document.documentElement.dataset.drawn = String(drawn);
