"""Machine code, generated from Python as LLVM IR text and compiled at run time.

    machine.py   what the processor can do: vector width, registers, caches
    text.py      how a kernel is written: values with operators, typed pointers, loops that carry values
    build.py     text -> object code -> address; the caches in memory and on disk
    call.py      calling machine code from Python: built-ins made at run time, and ctypes
    pool.py      the threads
    conv.py      convolution; conv_*.py are its strategies, conv_tiles.py what they share
    pooling.py   maxima and means of windows
    vmath.py     exp, log, tanh, erf, sin, pow ... of vectors; coefficients.py has their polynomials
    pointwise.py formulas traced into one loop over all elements; update.py, optimizers' rules
    rows.py      softmax, cross entropy, layer norm, sums and maxima along rows
    functions/   what ops call: arrays are looked at, and go to a kernel or to the reference

llvmlite is imported when the first kernel is built, never with taper.
"""
