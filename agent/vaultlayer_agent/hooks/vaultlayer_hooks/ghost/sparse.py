"""Sparse tensors: seen as the tensors that they are made of, and made of these again in a replay."""

from vaultlayer_hooks.ghost.state import Diverged, run

_ROWS = ("crow_indices", "col_indices", "values")
_COLUMNS = ("ccol_indices", "row_indices", "values")
_NAMES = {
    "sparse_coo": ("_indices", "_values"),
    "sparse_csr": _ROWS,
    "sparse_bsr": _ROWS,
    "sparse_csc": _COLUMNS,
    "sparse_bsc": _COLUMNS,
}


def parts(tensor):
    """Give `(name, tensor)` of what a tensor is made of; nothing of a dense one, or of an unknown layout."""
    names = _NAMES.get(_layout(tensor), ())
    with run.torch.no_grad():
        return [(name, getattr(tensor.detach(), name)()) for name in names]


def forms(walk):
    """Give `(path, layout, shape, coalesced)` of every sparse tensor that has been looked into."""
    found = [walk.tensors[number] for number in walk.sparse]
    return tuple([(paths[0], *_form(tensor)) for tensor, paths in found])


def _layout(tensor):
    return str(tensor.layout)[6:]


def _form(tensor):
    layout = _layout(tensor)
    return layout, tuple(tensor.shape), layout == "sparse_coo" and tensor.is_coalesced()


def rejoin(recorded, by_path):
    """Let every sparse tensor be made of its restored parts.

    Raises:
        Diverged: it cannot.
    """
    for path, layout, shape, coalesced in recorded:
        tensor = by_path.get(path)
        if tensor is None:
            raise Diverged("a sparse tensor is gone in the replay: %s" % path)
        made_of = [by_path["%s.%s" % (path, name)] for name in _NAMES[layout]]
        if _form(tensor) == (layout, tuple(shape), coalesced) and _is_made_of(tensor, made_of):
            continue
        try:
            tensor.data = _made(layout, shape, coalesced, made_of)
        except (RuntimeError, TypeError) as failure:
            raise Diverged("sparse tensor %s: %s" % (path, failure)) from None


def _is_made_of(tensor, wanted):
    return all(_lie(now) == _lie(part) for (_, now), part in zip(parts(tensor), wanted))


def _lie(part):
    return part.data_ptr(), part.shape, part.stride(), part.dtype


def _made(layout, shape, coalesced, made_of):
    torch = run.torch
    if layout == "sparse_coo":
        return torch.sparse_coo_tensor(*made_of, shape, is_coalesced=coalesced)
    return torch.sparse_compressed_tensor(*made_of, shape, layout=getattr(torch, layout))
