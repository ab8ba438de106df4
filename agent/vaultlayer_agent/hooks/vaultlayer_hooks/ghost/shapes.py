"""Calls whose result has a shape that depends on values, or that reject values they do not like.

Zeros would give another shape, or an error, so a replay does not execute them: it makes a ghost of the
recorded result.
"""

import functools
from _thread import get_ident

from vaultlayer_hooks.ghost import boundary, slots
from vaultlayer_hooks.ghost.calls import skipped, through
from vaultlayer_hooks.ghost.overriding import overridable
from vaultlayer_hooks.ghost.state import OFF, REPLAY, run

FUNCTIONS = (
    "nonzero argwhere masked_select unique unique_consecutive multinomial bernoulli normal poisson binomial"
    " repeat_interleave bincount histc arange linspace combinations where cholesky inverse pinverse lobpcg"
    " logdet slogdet det quantile nanquantile median kthvalue bucketize searchsorted"
).split()
METHODS = (
    "nonzero argwhere masked_select unique unique_consecutive multinomial bernoulli repeat_interleave"
    " bincount histc cholesky inverse pinverse logdet slogdet det quantile nanquantile"
).split()
IN_PLACE = ("bernoulli_", "normal_", "exponential_", "geometric_", "cauchy_", "log_normal_")
LINALG = (
    "cholesky cholesky_ex cond det eig eigh eigvals eigvalsh inv inv_ex ldl_factor lstsq lu lu_factor"
    " lu_solve matrix_exp matrix_norm matrix_power matrix_rank norm pinv qr slogdet solve solve_ex"
    " solve_triangular svd svdvals tensorinv tensorsolve vector_norm"
).split()
LOSSES = (
    "one_hot cross_entropy nll_loss binary_cross_entropy binary_cross_entropy_with_logits ctc_loss"
    " gumbel_softmax multi_margin_loss multilabel_margin_loss"
).split()
SAMPLERS = ("_standard_gamma", "_sample_dirichlet")


def patch(torch):
    """Wrap them, each under all its names."""
    for name in METHODS:
        _wrap(torch.Tensor, name, skipped)
    for owner, names in (
        (torch, FUNCTIONS + list(SAMPLERS)),
        (torch.linalg, LINALG),
        (torch.nn.functional, LOSSES),
    ):
        for name in names:
            _wrap(owner, name, functools.partial(_function, torch))
    for name in IN_PLACE:
        original = getattr(torch.Tensor, name, None)
        if original is not None:
            setattr(torch.Tensor, name, _in_place(original))
    torch.Tensor.__getitem__ = _getitem(torch, torch.Tensor.__getitem__)
    torch.Tensor.__setitem__ = _setitem(torch.Tensor.__setitem__)
    slots.only_subscripts(torch.Tensor)


def _wrap(owner, name, wrap):
    original = getattr(owner, name, None)
    if callable(original):
        setattr(owner, name, wrap(name, original))


def _function(torch, name, original):
    wrap = _only_condition if name == "where" else skipped
    wrap = _only_tensors if name in ("arange", "linspace") else wrap
    wrapper = overridable(torch, original, wrap(name, original))
    if vars(torch.functional).get(name) is original:
        setattr(torch.functional, name, wrapper)
    return wrapper


def _only_condition(name, original):
    """`where(condition)` alone gives indices; with values its shape is known."""
    wrapped = skipped(name, original)

    @functools.wraps(original)
    def where(*args, **kwargs):
        if len(args) == 1 and not kwargs:
            return wrapped(*args)
        return original(*args, **kwargs)

    return where


def _only_tensors(name, original):
    """A range has a shape of values only where its ends are tensors."""
    wrapped = skipped(name, original)

    @functools.wraps(original)
    def ranging(*args, **kwargs):
        if any(isinstance(x, run.torch.Tensor) for x in args):
            return wrapped(*args, **kwargs)
        return original(*args, **kwargs)

    return ranging


def _in_place(original):
    @functools.wraps(original)
    def sampling(self, *args, **kwargs):
        if kwargs and run.mode != OFF and run.is_ours():
            boundary.draws_from(kwargs.get("generator"))
        if run.mode == REPLAY and run.started and run.is_ours():
            return self
        return original(self, *args, **kwargs)

    return sampling


def _getitem(torch, original):
    tensor = torch.Tensor
    boolean = torch.bool
    byte = torch.uint8
    is_compiling = run.is_compiling

    def depends(index):
        if isinstance(index, tensor):
            return index.dtype is boolean or index.dtype is byte
        if type(index) is slice:
            return any(isinstance(x, tensor) for x in (index.start, index.stop, index.step))
        return type(index) in (tuple, list) and any(depends(x) for x in index)

    @functools.wraps(original)
    def __getitem__(self, index):
        if type(index) is int or run.mode == OFF or run.depth or get_ident() != run.main:
            return original(self, index)
        if is_compiling():
            return original(self, index)
        if depends(index):
            run.begin()
            return through("getitem", original, (self, index), {})
        if run.mode == REPLAY and run.started:
            return original(self, legal(index))
        return original(self, index)

    return __getitem__


def _setitem(original):
    is_compiling = run.is_compiling

    @functools.wraps(original)
    def __setitem__(self, index, value):
        if run.mode != REPLAY or not run.started or not run.is_ours() or is_compiling():
            return original(self, index, value)
        try:
            return original(self, legal(index), value)
        except (RuntimeError, IndexError):
            # The shapes may not fit where a mask of zeros stands for one that held; the tensor is restored.
            return None

    return __setitem__


def legal(index):
    """Give an index without values that a ghost may hold and that lie outside the tensor."""
    torch = run.torch
    if isinstance(index, torch.Tensor):
        whole = not index.dtype.is_floating_point and index.dtype not in (torch.bool, torch.uint8)
        return torch.zeros_like(index) if whole else index
    if type(index) is tuple:
        return tuple([legal(x) for x in index])
    if type(index) is list and any(isinstance(x, torch.Tensor) for x in index):
        return [legal(x) for x in index]
    return index
