"""Other people's logs turned into our events; each source is one module with one `convert`.

Pure but for reading the files it is given: no clock, no network, and the same files give the same events.
"""

from pipeline.convert.cloudtrail import Conversion, Counts, convert, save
from pipeline.convert.logs import UnreadableLogError

__all__ = ["Conversion", "Counts", "UnreadableLogError", "convert", "save"]
