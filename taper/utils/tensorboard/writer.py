"""SummaryWriter: scalars, histograms, texts and pictures as TensorBoard's summaries."""

from __future__ import annotations

import datetime
import os
import socket
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from taper.errors import MissingFeature
from taper.utils.tensorboard.events import FileWriter, double, doubles, message, single, whole

__all__ = ["SummaryWriter"]


def _array(value: Any) -> np.ndarray:
    """A tensor, array, list or number as a numpy array."""
    from taper.tensor import Tensor

    if isinstance(value, Tensor):
        value = value.detach().cpu()
        return np.asarray(
            value.float().numpy() if value.dtype.name == "bfloat16" else value.numpy()
        )
    return np.asarray(value)


def _number(value: Any) -> float:
    found = _array(value)
    if found.size != 1:
        raise AssertionError("scalar should be 0D")
    return float(found.reshape(()))


def _plugin(name: str) -> bytes:
    """Metadata that says which page of TensorBoard shows a value."""
    return message(1, message(1, name))


def _default_edges() -> np.ndarray:
    """Limits of the bins that TensorBoard takes for "tensorflow": each a tenth above the last."""
    positive = [1e-12]
    while positive[-1] < 1e20:
        positive.append(positive[-1] * 1.1)
    return np.array([-edge for edge in reversed(positive)] + [0.0] + positive)


def histogram(values: np.ndarray, bins: Any, max_bins: int | None = None) -> bytes:
    """The summary of how often values fall between limits. ValueError if there are none."""
    if values.size == 0:
        raise ValueError("The input has no element.")
    values = values.reshape(-1).astype(np.float64)
    if isinstance(bins, str) and bins == "tensorflow":
        bins = _default_edges()
    counts, limits = np.histogram(values, bins=bins)
    if max_bins is not None and len(counts) > max_bins:
        step = len(counts) // max_bins
        counts = np.add.reduceat(counts, np.arange(0, len(counts), step))
        limits = np.append(limits[:-1:step], limits[-1])
    filled = np.flatnonzero(counts)
    if not filled.size:
        raise ValueError("The histogram is empty, please file a bug report.")
    # TensorBoard reads a bin as (limit before, limit]: an empty one in front says where it begins.
    first, last = int(filled[0]), int(filled[-1])
    counts = np.concatenate([[0], counts[first : last + 1]])
    limits = limits[first : last + 2]
    return (
        double(1, values.min()) + double(2, values.max()) + double(3, len(values))
        + double(4, values.sum()) + double(5, values.dot(values))
        + doubles(6, limits) + doubles(7, counts)
    )  # fmt: skip


def png(picture: np.ndarray) -> bytes:
    """A PNG file of a picture (height, width, 1 to 4 channels) of bytes."""
    height, width, channels = picture.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in np.ascontiguousarray(picture))
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def _pictures(value: Any, formats: str) -> np.ndarray:
    """The picture or pictures as one picture (height, width, channels) of bytes."""
    found = _array(value)
    if len(formats) != found.ndim:
        raise AssertionError(
            f"size of input tensor and input format are different.         tensor shape: "
            f"{found.shape}, input_format: {formats}"
        )
    formats = formats.upper()
    if "C" not in formats:
        found, formats = found[..., None], formats + "C"
    if "N" in formats:
        found = found.transpose([formats.index(axis) for axis in "NHWC"])
        found = _grid(found)
    else:
        found = found.transpose([formats.index(axis) for axis in "HWC"])
    if found.dtype != np.uint8:
        found = (found.astype(np.float32) * 255).clip(0, 255).astype(np.uint8)
    return found.repeat(3, axis=2) if found.shape[2] == 1 else found


