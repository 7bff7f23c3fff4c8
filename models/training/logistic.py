"""Multinomial logistic regression with an L2 penalty, solved to its optimum."""

import torch
from torch import Tensor
from torch.nn import functional

_MOST_ITERATIONS = 60  # a fit that needs more has a penalty too weak to be of use
_GRADIENT = 1e-6  # of the mean loss, where a fit counts as done
_WIDEST = 3_000  # columns, up to which a factorisation is cheaper than the steps that it saves
_LEAST_CURVATURE = 1e-4


def logistic_regression(
    features: Tensor,
    labels: Tensor,
    weights: Tensor,
    strength: float,
    begin: tuple[Tensor, Tensor] | None = None,
    offset: Tensor | None = None,
    bends: Tensor | None = None,
    most_steps: int = _MOST_ITERATIONS,
) -> tuple[Tensor, Tensor]:
    """
    Weight (C, D) and bias (C,) with the least mean cross-entropy + strength / 2 * |weight|^2.

    L-BFGS on coordinates in which the loss bends about equally in all directions, of a quarter of the steps.

    features: float64 (N, D). labels: (N,), every class of 0..C-1 among them. weights: of the images, (N,).
    begin: where the search sets out from. offset: added to the logits, (N, C). bends: of `products`, if at hand.
    """
    classes = int(labels.max()) + 1
    weight, bias = begin or (features.new_zeros(classes, features.shape[1]), features.new_zeros(classes))
    shares = weights / weights.sum()
    constant = features.new_zeros(()) if offset is None else offset
    with torch.no_grad():
        answers = torch.softmax(features @ weight.T + bias + constant, dim=1).square().sum(dim=1)
        curvature = max(_LEAST_CURVATURE, float(shares @ (1 - answers)) / classes)
        factor = _factor(products(features, weights) if bends is None else bends, curvature, strength)
        turned = (weight @ factor if factor.ndim > 1 else weight * factor).requires_grad_()
        shift = (bias * curvature**0.5).requires_grad_()

    def there() -> tuple[Tensor, Tensor]:
        back = torch.linalg.solve_triangular(factor.T, turned.T, upper=True).T if factor.ndim > 1 else turned / factor
        return back, shift / curvature**0.5

    search = torch.optim.LBFGS(
        [turned, shift],
        max_iter=most_steps,
        history_size=20,
        tolerance_grad=_GRADIENT,
        tolerance_change=1e-10,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        search.zero_grad()
        matrix, level = there()
        losses = functional.cross_entropy(features @ matrix.T + level + constant, labels, reduction="none")
        whole = shares @ losses + strength / 2 * matrix.square().sum()
        whole.backward()  # type: ignore[no-untyped-call]
        return whole

    with torch.enable_grad():
        search.step(loss)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        return there()


def products(features: Tensor, weights: Tensor) -> Tensor:
    """Mean products of every two features, (D, D), or their mean square, (), where there are too many of them."""
    shares = weights / weights.sum()
    if features.shape[1] > _WIDEST:
        return (shares @ features.square()).mean()
    return features.T @ (features * shares[:, None])


def _factor(bends: Tensor, curvature: float, strength: float) -> Tensor:
    """The loss's second derivative, about, as a lower triangle (D, D) times itself, or as the square of a scale ()."""
    if bends.ndim == 0:
        return (curvature * bends + strength).sqrt()
    factor: Tensor = torch.linalg.cholesky(
        (curvature * bends).diagonal_scatter(curvature * bends.diagonal() + strength)
    )
    return factor
