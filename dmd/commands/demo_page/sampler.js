// DDIM (Song et al. 2021, eq. 12, without noise): from z to an image in a number of calls of a denoiser.

/**
 * `denoise(x, t)` gives x0. `schedule` has the tables `alpha` and `sigma`, of each number of calls its `timesteps`, and
 * `clip`, the bound of x0 or null. From each timestep one goes on to the one that follows; after the last there is no
 * noise.
 */
export async function ddim(denoise, z, schedule, calls) {
  const timesteps = schedule.timesteps[calls - 1];
  let x = z;
  for (const [step, t] of timesteps.entries()) {
    const x0 = await denoise(x, t);
    const [alpha, sigma, next] = [schedule.alpha[t], schedule.sigma[t], timesteps[step + 1]];
    const [alphaNext, sigmaNext] = next === undefined ? [1, 0] : [schedule.alpha[next], schedule.sigma[next]];
    x = x.map((value, i) => {
      const eps = (value - alpha * x0[i]) / sigma;
      const clean = schedule.clip === null ? x0[i] : Math.min(schedule.clip, Math.max(-schedule.clip, x0[i]));
      return alphaNext * clean + sigmaNext * eps;
    });
  }
  return x;
}
