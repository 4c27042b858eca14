// The networks, off the page's thread. Takes { model, number, z, eps, label, calls }, answers { model, number, image, milliseconds }.
// A request of a model takes the place of the one before: the teacher, which yields after each call, then gives up.

import * as ort from "./runtime/ort.wasm.bundle.min.mjs";
import { ddim } from "./sampler.js";

ort.env.wasm.numThreads = 1; // more need headers that a plain file server does not send
ort.env.wasm.wasmPaths = { wasm: new URL("./runtime/ort-wasm-simd-threaded.wasm", import.meta.url).href };

const sessions = {};
const newest = {};
let system;

async function load() {
  system = await (await fetch("system.json")).json();
  for (const model of ["student", "before", "teacher"]) {
    const bytes = await fetch(`${model}.onnx`);
    if (!bytes.ok) throw new Error(`${model}.onnx: ${bytes.status}`);
    sessions[model] = await ort.InferenceSession.create(new Uint8Array(await bytes.arrayBuffer()));
    const zeros = new Float32Array(system.shape.reduce((a, b) => a * b));
    await draw(model, { z: zeros, eps: system.later.map(() => zeros), label: 0, calls: 1 }, () => {}); // the first call is slow
  }
  return system;
}

/** The image, and the milliseconds of its calls; null once `onwards` throws it away. */
async function draw(model, { z, eps, label, calls }, onwards) {
  let milliseconds = 0;
  const images = values => new ort.Tensor("float32", values, [1, ...system.shape]);
  const whole = value => new ort.Tensor("int64", [BigInt(value)], [1]);
  const labels = system.classes === null ? {} : { labels: whole(label) };
  const call = async inputs => {
    const start = performance.now();
    const outputs = await sessions[model].run({ ...inputs, ...labels });
    milliseconds += performance.now() - start;
    return outputs.images.data;
  };
  if (model !== "teacher") {
    const later = Object.fromEntries(eps.map((noise, k) => [`eps_${k + 1}`, images(noise)]));
    return { image: await call({ z: images(z), ...later }), milliseconds };
  }
  const denoise = async (x, t) => {
    await onwards();
    return call({ x_t: images(x), t: whole(t) });
  };
  return { image: await ddim(denoise, z, system.teacher, calls), milliseconds };
}

/** Lets other messages in. */
function turn() {
  return new Promise(resolve => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}

const loaded = load();
loaded.then(facts => postMessage({ facts }), error => postMessage({ trouble: String(error) }));

onmessage = async ({ data }) => {
  const { model, number } = data;
  newest[model] = number;
  const stale = Symbol();
  try {
    await loaded;
    const onwards = async () => {
      await turn();
      if (newest[model] !== number) throw stale;
    };
    postMessage({ model, number, ...(await draw(model, data, onwards)) });
  } catch (error) {
    if (error !== stale) postMessage({ trouble: String(error) });
  }
};
