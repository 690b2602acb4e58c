"""What a pickle imports, calls and sets: the opcodes that can do harm."""

from collections.abc import Callable
from struct import error as StructError

from rootstock.sentinel.findings import LimitReached
from rootstock.sentinel.pickles import arrays
from rootstock.sentinel.pickles.judge import SCRIPT, Verdict, judge, unpickles_keras
from rootstock.sentinel.pickles.literals import BYTES, LONGEST, TEXT, span, value
from rootstock.sentinel.pickles.machine import Broken, Global, Machine, Made
from rootstock.sentinel.source import of_bytes

RULES = {"executes": "pickle-executes", "code": "pickle-code", "unknown": "pickle-unknown-global", "known": "pickle-known-object"}
NEST = frozenset(
    [
        *("torch.storage._load_from_bytes", "pickle.loads", "_pickle.loads", "cPickle.loads", "dill.loads", "dill._dill.loads"),
        *(f"{place}.pickle_utils.deserialize_model_from_bytecode" for place in ("keras.saving", "keras.src.saving", "tf_keras.src.saving")),
    ]
)
"""Callables whose first argument is a file of its own, given as bytes or as a stream of some."""

STREAMS = frozenset(["_io.BytesIO", "io.BytesIO"])

NAMING = frozenset(["numpy.core._ufunc_reconstruct", "numpy._core._ufunc_reconstruct"])
"""Callables that import what their two arguments name, and give it back."""

ASKING = frozenset(["builtins.getattr", "__builtin__.getattr", "builtins.type", "__builtin__.type"])
"""Callables that are judged by what they are called with: the member of an enumeration is data, and so is the type of None."""

MAX_ABOUT = 400_000
MAX_ENCODED = 32 << 20


