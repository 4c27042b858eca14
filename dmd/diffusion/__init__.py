"""The mathematics: schedule, parametrization, denoiser, guidance, sampler, one-step generator, random numbers.

Tensors in, tensors out: no files, no params, no devices.
"""
