"""Where the course's slides slip: each slide's form is wrong, ours is right.

The list is in docs/mathematics.md#9-where-the-slides-slip.

The judge is central differences of a forward pass that the slides have right, or counting. The
slides' forms stand here as plain functions, in their order of terms; arrays are channels last, and
K(i, j) with i, j from −d to d is ``K[d + i, d + j]``, input channels × output channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from sumgrad.layers import Affine, Convolution, MaxPool, Network
from sumgrad.layers.base.arrays import Array
from sumgrad.layers.base.layer import Layer
from sumgrad.layers.derivatives.jacobians import central_differences

HEIGHT, WIDTH, INPUTS, OUTPUTS = 6, 12, 2, 3

STRIDES = [(2, 1), (2, 2), (3, 1), (3, 2)]
"""(s, d). The height and the width are divisible by every s."""


def drawn(s: int, d: int) -> tuple[Array, Array, Array]:
    """X, K and δY of a convolution with padding d."""
    rng = np.random.default_rng(10 * s + d)
    return (
        rng.standard_normal((HEIGHT, WIDTH, INPUTS)),
        rng.standard_normal((2 * d + 1, 2 * d + 1, INPUTS, OUTPUTS)),
        rng.standard_normal((HEIGHT // s, WIDTH // s, OUTPUTS)),
    )


def at(X: Array, u: int, v: int) -> Array:
    """The channels at a position, 0 outside the image."""
    inside = 0 <= u < X.shape[0] and 0 <= v < X.shape[1]
    return X[u, v] if inside else np.zeros(X.shape[2])


def positions(X: Array) -> Iterator[tuple[int, int]]:
    return np.ndindex(*X.shape[:2])


def taps(K: Array) -> Iterator[tuple[int, int, Array]]:
    """(i, j, K(i, j))."""
    d = len(K) // 2
    for i in range(-d, d + 1):
        for j in range(-d, d + 1):
            yield i, j, K[d + i, d + j]


def convolved(X: Array, K: Array, s: int = 1) -> Array:
    """Slide "Feed forward with stride", which is right: Y_{u',v'} = Σ K(i,j) X_{u's+i,v's+j}."""
    d = len(K) // 2
    height, width, _ = X.shape
    framed = np.pad(X, ((d, d), (d, d), (0, 0)))
    Y = np.zeros((height // s, width // s, K.shape[3]))
    for i, j, tap in taps(K):
        Y += framed[d + i : d + i + height : s, d + j : d + j + width : s] @ tap
    return Y


def by_differences(forward: Callable[[Array], Array], point: Array, dY: Array) -> Array:
    """The feedback at ``point`` of l = Σ δY ⊙ forward, by central differences."""

    def loss(moved: Array) -> Array:
        return np.array([np.vdot(dY, forward(moved))])

    return central_differences(loss, point).reshape(point.shape)


def by_layer(layer: Layer, X: Array, dY: Array, **params: Array) -> tuple[Array, Array, Array]:
    """Y, δX and dK of a layer of ours for one sample."""
    Y, backward = layer.forward(params, X[np.newaxis])
    grads = {name: np.empty_like(value) for name, value in params.items()}
    dX = backward(dY[np.newaxis], grads)
    assert dX is not None
    return Y[0], dX[0], grads.get("K", np.empty(0))


def convolution(s: int, d: int, p: int) -> Convolution:
    return Convolution(OUTPUTS, kernel=2 * d + 1, stride=s, padding=p, bias="none")


def assert_same(found: Array, expected: Array) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-7)


def assert_differs(found: Array, expected: Array) -> None:
    """By more than a tenth of the largest element, so not by rounding."""
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() > 0.1 * np.abs(expected).max()


# --- 1: the size of the Affine map ----------------------------------------------------------------


def test_the_affine_map_between_images_has_849_billion_parameters_and_not_85() -> None:
    """Slide "why convolution": "849347481600 ≈ 85 billion"."""
    image = (480, 640, 3)
    parameters = Network((Affine(480 * 640 * 3),), image).size
    assert parameters == 849_347_481_600
    assert round(parameters / 1e9) == 849
    assert Network((Convolution(3, 5, padding=2, bias="position"),), image).size == 921_825


# --- 2: the feedback through a stride -------------------------------------------------------------


def floor_feedback(dY: Array, K: Array, s: int) -> Array:
    """Slide "BP" under stride: δX_{u,v} = Σ K(i,j) δY_{⌊(u−i)/s⌋,⌊(v−j)/s⌋}."""
    dX = np.zeros((dY.shape[0] * s, dY.shape[1] * s, K.shape[2]))
    for u, v in positions(dX):
        for i, j, tap in taps(K):
            dX[u, v] += tap @ at(dY, (u - i) // s, (v - j) // s)
    return dX


def kronecker_feedback(dY: Array, K: Array, s: int) -> Array:
    """Slide "BP with stride": K̃ ⋆ (δY ⊗ 1·1ᵀ), every value repeated over an s × s block."""
    return convolved(np.kron(dY, np.ones((s, s, 1))), mirrored(K))


def dilated_feedback(dY: Array, K: Array, s: int) -> Array:
    """What is right: K̃ ⋆ δY with s − 1 zeros between values, so only where s divides u − i."""
    dilated = np.zeros((dY.shape[0] * s, dY.shape[1] * s, dY.shape[2]))
    dilated[::s, ::s] = dY
    return convolved(dilated, mirrored(K))


def mirrored(K: Array) -> Array:
    """K̃(i, j)_{c'}^{c} = K(−i, −j)_c^{c'}."""
    return K[::-1, ::-1].swapaxes(2, 3)


@pytest.mark.parametrize(("s", "d"), STRIDES)
def test_feedback_through_a_stride_is_dilated_and_not_repeated(s: int, d: int) -> None:
    X, K, dY = drawn(s, d)
    expected = by_differences(lambda moved: convolved(moved, K, s), X, dY)
    assert_differs(floor_feedback(dY, K, s), expected)
    assert_differs(kronecker_feedback(dY, K, s), expected)
    assert_same(dilated_feedback(dY, K, s), expected)
    Y, dX, _ = by_layer(convolution(s, d, p=d), X, dY, K=K)
    assert_same(Y, convolved(X, K, s))
    assert_same(dX, expected)


def test_the_slides_feedback_counts_every_value_s_times_s_times() -> None:
    s, d = 2, 1
    K = np.ones((2 * d + 1, 2 * d + 1, 1, 1))
    dY = np.zeros((6, 6, 1))
    dY[3, 3] = 1
    assert dilated_feedback(dY, K, s).sum() == K.size
    assert floor_feedback(dY, K, s).sum() == s * s * K.size
    assert kronecker_feedback(dY, K, s).sum() == s * s * K.size


# --- 3: the kernel's gradient under a stride ------------------------------------------------------


def kernel_gradient(dY: Array, X: Array, s: int, d: int) -> Array:
    """Slide "dK with stride s", first form: Σ δY_{u',v'} X_{i'+u's,j'+v's}."""
    dK = np.zeros((2 * d + 1, 2 * d + 1, X.shape[2], dY.shape[2]))
    for u, v in positions(dY):
        for i, j, gradient in taps(dK):
            gradient += np.outer(at(X, i + u * s, j + v * s), dY[u, v])
    return dK


def floor_kernel_gradient(dY: Array, X: Array, s: int, d: int) -> Array:
    """The same slide, second form: Σ X_{i,j} δY_{⌊(i−i')/s⌋,⌊(j−j')/s⌋}."""
    dK = np.zeros((2 * d + 1, 2 * d + 1, X.shape[2], dY.shape[2]))
    for u, v in positions(X):
        for i, j, gradient in taps(dK):
            gradient += np.outer(X[u, v], at(dY, (u - i) // s, (v - j) // s))
    return dK


@pytest.mark.parametrize(("s", "d"), STRIDES)
def test_the_kernel_gradient_under_a_stride_takes_every_s_th_input(s: int, d: int) -> None:
    X, K, dY = drawn(s, d)
    expected = by_differences(lambda moved: convolved(X, moved, s), K, dY)
    assert_differs(floor_kernel_gradient(dY, X, s, d), expected)
    assert_same(kernel_gradient(dY, X, s, d), expected)
    assert_same(by_layer(convolution(s, d, p=d), X, dY, K=K)[2], expected)


@pytest.mark.parametrize("d", [1, 2])
def test_without_a_stride_the_slides_forms_are_right(d: int) -> None:
    """So what fails above is the stride, and not how the slides are written down here."""
    X, K, dY = drawn(1, d)
    dX = by_differences(lambda moved: convolved(moved, K), X, dY)
    dK = by_differences(lambda moved: convolved(X, moved), K, dY)
    assert_same(floor_feedback(dY, K, 1), dX)
    assert_same(kronecker_feedback(dY, K, 1), dX)
    assert_same(floor_kernel_gradient(dY, X, 1, d), dK)


# --- 4: the index under padding -------------------------------------------------------------------


def slide_padding(X: Array, K: Array, p: int) -> Array:
    """Slide "padding": Y_{u',v'} = Σ K(i,j) X_{u'+i+(p−d),v'+j+(p−d)}."""
    d = len(K) // 2
    Y = np.zeros((X.shape[0] + 2 * (p - d), X.shape[1] + 2 * (p - d), K.shape[3]))
    for u, v in positions(Y):
        for i, j, tap in taps(K):
            Y[u, v] += at(X, u + i + (p - d), v + j + (p - d)) @ tap
    return Y


@pytest.mark.parametrize(("d", "p"), [(1, 0), (1, 2), (2, 0), (2, 1), (2, 3)])
def test_padding_shifts_the_index_by_d_minus_p_and_not_p_minus_d(d: int, p: int) -> None:
    X, K, _ = drawn(1, d)
    framed = np.pad(X, ((p, p), (p, p), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(framed, K.shape[:2], axis=(0, 1))
    expected = np.einsum("uvkij,ijkc->uvc", windows, K)
    assert_differs(slide_padding(X, K, p), expected)
    assert_same(by_layer(convolution(1, d, p), X, expected, K=K)[0], expected)


@pytest.mark.parametrize("d", [1, 2])
def test_at_padding_d_the_sign_of_the_shift_does_not_show(d: int) -> None:
    X, K, dY = drawn(1, d)
    assert_same(slide_padding(X, K, d), by_layer(convolution(1, d, d), X, dY, K=K)[0])


@pytest.mark.parametrize("d", [1, 2])
def test_without_padding_the_first_output_is_centred_at_input_d(d: int) -> None:
    X, K, _ = drawn(1, d)
    centre = np.zeros_like(K)
    centre[d, d, 0, 0] = 1
    dY = np.zeros((HEIGHT - 2 * d, WIDTH - 2 * d, OUTPUTS))
    assert by_layer(convolution(1, d, 0), X, dY, K=centre)[0][0, 0, 0] == X[d, d, 0]
    assert slide_padding(X, centre, 0)[0, 0, 0] == 0  # X_{−d,−d}, outside the image


# --- 5: the feedback through max pooling ----------------------------------------------------------


def pooled(X: Array, s: int) -> Array:
    """Slide "max pooling", which is right."""
    return X.reshape(X.shape[0] // s, s, X.shape[1] // s, s, -1).max(axis=(1, 3))


def pooling_feedback(dY: Array, X: Array, compared_with: Array, s: int) -> Array:
    """Slide "BP of max pooling": δY_{⌊u/s⌋,⌊v/s⌋} where X_{u,v} equals Z_{⌊u/s⌋,⌊v/s⌋}, else 0.

    The slide has X itself as Z; the pooled values are meant.
    """
    dX = np.zeros_like(X)
    for u, v in positions(X):
        block = u // s, v // s
        dX[u, v] = dY[block] * (X[u, v] == compared_with[block])
    return dX


@pytest.mark.parametrize("s", [2, 3])
def test_max_pooling_compares_with_the_pooled_value_and_not_with_the_input(s: int) -> None:
    X, _, dY = drawn(s, 1)
    dY = dY[:, :, :INPUTS]
    expected = by_differences(lambda moved: pooled(moved, s), X, dY)
    assert_differs(pooling_feedback(dY, X, X, s), expected)
    assert_same(pooling_feedback(dY, X, pooled(X, s), s), expected)
    assert_same(by_layer(MaxPool(s), X, dY)[1], expected)


def test_where_all_of_a_block_tie_the_feedback_goes_to_the_first_position_once() -> None:
    s = 2
    X, dY = np.full((2, 2, 1), 7.0), np.ones((1, 1, 1))
    # Raising the whole block by one number raises its maximum by that number.
    raised = central_differences(lambda by: pooled(X + by, s).ravel(), np.zeros(1)).item()
    assert pooling_feedback(dY, X, pooled(X, s), s).sum() == s * s
    dX = by_layer(MaxPool(s), X, dY)[1]
    assert dX.sum() == pytest.approx(raised) == 1
    np.testing.assert_array_equal(dX[:, :, 0], [[1, 0], [0, 0]])


# --- 6: the kernel's differential -----------------------------------------------------------------


def test_the_kernels_differential_ties_the_output_channel() -> None:
    """Slide "local gradient": ∂Y^{c'}_{u',v'} / ∂K(i',j')_{k'}^c = X^{k'}_{u'+i',v'+j'} δ_{c,c'}.

    Two lines above, c is the input channel. Read so, it is wrong; c is K's output channel.
    """
    X, K, dY = drawn(1, 1)
    J = central_differences(lambda moved: convolved(X, moved).ravel(), K)
    J = J.reshape(dY.shape + K.shape)
    by_output, by_input = np.zeros_like(J), np.zeros_like(J)
    for u, v in positions(X):
        for i in range(3):
            for j in range(3):
                seen = at(X, u + i - 1, v + j - 1)[:, np.newaxis]
                for channel in range(OUTPUTS):
                    same_output = np.arange(OUTPUTS) == channel
                    same_input = np.arange(INPUTS)[:, np.newaxis] == channel
                    by_output[u, v, channel, i, j] = seen * same_output
                    by_input[u, v, channel, i, j] = seen * same_input
    assert_differs(by_input, J)
    assert_same(by_output, J)
    dK = by_layer(convolution(1, 1, 1), X, dY, K=K)[2]
    assert_same(dK, np.tensordot(dY, by_output, axes=3))
