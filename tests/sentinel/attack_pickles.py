"""Pickles of published attacks beyond the catalogue's files, built here opcode by opcode. Nothing loads them; their payload is `true`."""
# ruff: noqa: E501  (what is scanned stands on one line)
# fmt: off

import struct


def text(value):
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def name(module, attribute):
    return f"c{module}\n{attribute}\n".encode()


def call(callee, *arguments):
    return callee + b"(" + b"".join(arguments) + b"tR"


def pickled(body, protocol=4):
    return b"\x80" + bytes([protocol]) + body + b"."


SYSTEM = name("os", "system")
RUN = call(SYSTEM, text("true"))
PAYLOAD = pickled(RUN)
PLAIN = pickled(b"]K\x01a")

EXECUTES = ["__builtin__:execfile", "__main__:evil", "_aix_support:_read_cmd_output", "_codecs:decode", "_ctypes:dlopen", "_frozen_importlib:_gcd_import", "_imp:create_dynamic", "_io:FileIO", "_io:open", "_osx_support:_find_build_tool", "_pickle:Unpickler", "_posixsubprocess:fork_exec", "_pyio:open", "_pyrepl.pager:pipe_pager", "_socket:socket", "_testcapi:run_in_subinterp", "_winapi:CreateProcess", "_xxsubinterpreters:run_string", "aiohttp:request", "asyncio:run", "asyncio.base_events:BaseEventLoop.run_until_complete", "bdb:Bdb.runeval", "bdb:Bdb.runcall", "builtins:__import__", "builtins:breakpoint", "builtins:compile", "builtins:delattr", "builtins:exec", "builtins:filter", "builtins:globals", "builtins:input", "builtins:map", "builtins:open", "builtins:setattr", "builtins:vars", "cProfile:runctx", "cProfile:Profile.runctx", "cgitb:lookup", "cloudpickle:loads", "code:InteractiveInterpreter.runcode", "code:interact", "codecs:decode", "codeop:compile_command", "commands:getoutput", "compileall:compile_dir", "concurrent.futures:ThreadPoolExecutor", "copyreg:add_extension", "ctypes:CDLL", "ctypes:cdll.LoadLibrary", "curses:wrapper", "dbm:open", "dill:load", "dill:loads", "distutils.file_util:write_file", "distutils.spawn:spawn", "doctest:debug", "doctest:testsource", "ensurepip:_run_pip", "fileinput:input", "fsspec:open", "ftplib:FTP", "functools:reduce", "gc:get_objects", "glob:glob", "http.client:HTTPSConnection", "hydra.utils:instantiate", "idlelib.autocomplete:AutoComplete.fetch_completions", "idlelib.autocomplete:AutoComplete.get_entity", "idlelib.calltip:Calltip.fetch_tip", "idlelib.debugobj:ObjectTreeItem.SetText", "idlelib.pyshell:ModifiedInterpreter.runcode", "idlelib.pyshell:ModifiedInterpreter.runcommand", "idlelib.run:Executive.runcode", "importlib:__import__", "importlib._bootstrap:_gcd_import", "importlib.machinery:SourceFileLoader", "inspect:getattr_static", "io:open", "joblib:load", "jsonpickle:decode", "keras.models:load_model", "lib2to3.pgen2.pgen:ParserGenerator.make_label", "linecache:getlines", "logging.config:listen", "mailcap:findmatch", "marshal:loads", "multiprocessing:Process", "multiprocessing.util:spawnv_passfds", "netrc:netrc", "nt:system", "numpy:fromfile", "numpy:load", "numpy:memmap", "numpy:savetxt", "numpy.ctypeslib:load_library", "numpy.distutils.exec_command:exec_command", "numpy.f2py.crackfortran:_eval_length", "numpy.f2py.crackfortran:getlincoef", "numpy.f2py.crackfortran:param_eval", "numpy.f2py:compile", "numpy.lib.npyio:load", "numpy.testing._private.utils:measure", "numpy.testing._private.utils:runstring", "operator:attrgetter", "operator:methodcaller", "os:execvp", "os:popen", "os:posix_spawn", "os:putenv", "os:remove", "pandas:eval", "pandas:read_pickle", "pandas.core.computation.eval:eval", "pandas.io.pickle:read_pickle", "pathlib:Path.chmod", "pathlib:Path.symlink_to", "pathlib:Path.touch", "pathlib:Path.unlink", "pathlib:Path.write_bytes", "pathlib:Path.write_text", "pathlib:PosixPath.write_text", "pdb:run", "pickle:Unpickler", "pickle:load", "pip:main", "pip._internal.cli.main:main", "pkgutil:get_data", "pkgutil:resolve_name", "platform:popen", "posix:execv", "profile:Profile.run", "profile:Profile.runctx", "profile:run", "pstats:Stats", "pty:spawn", "py_compile:compile", "pydoc:locate", "pydoc:pipepager", "pydoc:ttypager", "readline:read_history_file", "requests:get", "rlcompleter:Completer", "runpy:_run_code", "runpy:run_path", "sched:scheduler", "setuptools:setup", "shelve:open", "shutil:copyfile", "shutil:rmtree", "shutil:unpack_archive", "signal:signal", "site:addsitedir", "smtplib:SMTP", "socket:create_connection", "socketserver:TCPServer", "sqlite3:connect", "ssl:get_server_certificate", "subprocess:Popen", "subprocess:check_output", "subprocess:getoutput", "subprocess:run", "symtable:symtable", "sympy:sympify", "sys:addaudithook", "sys:setprofile", "sys:settrace", "sysconfig:get_config_vars", "tarfile:open", "telnetlib:Telnet", "tempfile:mkstemp", "tensorflow:io.write_file", "test.support.script_helper:assert_python_ok", "threading:Thread", "timeit:repeat", "tkinter:Tcl", "torch:load", "torch:save", "torch._dynamo.guards:GuardBuilder.get", "torch._inductor.codecache:compile_file", "torch.distributed.elastic.multiprocessing.api:start_processes", "torch.fx.experimental.symbolic_shapes:ShapeEnv.evaluate_guards_expression", "torch.hub:load", "torch.jit:load", "torch.jit.unsupported_tensor_ops:execWrapper", "torch.ops:load_library", "torch.package:PackageImporter", "torch.serialization:load", "torch.utils._config_module:ConfigModule.load_config", "torch.utils._config_module:load_config", "torch.utils.bottleneck.__main__:run_autograd_prof", "torch.utils.bottleneck.__main__:run_cprofile", "torch.utils.collect_env:run", "torch.utils.cpp_extension:load_inline", "trace:Trace.run", "trace:Trace.runctx", "transformers:pipeline", "turtledemo.__main__:DemoWindow", "types:CodeType", "types:FunctionType", "urllib.request:urlopen", "uuid:_popen", "venv:create", "webbrowser:get", "webbrowser:open_new", "wsgiref.simple_server:make_server", "xmlrpc.client:ServerProxy", "yaml:load", "zipfile:ZipFile.extractall", "zipimport:zipimporter", "zipimport:zipimporter.load_module"]
"""Callables that published bypasses used, or that run code, load objects, touch files or reach out by what their makers say."""

