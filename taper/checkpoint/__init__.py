"""What a PyTorch checkpoint file is made of, from the bytes up.

`archive.py` is the zip container with its aligned records, `unpickler.py` the pickle reader that
calls nothing, `names.py` how classes are called in PyTorch and in taper. The file formats
themselves, and what may stand in a file, are in taper/serialization.py.
"""
