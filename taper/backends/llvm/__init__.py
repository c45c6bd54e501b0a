"""Machine code, generated from Python as LLVM IR text and compiled at run time.

    machine.py   what the processor can do: vector width, registers, caches
    text.py      how a kernel is written: values with operators, typed pointers, loops that carry values
    build.py     text -> object code -> address; the caches in memory and on disk
    call.py      calling machine code from Python: built-ins made at run time, and ctypes
    pool.py      the threads
    conv.py      convolution; conv_*.py are its strategies, conv_tiles.py what they share
    pooling.py   maxima and means of windows

llvmlite is imported when the first kernel is built, never with taper.
"""