class Calls:
    """The steps that import, call and set, for one machine."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def literal(self, position: int) -> object:
        """A literal by its position. Raises Broken where it can't be read."""
        try:
            return value(self.machine.source, position)
        except (ValueError, LookupError, StructError) as error:
            raise Broken("a literal can't be read") from error

    def report(self, rule: str, at: int, what: str) -> None:
        """Note a finding; `at` counts in the window."""
        self.machine.found.append((rule, self.machine.base + at, what))

    def global_(self, module: bytes | str, name: bytes | str, at: int) -> None:
        """Push what an import gives."""
        texts = [text.decode("utf-8", "replace") if isinstance(text, bytes) else text for text in (module, name)]
        verdict: Verdict = judge(texts[0], texts[1])
        if texts[0].partition(".")[0] == SCRIPT and not self.machine.source.members:
            verdict = Verdict("unknown", f"imports {texts[0]}.{texts[1]} of TorchScript's name space, outside of any archive")
        refused = verdict.kind in ("executes", "code", "unknown")
        asking = f"{texts[0]}.{texts[1]}" in ASKING
        if verdict.kind != "data" and not asking:
            self.report(RULES[verdict.kind], at, verdict.what)
        self.machine.globals += 1
        if arrays.is_wrapper(texts[0], texts[1]) or f"{texts[0]}.{texts[1]}" in STREAMS:
            self.machine.keep_children = True
        node = self._node(Global(texts[0], texts[1], refused))
        if asking or f"{texts[0]}.{texts[1]}" in NEST | NAMING or unpickles_keras(*texts):
            self.machine.watched.add(node)
        self.machine.stack.append(node)

    def _node(self, about: object) -> int:
        full = len(self.machine.about) >= MAX_ABOUT and not isinstance(about, Global)
        return self.machine.new(None if full else about)

    def stack_global(self, at: int) -> None:
        """STACK_GLOBAL: the names are values, and have to be literal texts to be told."""
        name, module = self.machine.stack.pop(), self.machine.stack.pop()
        if min(name, module) < 0:
            self.report("pickle-computed-global", at, "the name of an import is computed while loading, so that no reader can tell it")
            self.machine.stack.append(self._node(Made("a computed import", refused=True)))
            return
        texts = self.literal(module), self.literal(name)
        if not all(isinstance(text, str) for text in texts):
            raise Broken(f"it imports {texts[0]!r:.60} {texts[1]!r:.60}, which are no names")
        self.global_(str(texts[0]), str(texts[1]), at)

    def extension(self, width: int) -> Callable[[int], int]:
        """EXT1, EXT2 and EXT4: a number in a registry that only the loading program knows."""

        def step(at: int) -> int:
            code = int.from_bytes(self.machine.window[at + 1 : at + 1 + width], "little")
            self.report("pickle-extension", at, f"imports number {code} of the extension registry, whatever that is where it is loaded")
            self.machine.stack.append(self._node(Made("the extension registry", refused=True)))
            return at + 1 + width

        return step

    def reduce(self, at: int) -> None:
        """REDUCE: call with a tuple."""
        arguments = self.machine.stack.pop()
        self.call(self.machine.stack.pop(), self.machine.inside(arguments) or (), at, tuple_=arguments)

    def new_object(self, at: int) -> None:
        """NEWOBJ: cls.__new__ with a tuple."""
        self.reduce(at)

    def new_object_ex(self, at: int) -> None:
        """NEWOBJ_EX: cls.__new__ with a tuple and a dict."""
        self.machine.stack.pop()
        self.reduce(at)

    def object(self, at: int) -> None:
        """OBJ: a class and its arguments above a mark."""
        items = self.machine.items()
        self.call(items[0], tuple(items[1:]), at)

    def call(self, callee: int, arguments: tuple[int, ...], at: int, *, tuple_: int = 0) -> None:
        """Push what a call gives, and say what is known of it."""
        machine = self.machine
        known = machine.what(callee)
        machine.calls += 1
        if known is None and callee >= 0:
            raise Broken("it calls something that can't be called")
        if isinstance(known, Global) and str(known) in ASKING:
            self._asked(known, arguments, at)
            return
        if isinstance(known, Global) and str(known) in NAMING:
            self._named(arguments, at)
            return
        if isinstance(known, Global):
            self._nest(known, arguments, at)
            made = Made(str(known), known.refused, arguments[:8])
        else:
            refused = bool(known and known.refused)
            if not refused:
                self.report("pickle-calls-object", at, f"calls what {known.by if known else 'the stream'} made, not an imported name")
            made = Made("a call of an object", True, arguments[:8])
        node = self._node(made)
        if tuple_ < 0:
            machine.holding(node, [tuple_])
        machine.stack.append(node)

    def _asked(self, known: Global, arguments: tuple[int, ...], at: int) -> None:
        """getattr of an imported name: as good as its dotted import, or data if it is a constant. type of a literal: its class."""
        owner = self.machine.what(arguments[0]) if arguments else None
        name = self.literal(arguments[1]) if len(arguments) == 2 and arguments[1] >= 0 else None
        if known.name == "type" and len(arguments) == 1 and arguments[0] >= 0:
            self.machine.stack.append(self._node(Made("builtins.type", refused=False)))
        elif known.name == "getattr" and isinstance(owner, Global) and isinstance(name, str) and name.isidentifier():
            if name.isupper() and not name.startswith("_") and not owner.refused:
                self.machine.stack.append(self._node(Made(str(owner), refused=False)))
            else:
                self.global_(owner.module, f"{owner.name}.{name}", at)
        else:
            self.report("pickle-executes", at, f"calls {known} on what is made while loading, which leads to any object of the interpreter")
            self.machine.stack.append(self._node(Made(str(known), refused=True)))

    def _named(self, arguments: tuple[int, ...], at: int) -> None:
        """An import by a call: as good as STACK_GLOBAL."""
        if len(arguments) != 2:
            raise Broken("it imports something by a call without a module and a name")
        self.machine.stack.extend(arguments)
        self.stack_global(at)

    def _nest(self, known: Global, arguments: tuple[int, ...], at: int) -> None:
        """Bytes that are handed to a loader are scanned as the file that they are."""
        if not (str(known) in NEST or unpickles_keras(known.module, known.name)) or not arguments:
            return
        source, position = self.machine.source, arguments[0]
        made = self.machine.what(position)
        if isinstance(made, Made) and made.by in STREAMS:  # of the bytes that it is made with, or set to afterwards
            held = (self.machine.inside(made.state) or ()) if made.state else made.arguments
            position = held[0] if held else position
        if position >= 0 and source.read(position, 1) in {bytes((c,)) for c in BYTES + TEXT}:
            offset, length = span(source, position)
            self.machine.nested.append(source.part(offset, length, member=f"bytes at {offset}"))
        elif (data := self._encoded(position)) is not None:
            self.machine.nested.append(of_bytes(data, path=source.path, members=(*source.members, f"bytes made for {known}")))
        else:
            self.report(
                "pickle-computed-bytes", at, f"hands {known} bytes that are computed while loading, so that no reader can tell them"
            )

    def _encoded(self, position: int) -> bytes | None:
        """Bytes as protocols below 3 write them: a text, and the call that encodes it."""
        made = self.machine.what(position)
        if not isinstance(made, Made) or made.by not in ("_codecs.encode", "builtins.bytes") or len(made.arguments) != 2:
            return None
        offsets = made.arguments
        if min(offsets) < 0 or self.literal(offsets[1]) not in ("latin1", "latin-1"):
            return None
        source = self.machine.source
        width = span(source, offsets[0])[1] if source.read(offsets[0], 1) in {bytes((c,)) for c in TEXT} else LONGEST
        if width > MAX_ENCODED:
            raise LimitReached(f"a text of {width:,} bytes that becomes a file of its own was not scanned")
        try:
            return str(value(source, offsets[0], max(width, LONGEST))).encode("latin-1")
        except (ValueError, LookupError, StructError):
            return None

    def build(self, at: int) -> None:
        """BUILD: __setstate__, or attributes from a dict."""
        machine = self.machine
        state = machine.stack.pop()
        node = machine.stack[-1]
        if node >= 0:
            return  # an error in most cases, but not with a state that is empty
        self.changed(node, at)
        known = machine.what(node)
        if isinstance(known, Made):
            known.state = state
            if end := arrays.skip(machine, known, at):
                machine.resume = end
                if machine.frame_end == machine.base + at + 1:
                    machine.frame_end = 0
        machine.holding(node, [state])

    def changed(self, node: int, at: int) -> None:
        """Something is put into a node, or set on it: on an imported name, that changes the program that loads."""
        known = self.machine.what(node)
        if isinstance(known, Global):
            self.report("pickle-changes-import", at, f"sets attributes or items of {known} itself, which changes the loading program")

    def persistent(self, identity: int | None, at: int, text: str) -> None:
        """PERSID and BINPERSID: what the loader looks up by itself; torch's storages are the known kind."""
        items = (self.machine.inside(identity) or ()) if identity is not None else ()
        kind = self.literal(items[0]) if items and items[0] >= 0 else None
        if kind not in ("storage", "module"):
            self.report("pickle-persistent-id", at, f"asks the loader for {text or 'an object'} by an identity of its own")
        # ("module", class, its file, its source): the class by its own import, and text that torch compares and does not run.
        known = items[1] if kind == "module" and len(items) > 1 else self._node(Made("a persistent id", refused=False))
        self.machine.stack.append(known)
