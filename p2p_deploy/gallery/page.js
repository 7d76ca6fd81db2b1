"use strict";
const at = id => document.getElementById(id);
const dialog = document.querySelector("dialog");
const cards = [...document.querySelectorAll(".grid button")];
const frame = at("frame"), slider = at("slider");
let current = 0;

function slide(percent) {
  percent = Math.min(100, Math.max(0, percent));
  slider.value = percent;
  slider.setAttribute("aria-valuetext", Math.round(percent) + " % before");
  frame.style.setProperty("--at", percent + "%");
  at("left").classList.toggle("gone", percent < 12);
  at("right").classList.toggle("gone", percent > 88);
}

function show(index) {
  current = (index + cards.length) % cards.length;
  const card = cards[current], { before, after, width, height, notes } = card.dataset;
  const caption = card.closest("figure").querySelector("figcaption");
  at("name").textContent = caption.querySelector("b").textContent;
  at("facts").textContent = caption.querySelector("span").textContent;
  at("notes").textContent = notes;
  at("place").textContent = current + 1 + " / " + cards.length;
  frame.style.setProperty("--ratio", width / height);
  frame.classList.toggle("single", !before);
  frame.classList.toggle("small", width <= 128 && height <= 128);
  frame.classList.toggle("flat", width > 6 * height);
  frame.classList.toggle("thin", height > 6 * width);
  slider.disabled = !before;
  if (before) at("before").src = before;
  else at("before").removeAttribute("src");
  at("after").src = after;
  slide(before ? 50 : 0);
}

function step(by) {
  if (cards.length > 1) show(current + by);
}

cards.forEach((card, index) => card.addEventListener("click", () => {
  show(index);
  dialog.showModal();
  slider.focus({ focusVisible: false });
}));
at("previous").addEventListener("click", () => step(-1));
at("next").addEventListener("click", () => step(1));
at("close").addEventListener("click", () => dialog.close());
dialog.addEventListener("close", () => cards[current].focus());
slider.addEventListener("input", () => slide(slider.valueAsNumber));
document.addEventListener("keydown", event => {
  if (!dialog.open || event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.length > 1 ? event.key : event.key.toLowerCase();
  const pairs = { n: 1, PageDown: 1, p: -1, PageUp: -1 }[key], percent = { ArrowLeft: -1, ArrowRight: 1 }[key];
  if (pairs) {
    event.preventDefault();
    step(pairs);
  } else if (percent && !slider.disabled && event.target !== slider) {
    slide(slider.valueAsNumber + percent);
  }
});

function follow(event) {
  const box = frame.getBoundingClientRect();
  slide(100 * (event.clientX - box.left) / box.width);
}
frame.addEventListener("pointerdown", event => {
  if (slider.disabled || event.button || !event.isPrimary) return;
  event.preventDefault();
  frame.setPointerCapture(event.pointerId);
  slider.focus({ preventScroll: true, focusVisible: false });
  follow(event);
});
frame.addEventListener("pointermove", event => {
  if (frame.hasPointerCapture(event.pointerId)) follow(event);
});
