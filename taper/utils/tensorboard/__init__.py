"""torch.utils.tensorboard: SummaryWriter, which writes event files that TensorBoard shows.

writer.py turns values into summaries, events.py writes them down. TensorBoard itself is not needed
to write.
"""

from __future__ import annotations

from taper.utils.tensorboard.events import FileWriter
from taper.utils.tensorboard.writer import SummaryWriter

__all__ = ["FileWriter", "SummaryWriter"]
