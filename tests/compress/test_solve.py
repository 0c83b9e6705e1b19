"""Identities of the solvers: optimality, exact recovery, reductions to one another, and the ranking of the methods."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jsep.compress import solve
from jsep.compress.moments import Accumulator

C, K, M, N = 5, 9, 7, 4000


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def _problem(seed=0, mixed=True):
    """Windows with correlated taps (and channels, if `mixed`), a kernel, and the moments."""
    rng = np.random.default_rng(seed)
    taps = np.linalg.cholesky(0.7 ** np.abs(np.arange(K)[:, None] - np.arange(K)))
    x = rng.normal(size=(N, C, K)) @ taps.T
    if mixed:
        x = np.einsum("nck,cd->ndk", x, rng.normal(size=(C, C)) + np.eye(C))
    x = np.maximum(x + 0.2, 0).reshape(N, C * K) if mixed else x.reshape(N, C * K)
    kernel = rng.normal(size=(C, K, M))
    return x, kernel, _moments(x, x @ kernel.reshape(-1, M))


def _moments(x, y):
    accumulator = Accumulator()
    for part in range(0, len(x), 1500):  # streamed, in unequal batches
        accumulator.add(x[part : part + 1500], y[part : part + 1500])
    return accumulator.moments()


def _error(kernel, moments):
    return float(solve.error(jnp.asarray(kernel).reshape(-1, M), moments.gram, moments.cross, moments.total))


def _sample_error(kernel, x, y):
    """The error with the best bias, computed from the samples themselves."""
    off = y - x @ np.asarray(kernel).reshape(-1, M)
    return float(np.sqrt(((off - off.mean(0)) ** 2).sum() / ((y - y.mean(0)) ** 2).sum()))


def test_errors_of_moments_are_those_of_samples():
    x, kernel, moments = _problem()
    other = kernel + np.random.default_rng(1).normal(size=kernel.shape)
    assert _error(other, moments) == pytest.approx(_sample_error(other, x, x @ kernel.reshape(-1, M)), rel=1e-8)
    assert moments.samples == N
    np.testing.assert_allclose(moments.x_mean, x.mean(0), rtol=1e-10)


def test_d_is_the_kernel_times_p_and_no_alternation_improves_it():
    _, kernel, moments = _problem()
    d, p = solve.data(jnp.asarray(kernel), jnp.asarray(moments.gram))
    np.testing.assert_allclose(d, np.einsum("ckm,cm->ck", kernel, p), atol=1e-10)
    own = np.einsum("ckcl->ckl", moments.gram.reshape(C, K, C, K))

    def loss(d, p, i):
        off = kernel[i] - np.outer(d, p)
        return np.trace(off.T @ own[i] @ off)

    rng = np.random.default_rng(3)
    for i in range(C):
        least = loss(np.asarray(d[i]), np.asarray(p[i]), i)
        for _ in range(20):  # alternating least squares from a random start
            a, q = rng.normal(size=K), rng.normal(size=M)
            for _ in range(60):
                a = kernel[i] @ q / (q @ q)
                q = kernel[i].T @ own[i] @ a / (a @ own[i] @ a)
            assert loss(a, q, i) >= least * (1 - 1e-9)


def test_the_error_of_a_channel_is_what_its_other_singular_values_hold():
    _, kernel, moments = _problem()
    d, p = solve.data(jnp.asarray(kernel), jnp.asarray(moments.gram))
    own = np.einsum("ckcl->ckl", moments.gram.reshape(C, K, C, K))
    for i in range(C):
        root = np.linalg.cholesky(own[i])
        values = np.linalg.svd(root.T @ kernel[i], compute_uv=False)
        off = kernel[i] - np.outer(d[i], p[i])
        assert np.trace(off.T @ own[i] @ off) == pytest.approx((values[1:] ** 2).sum())


def test_weights_alone_are_the_best_of_rank_one_in_equal_parts():
    _, kernel, _ = _problem()
    d, p = solve.svd(jnp.asarray(kernel))
    for i in range(C):
        u, s, v = np.linalg.svd(kernel[i], full_matrices=False)
        np.testing.assert_allclose(np.outer(d[i], p[i]), s[0] * np.outer(u[:, 0], v[0]), atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(d, axis=1), np.linalg.norm(p, axis=1))
    assert (np.asarray(d).sum(1) >= 0).all()


def test_compensation_is_the_data_method_where_channels_are_uncorrelated():
    _, kernel, moments = _problem()
    blocks = np.einsum("ckcl->ckl", moments.gram.reshape(C, K, C, K))
    gram = np.einsum("ckl,cd->ckdl", blocks, np.eye(C)).reshape(C * K, C * K)
    cross = gram @ kernel.reshape(-1, M)
    kernel = jnp.asarray(kernel)
    expected = solve.data(kernel, gram).kernel
    np.testing.assert_allclose(solve.comp(kernel, jnp.asarray(gram), jnp.asarray(cross)).kernel, expected, atol=1e-6)
    white = jnp.eye(C * K)
    found = solve.comp(kernel, white, white @ kernel.reshape(-1, M)).kernel
    np.testing.assert_allclose(found, solve.svd(kernel).kernel, atol=1e-6)


def test_a_separable_layer_is_found_exactly_by_every_method():
    x, _, _ = _problem()
    rng = np.random.default_rng(5)
    exact = rng.normal(size=(C, K, 1)) * rng.normal(size=(C, 1, M))
    moments = _moments(x, x @ exact.reshape(-1, M))
    w, gram, cross = jnp.asarray(exact), jnp.asarray(moments.gram), jnp.asarray(moments.cross)
    for found in (solve.svd(w), solve.data(w, gram), solve.comp(w, gram, cross, 2), solve.als(w, gram, cross)):
        np.testing.assert_allclose(found.kernel, exact, atol=1e-3)  # up to the ridge


def test_sweeps_and_refits_never_raise_the_error():
    _, kernel, moments = _problem()
    w, gram, cross = jnp.asarray(kernel), jnp.asarray(moments.gram), jnp.asarray(moments.cross)
    errors = [_error(solve.comp(w, gram, cross, sweeps).kernel, moments) for sweeps in (1, 2, 3, 6)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] < _error(solve.data(w, gram).kernel, moments)
    found = solve.comp(w, gram, cross, 1)
    refitted = solve.Separable(found.d, solve.refit_pointwise(found.d, gram, cross))
    assert _error(refitted.kernel, moments) <= errors[0]
    assert _error(solve.als(w, gram, cross).kernel, moments) <= _error(refitted.kernel, moments)


@pytest.mark.parametrize("rank", [1, 3, M])
def test_channel_decomposition_is_the_projection_on_the_leading_responses(rank):
    x, kernel, moments = _problem()
    first, second = solve.channel(jnp.asarray(moments.gram), jnp.asarray(moments.cross), C, rank)
    y = x @ kernel.reshape(-1, M)
    _, vectors = np.linalg.eigh(np.cov(y.T))
    leading = vectors[:, M - rank :]
    expected = kernel.reshape(-1, M) @ leading @ leading.T  # symmetric: the input is that of the original network
    np.testing.assert_allclose(np.asarray(first).reshape(-1, rank) @ np.asarray(second), expected, atol=1e-3)
    by_weights = solve.channel_svd(jnp.asarray(kernel), rank)
    assert _error(first @ second, moments) <= _error(by_weights[0] @ by_weights[1], moments) + 1e-4


def test_spatial_decomposition_is_exact_at_full_rank_and_refitted_below():
    _, kernel, moments = _problem()
    w = jnp.asarray(kernel).reshape(C, 3, 3, M)
    gram, cross = jnp.asarray(moments.gram), jnp.asarray(moments.cross)

    def error(rank):
        columns, rows = solve.spatial(w, gram, cross, rank)
        return _error(jnp.einsum("chr,rwm->chwm", columns, rows), moments)

    errors = [error(rank) for rank in (2, 5, 15)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-3
    u, s, v = np.linalg.svd(kernel.reshape(C * 3, 3 * M), full_matrices=False)
    assert errors[0] < _error((u[:, :2] * s[:2]) @ v[:2], moments)


def test_the_refit_behind_a_relu_lowers_the_true_loss():
    x, kernel, moments = _problem()
    w, gram, cross = jnp.asarray(kernel), jnp.asarray(moments.gram), jnp.asarray(moments.cross)
    found = solve.comp(w, gram, cross)
    y = x @ kernel.reshape(-1, M)
    z = np.einsum("nck,ck->nc", x.reshape(N, C, K), found.d)
    bias = jnp.asarray(y.mean(0) - (z @ np.asarray(found.p)).mean(0))
    p, shift = solve.relu_refit(jnp.asarray(z), jnp.asarray(y), found.p, bias)

    def loss(p, bias):
        return float(((np.maximum(y, 0) - np.maximum(z @ np.asarray(p) + np.asarray(bias), 0)) ** 2).sum())

    least_squares = solve.refit_pointwise(found.d, gram, cross)
    shifted = y.mean(0) - (z @ np.asarray(least_squares)).mean(0)
    assert loss(p, shift) < 0.99 * min(loss(found.p, bias), loss(least_squares, shifted))


def test_a_channel_that_never_speaks_harms_nothing():
    x, kernel, _ = _problem()
    x = x.reshape(N, C, K).copy()
    x[:, 2] = 0
    x = x.reshape(N, -1)
    moments = _moments(x, x @ kernel.reshape(-1, M))
    w, gram, cross = jnp.asarray(kernel), jnp.asarray(moments.gram), jnp.asarray(moments.cross)
    for found in (solve.data(w, gram), solve.comp(w, gram, cross, 3), solve.als(w, gram, cross)):
        assert np.isfinite(found.kernel).all()
        assert _error(found.kernel, moments) < 1


def test_on_correlated_data_the_methods_stand_in_their_order():
    """Channel decomposition, each channel's data, compensation; C = M = 32, ReLU of mixed 1/f fields."""
    width, rng = 32, np.random.default_rng(0)
    mix = np.linalg.qr(rng.normal(size=(width, width)))[0] * np.arange(1, width + 1) ** -0.5
    mix = mix @ np.linalg.qr(rng.normal(size=(width, width)))[0]

    def windows(images):
        size = 16
        spectrum = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size))
        spectrum[0, 0] = np.inf
        fields = np.fft.fft2(rng.normal(size=(images, size, size, width)), axes=(1, 2)) / spectrum[..., None]
        fields = np.maximum(np.fft.ifft2(fields, axes=(1, 2)).real @ mix, 0)
        at = rng.integers(0, size - 2, (images, 10, 2))
        cut = [fields[n, a : a + 3, b : b + 3].reshape(9, width).T for n in range(images) for a, b in at[n]]
        return np.stack(cut).reshape(images * 10, -1)

    kernel = rng.normal(size=(width, 9, width))
    flat = kernel.reshape(-1, width)
    fit, held_out = (Accumulator(), Accumulator())
    for accumulator, images in ((fit, 600), (held_out, 300)):
        x = windows(images)
        accumulator.add(x, x @ flat)
    fit, test = fit.moments(), held_out.moments()
    w, gram, cross = jnp.asarray(kernel), jnp.asarray(fit.gram), jnp.asarray(fit.cross)

    def error(kernel):
        held_out = map(jnp.asarray, (test.gram, test.cross, test.total))
        return float(solve.error(kernel.reshape(-1, width), *held_out))

    first, second = solve.channel(gram, cross, width, solve.rank_at_equal_cost("channel", width, 9, width, (3, 3)))
    channel, data, comp = (
        error(found) for found in (first @ second, solve.data(w, gram).kernel, solve.comp(w, gram, cross).kernel)
    )
    assert channel - data >= 0.05
    assert data - comp >= 0.005
