"""Second moments of windows and responses, accumulated batch by batch in constant memory."""

import dataclasses

import numpy as np
from jaxtyping import Float


@dataclasses.dataclass(frozen=True)
class Moments:
    """Means and centred second moments of windows x and responses y, in float64.

    Attributes:
        gram: covariance of the windows.
        cross: covariance of the windows with the responses.
        variance: variance of each response.
        x_mean: mean of the windows.
        y_mean: mean of the responses.
        samples: number of windows.
    """

    gram: Float[np.ndarray, "d d"]
    cross: Float[np.ndarray, "d m"]
    variance: Float[np.ndarray, " m"]
    x_mean: Float[np.ndarray, " d"]
    y_mean: Float[np.ndarray, " m"]
    samples: int

    @property
    def total(self) -> float:
        """Sum of the variances of all responses."""
        return float(self.variance.sum())

    def response(self, kernel: Float[np.ndarray, "c k m"]) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
        """Return the mean and the variance of the responses that a kernel gives to the windows."""
        flat = kernel.reshape(-1, kernel.shape[-1])
        return self.x_mean @ flat, np.maximum(np.einsum("im,im->m", flat, self.gram @ flat), 0)


class Accumulator:
    """Sums over batches, from which `moments` are computed.

    Sums are in float64 and about the means of the first batch, so that no precision is lost to cancellation.
    """

    def __init__(self) -> None:
        self._samples = 0

    def add(self, x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "n m"]) -> None:
        """Add a batch of windows and their responses."""
        x, y = x.astype(np.float64), y.astype(np.float64)
        if not self._samples:
            self._x0, self._y0 = x.mean(0), y.mean(0)
            self._xx, self._xy = np.zeros((x.shape[1],) * 2), np.zeros((x.shape[1], y.shape[1]))
            self._yy, self._x, self._y = np.zeros(y.shape[1]), np.zeros(x.shape[1]), np.zeros(y.shape[1])
        x, y = x - self._x0, y - self._y0
        self._xx += x.T @ x
        self._xy += x.T @ y
        self._yy += (y**2).sum(0)
        self._x += x.sum(0)
        self._y += y.sum(0)
        self._samples += len(x)

    def moments(self) -> Moments:
        """Return the moments of everything added so far; at least one batch."""
        n = self._samples
        x, y = self._x / n, self._y / n
        return Moments(
            gram=self._xx / n - np.outer(x, x),
            cross=self._xy / n - np.outer(x, y),
            variance=np.maximum(self._yy / n - y**2, 0),
            x_mean=self._x0 + x,
            y_mean=self._y0 + y,
            samples=n,
        )