UNKNOWN = ["vsec_helper:run", "mypackage.models:Net", "pandas.core.frame:DataFrame.query", "xml.sax:parse", "ultralytics.nn.tasks:DetectionModel", "datasets:load_dataset", "huggingface_hub:hf_hub_download", "sklearn.datasets._base:load_svmlight_file", "collections:OrderedDict.fromkeys", "numpy.core.fromnumeric:size", "os_helper:system", "diffusers:DiffusionPipeline", "joblib.parallel:Parallel", "spacy.vocab:unpickle_vocab", "nltk.probability:FreqDist", "os.path:expanduser"]
"""Not known to do harm, and not known to do none."""


def chained():
    """Harmless names, one called with another, that end at os.system: each of these streams runs `true`."""
    loads = call(name("importlib", "import_module"), text("os"))
    yield "pk-getattr-of-a-module", call(call(name("builtins", "getattr"), loads, text("system")), text("true"))
    yield "pk-attrgetter", call(call(call(name("operator", "attrgetter"), text("system")), loads), text("true"))
    yield "pk-partial-twice", call(call(name("functools", "partial"), call(name("functools", "partial"), SYSTEM), text("true")))
    yield "pk-map-in-a-list", call(name("builtins", "list"), call(name("builtins", "map"), SYSTEM, b"](" + text("true") + b"e"))
    yield "pk-starmap", call(name("collections", "deque"), call(name("itertools", "starmap"), SYSTEM, b"](" + text("true") + b"\x85e"))
    yield "pk-reduce-of-functools", call(name("functools", "reduce"), SYSTEM, b"](" + text("true") + text("x") + b"e")
    yield "pk-modules-item", call(name("sys", "modules.__getitem__"), text("os"))
    yield "pk-finalizer", call(name("weakref", "finalize"), call(name("builtins", "set")), SYSTEM, text("true"))
    yield "pk-sorted-by-key", b"cbuiltins\nsorted\n](" + text("true") + b"e\x85}" + text("key") + SYSTEM + b"s\x92"
    yield "pk-new-object-ex", b"csubprocess\nPopen\n)}" + text("args") + text("true") + b"s\x92"
    yield "pk-state-by-call", call(name("types", "SimpleNamespace")) + b"}" + text("__setstate__") + SYSTEM + b"sb" + text("true") + b"b"
    yield "pk-slots", call(name("types", "SimpleNamespace")) + b"N}" + text("__reduce__") + SYSTEM + b"s\x86b"
    yield "pk-registered-extension", call(name("copyreg", "add_extension"), text("os"), text("system"), b"K\x01") + b"0\x82\x01" + text("true") + b"\x85R"


