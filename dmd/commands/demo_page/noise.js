// Noise that a link can name: the same numbers, to the bit, in every browser.
//
// Bits are those of Philox4x32-10 (Salmon et al., SC 2011), keyed by seed and stream; Marsaglia's polar method makes
// normal numbers of them. Only +, -, *, / and the square root are used, which every processor rounds alike; `Math.log`
// is not among them.

const MULTIPLIERS = [0xd2511f53n, 0xcd9e8d57n];
const WEYL = [0x9e3779b9, 0xbb67ae85];
const ROUNDS = 10;
const SERIES = 12; // terms of the logarithm: the next is below 2^-60

/** Four words of 32 bits, from a counter of four and a key of two. */
export function philox(counter, key) {
  let [a, b, c, d] = counter;
  let [k, l] = key;
  for (let round = 0; round < ROUNDS; round++) {
    const [first, second] = [BigInt(a) * MULTIPLIERS[0], BigInt(c) * MULTIPLIERS[1]];
    const high = product => Number(product >> 32n);
    const low = product => Number(product & 0xffffffffn);
    [a, b, c, d] = [(high(second) ^ b ^ k) >>> 0, low(second), (high(first) ^ d ^ l) >>> 0, low(first)];
    [k, l] = [(k + WEYL[0]) >>> 0, (l + WEYL[1]) >>> 0];
  }
  return [a, b, c, d];
}

/** The natural logarithm of 0 < x <= 1: x = m 2^-k, and log m = 2 artanh((m - 1) / (m + 1)). */
export function logarithm(x) {
  let halvings = 0;
  for (; x < Math.SQRT1_2; halvings++) x *= 2;
  const w = (x - 1) / (x + 1);
  let sum = 0;
  for (let k = SERIES; k >= 0; k--) sum = sum * w * w + 1 / (2 * k + 1);
  return 2 * w * sum - halvings * Math.LN2;
}

/** `count` numbers of N(0, 1); seed and stream are whole numbers below 2^32. */
export function drawNoise(seed, stream, count) {
  const noise = new Float32Array(count);
  let [filled, block] = [0, 0];
  while (filled < count) {
    const words = philox([block++, 0, 0, 0], [seed, stream]).map(word => (word + 0.5) / 2 ** 31 - 1);
    for (const [u, v] of [words.slice(0, 2), words.slice(2)]) {
      const s = u * u + v * v;
      if (s >= 1) continue;
      const radius = Math.sqrt((-2 * logarithm(s)) / s);
      for (const value of [u * radius, v * radius]) if (filled < count) noise[filled++] = value;
    }
  }
  return noise;
}

/** The point at `share` of the great circle from `a` to `b`: as noisy as both are, where a straight line is not. */
export function between(a, b, share) {
  const dot = (x, y) => x.reduce((sum, value, i) => sum + value * y[i], 0);
  const angle = Math.acos(Math.min(1, Math.max(-1, dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b)))));
  if (Math.sin(angle) < 1e-6) return a;
  const [left, right] = [Math.sin((1 - share) * angle), Math.sin(share * angle)].map(part => part / Math.sin(angle));
  return a.map((value, i) => left * value + right * b[i]);
}
