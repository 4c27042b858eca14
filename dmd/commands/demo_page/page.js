// The page: what is shown, the address that names it, and the walk.

import { between, drawNoise } from "./noise.js";

const MODELS = ["student", "teacher", "before"];
const FIRST_SEED = 1;
const SEEDS = 1e6; // new noises are taken below it, so that links stay short
const LEG = 2500; // milliseconds from one noise to the next on the walk

const find = id => document.getElementById(id);
const worker = new Worker("worker.js", { type: "module" });
const waiting = {}; // by model: what to do with the answer to its newest request
let facts, shown, walk = null, requests = 0;

worker.onerror = event => tell(event.message || "worker.js cannot be loaded");
worker.onmessage = ({ data }) => {
  if (data.trouble) tell(data.trouble);
  else if (data.facts) start(data.facts);
  else if (waiting[data.model]?.number === data.number) waiting[data.model].resolve(data);
};

function tell(trouble) {
  find("trouble").hidden = false;
  find("trouble").textContent =
    `The networks cannot be run: ${trouble}. The folder must be whole (dmd demo build) and served by http, not opened as a file.`;
}

function start(found) {
  facts = found;
  document.title = `One call: ${facts.system}`;
  for (const model of MODELS) {
    const canvas = find(model).querySelector("canvas");
    [, canvas.height, canvas.width] = facts.shape;
  }
  find("calls").max = facts.teacher.timesteps.length;
  find("classes").hidden = facts.classes === null;
  for (let label = 0; label < (facts.classes ?? 0); label++) {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", textContent: label, onclick: () => show({ label }) });
    find("classes").append(button);
  }
  find("noise").onclick = () => show({ seed: newSeed() });
  find("walk").onclick = () => (walk ? stopWalk() : startWalk());
  find("calls").oninput = event => show({ calls: event.target.valueAsNumber });
  onkeydown = event => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "n" || event.key === "w") find({ n: "noise", w: "walk" }[event.key]).click();
    if (/^\d$/.test(event.key)) find("classes").querySelectorAll("button")[event.key]?.click();
  };
  onhashchange = () => show(read(location.hash));
  show(read(location.hash));
}

/** What `#seed=7&label=3` names; what it leaves out or spoils is as at first. */
function read(hash) {
  const words = new URLSearchParams(hash.slice(1));
  const number = (name, low, high, usual) => {
    const value = Number(words.get(name) ?? NaN);
    return Number.isInteger(value) && low <= value && value <= high ? value : usual;
  };
  return {
    seed: number("seed", 0, 2 ** 32 - 1, FIRST_SEED),
    label: number("label", 0, (facts.classes ?? 1) - 1, 0),
    calls: number("calls", 1, facts.teacher.timesteps.length, facts.teacher.calls),
  };
}

function link({ seed, label, calls }) {
  const words = new URLSearchParams({ seed });
  if (facts.classes !== null) words.set("label", label);
  if (calls !== facts.teacher.calls) words.set("calls", calls);
  return `#${words}`;
}

const newSeed = () => crypto.getRandomValues(new Uint32Array(1))[0] % SEEDS;

/** Stream 0 of a seed is z, stream k the noise of a further step of the student. */
const noiseOf = (seed, stream) => drawNoise(seed, stream, facts.shape.reduce((a, b) => a * b));

/** Take a change of seed, label or calls, and draw what it changes. */
function show(change) {
  const all = shown === undefined || "seed" in change || "label" in change;
  shown = { ...shown, ...change };
  history.replaceState(null, "", link(shown));
  find("calls").value = find("number").value = shown.calls;
  find("classes").querySelectorAll("button").forEach((button, label) => button.setAttribute("aria-pressed", label === shown.label));
  if (walk && "seed" in change) walk.legs = newLegs();
  if (walk) return;
  for (const model of all ? MODELS : ["teacher"]) picture(model, noiseOf(shown.seed, 0)).then(compare);
}

/** Ask for a model's picture of `z`, and draw it; `pace` is a line more to say. */
async function picture(model, z, pace = "") {
  const number = ++requests;
  const { label, calls, seed } = shown;
  const eps = facts.later.map((_, k) => noiseOf(seed, k + 1));
  const figure = find(model);
  figure.milliseconds = null;
  figure.ariaBusy = walk === null;
  const answer = await new Promise(resolve => {
    waiting[model] = { number, resolve };
    worker.postMessage({ model, number, z, eps, label, calls });
  });
  const count = model === "teacher" ? calls : 1 + facts.later.length;
  figure.ariaBusy = false;
  figure.image = answer.image; // for whoever asks in the console
  figure.milliseconds = answer.milliseconds;
  paint(figure.querySelector("canvas"), answer.image);
  figure.querySelector("canvas").ariaLabel = `${model}${facts.classes === null ? "" : `, class ${label}`}`;
  figure.querySelector(".calls").textContent = `${count} ${count === 1 ? "call" : "calls"}`;
  figure.querySelector("output").value = `${answer.milliseconds.toFixed(1)} ms\n${pace}`;
}

/** [C, H, W] in [-1, 1], one channel or three, onto a canvas of H by W. */
function paint(canvas, image) {
  const { width, height } = canvas, size = width * height;
  const pixels = new ImageData(width, height);
  for (let i = 0; i < size; i++) {
    for (let c = 0; c < 3; c++) pixels.data[4 * i + c] = 127.5 * (1 + image[image.length === size ? i : c * size + i]);
    pixels.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}

function compare() {
  const [student, teacher] = ["student", "teacher"].map(model => find(model).milliseconds);
  if (student && teacher) find("ratio").textContent = `The teacher took ${(teacher / student).toFixed(1)} times as long.`;
}

const newLegs = () => ({ since: performance.now(), from: noiseOf(shown.seed, 0), seed: newSeed(), to: null });

function startWalk() {
  walk = { legs: newLegs() };
  find("ratio").textContent = "\u00a0";
  find("walk").setAttribute("aria-pressed", true);
  MODELS.forEach(follow);
}

/** Ends at the noise that it was on the way to, which has a name. */
function stopWalk() {
  const { seed } = walk.legs;
  walk = null;
  find("walk").setAttribute("aria-pressed", false);
  show({ seed });
}

/** Where the walk is now. */
function position() {
  let { legs } = walk;
  if (performance.now() - legs.since >= LEG && legs.to) {
    shown = { ...shown, seed: legs.seed };
    history.replaceState(null, "", link(shown));
    legs = walk.legs = { ...newLegs(), from: legs.to };
  }
  legs.to ??= noiseOf(legs.seed, 0);
  return between(legs.from, legs.to, Math.min(1, (performance.now() - legs.since) / LEG));
}

/** Draw one model's pictures along the walk, each when the one before is there. */
async function follow(model) {
  const mine = walk;
  let last = performance.now(), each = null; // milliseconds from one picture to the next, a running mean
  while (walk === mine) {
    await picture(model, position(), each === null ? "" : `${(1000 / each).toFixed(1)} a second`);
    await new Promise(requestAnimationFrame);
    const now = performance.now();
    each = each === null ? now - last : 0.9 * each + 0.1 * (now - last);
    last = now;
  }
}