def _grid(pictures: np.ndarray) -> np.ndarray:
    """Pictures side by side, eight in a row."""
    number, height, width, channels = pictures.shape
    columns = min(number, 8)
    rows = -(-number // columns)
    whole_grid = np.zeros((rows * columns, height, width, channels), pictures.dtype)
    whole_grid[:number] = pictures
    grid = whole_grid.reshape(rows, columns, height, width, channels).transpose(0, 2, 1, 3, 4)
    return grid.reshape(rows * height, columns * width, channels)


class SummaryWriter:
    """Writes what TensorBoard shows of a training into event files below a folder.

    The folder is `log_dir`, or runs/ with the time, the computer's name and `comment`.

    >>> with SummaryWriter("runs/first") as writer:  # doctest: +SKIP
    ...     writer.add_scalar("loss", 0.5, 1)
    """

    def __init__(
        self, log_dir: str | os.PathLike[str] | None = None, comment: str = "",
        purge_step: int | None = None, max_queue: int = 10, flush_secs: float = 120,
        filename_suffix: str = "",
    ) -> None:  # fmt: skip
        if not log_dir:
            now = datetime.datetime.now().strftime("%b%d_%H-%M-%S")
            log_dir = os.path.join("runs", f"{now}_{socket.gethostname()}{comment}")
        self.log_dir = os.fspath(log_dir)
        self._options = (max_queue, flush_secs, filename_suffix)
        self.all_writers: dict[str, FileWriter] | None = {}
        self.file_writer: FileWriter | None = self._get_file_writer()

    def get_logdir(self) -> str:
        """The folder."""
        return self.log_dir

    def _get_file_writer(self, folder: str | None = None) -> FileWriter:
        folder = folder or self.log_dir
        if self.all_writers is None:  # closed: a new file goes on
            self.all_writers = {}
        if folder not in self.all_writers:
            self.all_writers[folder] = FileWriter(folder, *self._options)
        self.file_writer = self.all_writers[folder] if folder == self.log_dir else self.file_writer
        return self.all_writers[folder]

    def _add(
        self, tag: str, content: bytes, step: int | None, walltime: float | None,
        metadata: bytes = b"", folder: str | None = None,
    ) -> None:  # fmt: skip
        value = message(1, tag.lstrip("/")) + content
        if metadata:
            value += message(9, metadata)
        self._get_file_writer(folder).add_summary(message(1, value), step, walltime)

    def add_scalar(
        self, tag: str, scalar_value: Any, global_step: int | None = None,
        walltime: float | None = None, new_style: bool = False, double_precision: bool = False,
    ) -> None:  # fmt: skip
        """A number at a step."""
        number = _number(scalar_value)
        if new_style:
            bits, kind = (double(6, number), 2) if double_precision else (single(5, number), 1)
            content = message(8, whole(1, kind) + bits)
            self._add(tag, content, global_step, walltime, _plugin("scalars"))
        else:
            self._add(tag, single(2, number), global_step, walltime)

    def add_scalars(
        self, main_tag: str, tag_scalar_dict: dict[str, Any], global_step: int | None = None,
        walltime: float | None = None,
    ) -> None:  # fmt: skip
        """Several numbers for one plot; each has a folder of its own."""
        for tag, number in tag_scalar_dict.items():
            folder = f"{self.log_dir}/{main_tag.replace('/', '_')}_{tag}"
            content = single(2, _number(number))
            self._add(main_tag, content, global_step, walltime, folder=folder)

    def add_histogram(
        self, tag: str, values: Any, global_step: int | None = None, bins: Any = "tensorflow",
        walltime: float | None = None, max_bins: int | None = None,
    ) -> None:  # fmt: skip
        """How values are distributed at a step."""
        content = histogram(_array(values), bins, max_bins)
        self._add(tag, message(5, content), global_step, walltime)

    def add_text(
        self, tag: str, text_string: str, global_step: int | None = None,
        walltime: float | None = None,
    ) -> None:  # fmt: skip
        """A text, in Markdown."""
        shape = message(2, whole(1, 1))
        content = whole(1, 7) + message(2, shape) + message(8, text_string)
        metadata = message(1, message(1, "text") + message(2, b""))
        self._add(tag + "/text_summary", message(8, content), global_step, walltime, metadata)

    def add_image(
        self, tag: str, img_tensor: Any, global_step: int | None = None,
        walltime: float | None = None, dataformats: str = "CHW",
    ) -> None:  # fmt: skip
        """A picture, of bytes or of numbers from 0 to 1."""
        picture = _pictures(img_tensor, dataformats)
        height, width, channels = picture.shape
        content = whole(1, height) + whole(2, width) + whole(3, channels)
        self._add(tag, message(4, content + message(4, png(picture))), global_step, walltime)

    def add_images(
        self, tag: str, img_tensor: Any, global_step: int | None = None,
        walltime: float | None = None, dataformats: str = "NCHW",
    ) -> None:  # fmt: skip
        """Several pictures, side by side."""
        self.add_image(tag, img_tensor, global_step, walltime, dataformats)

    def add_figure(
        self, tag: str, figure: Any, global_step: int | None = None, close: bool = True,
        walltime: float | None = None,
    ) -> None:  # fmt: skip
        """A figure of matplotlib's, or a list of figures; closed afterwards."""
        figures: Sequence[Any] = figure if isinstance(figure, (list, tuple)) else [figure]
        drawn = []
        for each in figures:
            each.canvas.draw()
            drawn.append(np.asarray(each.canvas.buffer_rgba())[..., :3])
            if close:
                from matplotlib import pyplot

                pyplot.close(each)
        self.add_images(tag, np.stack(drawn), global_step, walltime, dataformats="NHWC")

    def add_graph(self, model: Any, input_to_model: Any = None, **options: Any) -> None:
        """Raises: NotImplementedError. There are no graphs of modules; print(model) shows it."""
        raise MissingFeature(
            "SummaryWriter.add_graph", "there are no graphs of modules; print(model) shows it"
        )

    def add_hparams(self, hparam_dict: Any, metric_dict: Any, **options: Any) -> None:
        """Raises: NotImplementedError. Write the settings with add_text, the results as scalars."""
        raise MissingFeature(
            "SummaryWriter.add_hparams", "write settings with add_text, results with add_scalar"
        )

    def add_embedding(self, mat: Any, **options: Any) -> None:
        """Raises: NotImplementedError. Save the matrix with torch.save or numpy."""
        raise MissingFeature(
            "SummaryWriter.add_embedding", "save the matrix with torch.save or numpy.savetxt"
        )

    def flush(self) -> None:
        """Hands everything written so far to the operating system."""
        for writer in (self.all_writers or {}).values():
            writer.flush()

    def close(self) -> None:
        """Ends the files; what is added afterwards goes into new ones."""
        for writer in (self.all_writers or {}).values():
            writer.close()
        self.file_writer = self.all_writers = None

    def __enter__(self) -> SummaryWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
