"""What waits on the value stacks of running frames, up to Python 3.10: read where the frame object has it.

How deep a stack is at the running instruction follows from the code; what a call has been given is left out,
since the stack keeps it although the callee may have dropped it. Only addresses are read and compared.
"""

import ctypes
import dis
import sys

from vaultlayer_hooks.ghost.state import HOOKS_DIR

# Of a frame object in Python 3.9 and 3.10: the address of its stack.
STACK_AT_B = 64
GIVEN = {"CALL_FUNCTION": 1, "CALL_METHOD": 2, "CALL_FUNCTION_KW": 2}
ENDS = frozenset(("RETURN_VALUE", "RAISE_VARARGS", "RERAISE", "JUMP_ABSOLUTE", "JUMP_FORWARD"))
_proved = []


def waiting(tensors):
    """Give those of the tensors that wait on the stack of a frame outside the hooks."""
    if not _proved:
        _proved.append(_is_proved())
    found = set()
    frame = sys._getframe(1) if _proved[0] else None
    while frame is not None:
        if not frame.f_code.co_filename.startswith((HOOKS_DIR, "<frozen")):
            found.update(_addresses(frame))
        frame = frame.f_back
    return [tensor for tensor in tensors if id(tensor) in found]


def _is_proved():
    """Whether a stack can be read here: one of our own is."""
    mark, given = object(), object()
    try:
        seen = (mark, _read_callers(given))[1]
    except Exception:
        return False
    return id(mark) in seen and id(given) not in seen


def _read_callers(_given):
    return _addresses(sys._getframe(1))


def _addresses(frame):
    """Give the addresses of what lies below the running call."""
    code = frame.f_code
    count = _depths(code).get(frame.f_lasti, 0)
    call = next(i for i in dis.get_instructions(code) if i.offset == frame.f_lasti)
    if call.opname in GIVEN:
        count -= call.arg + GIVEN[call.opname]
    elif call.opname == "CALL_FUNCTION_EX":
        count -= 2 + (call.arg & 1)
    if not 0 < count <= code.co_stacksize:
        return []
    stack = ctypes.c_void_p.from_address(id(frame) + STACK_AT_B).value
    return list((ctypes.c_void_p * count).from_address(stack))


def _depths(code):
    """Give how deep the stack is before each instruction that can be reached, by its offset."""
    listed = list(dis.get_instructions(code))
    after = {one.offset: two.offset for one, two in zip(listed, listed[1:])}
    known = {i.offset: i for i in listed}
    # A generator of Python 3.10 begins with what its first instruction takes away.
    todo = [(0, 1 if listed[0].opname == "GEN_START" else 0)]
    depths = {}
    while todo:
        offset, depth = todo.pop()
        if offset in depths or offset not in known:
            continue
        depths[offset] = depth
        it = known[offset]
        arg = it.arg if it.opcode >= dis.HAVE_ARGUMENT else None
        if it.opcode in dis.hasjabs or it.opcode in dis.hasjrel:
            todo.append((it.argval, depth + dis.stack_effect(it.opcode, arg, jump=True)))
        if it.opname not in ENDS:
            todo.append((after.get(offset), depth + dis.stack_effect(it.opcode, arg, jump=False)))
    return depths