def spelled():
    """One call of os.system in ways of writing it that readers of opcodes get wrong."""
    true = text("true")
    yield "pk-spelled-in-unicode-escapes", b"V\\u006fs\nV\\x73ystem\n\x93" + true + b"\x85R"
    yield "pk-spelled-in-strings", b"S'o\\x73'\nU\x06system\x93" + true + b"\x85R"
    yield "pk-spelled-in-long-counts", b"\x8d" + struct.pack("<Q", 2) + b"os\x8d" + struct.pack("<Q", 6) + b"system\x93" + true + b"\x85R"
    yield "pk-instance", b"(" + true + b"ios\nsystem\n"
    yield "pk-class-above-a-mark", b"(" + SYSTEM + true + b"o"
    yield "pk-doubled", SYSTEM + b"2" + true + b"\x85R"
    yield "pk-far-memo", b"\x8c\x02osr" + struct.pack("<I", 70_000) + b"0\x8c\x06systemp300\n0j" + struct.pack("<I", 70_000) + b"g300\n\x93" + true + b"\x85R"
    yield "pk-overwritten-memo", b"\x8c\x04jsonq\x01\x8c\x02osq\x010h\x01\x8c\x06system\x93" + true + b"\x85R"
    yield "pk-under-a-mark", b"\x8c\x02os\x8c\x06system(\x8c\x04json\x8c\x05dumps1\x93" + true + b"\x85R"
    yield "pk-empty-mark", b"\x8c\x02os(0\x8c\x06system\x93" + true + b"\x85R"
    yield "pk-frozen-set-of-names", b"(\x8c\x02os\x910\x8c\x02os\x8c\x06system\x93" + true + b"\x85R"
    yield "pk-posix-by-alias", b"cposixpath\nos.system\n" + true + b"\x85R"
    yield "pk-by-the-name-of-a-known-package", b"csklearn.utils\nos.system\n" + true + b"\x85R"
    yield "pk-by-a-module-within-collections", b"ccollections\n_sys.modules\n"
    yield "pk-python-2", b"c__builtin__\napply\n" + SYSTEM + true + b"\x85\x86R"
    yield "pk-negative-length-behind", RUN + b"T\xff\xff\xff\xff"
    yield "pk-unknown-protocol-behind", RUN + b"\x80\x7f"
    yield "pk-empty-stack-behind", RUN + b"000"
    yield "pk-computed-by-encode", call(name("_codecs", "encode"), text("os"), text("latin1")) + text("system") + b"\x93" + true + b"\x85R"


def pickles():
    """Id, bytes and the severity that is wanted at least."""
    for each in EXECUTES:
        module, _, attribute = each.partition(":")
        yield f"pk-{each}", pickled(call(name(module, attribute), text("x"))), "malicious"
    for each in UNKNOWN:
        module, _, attribute = each.partition(":")
        yield f"pk-{each}", pickled(call(name(module, attribute), text("x"))), "suspicious"
    for identity, body in chained():
        yield identity, pickled(body), "malicious"
    for identity, body in spelled():
        yield identity, pickled(body), "suspicious" if identity == "pk-computed-by-encode" else "malicious"
    for protocol in range(2, 6):
        yield f"pk-protocol-{protocol}", pickled(RUN, protocol), "malicious"
